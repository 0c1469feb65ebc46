// The convolutions of a step of training from oneDNN's primitives, forward and backward.
#ifdef SLIMNECK_WITH_ONEDNN

#include "onednn_network_training.hpp"

#include <algorithm>

namespace slimneck::bench::onednn {

std::vector<algorithm> NetworkTraining::algorithms(int i) const {
  if (!winograd_fits(i)) return {algorithm::convolution_direct};
  return {algorithm::convolution_direct, algorithm::convolution_winograd};
}

/// Formats of the input: that of the map; of a picture also what the convolution likes.
std::vector<Desc> NetworkTraining::sources(int i) const {
  std::vector<Desc> all{in(i).desc()};
  if (graph_.node(node(i).inputs[0]).role == Role::input) all.push_back(any(convolution_of(i).x));
  return all;
}

ConvFwd NetworkTraining::forward_of(int i, algorithm how, const Desc& x, const Desc& z) const {
  const Convolution c = convolution_of(i);
  const Desc bias = node(i).inputs.size() == 3 ? Desc(c.bias, f32, Tag::x) : Desc();
  return conv_fwd(cpu_engine(), prop_kind::forward_training, how, x, any(c.w), bias, z, c.geometry, Tape::attributes());
}

Map NetworkTraining::taken(const Map& x, const Desc& d, Steps& steps) {
  if (x.desc() == d) return x;
  Map other = fresh(d);
  steps.push_back(Tape::reorder(x.memory, other.memory));
  return other;
}

dnnl::memory NetworkTraining::weights_in(int i, const Desc& d, Steps& steps) {
  const Convolution c = convolution_of(i);
  if (best()) return tape_.load(weights(i, {}), c.w, c.plain_w, d);
  const Desc plain(c.w, f32, c.plain_w);
  const Memory from = tape_.load(weights(i, {}), c.w, c.plain_w, plain);
  Memory to = tape_.memory(d);
  steps.push_back(Tape::reorder(from, to, Work::parameters));
  return to;
}

NetworkForward::Steps NetworkTraining::convolved(int i, algorithm how, const Desc& source, const Memory& z) {
  const Convolution c = convolution_of(i);
  const ConvFwd d = forward_of(i, how, source, z.get_desc());
  Steps steps;
  const Map x = taken(in(i), d.src_desc(), steps);
  Tape::Arguments arguments{
      {DNNL_ARG_SRC, x.memory}, {DNNL_ARG_WEIGHTS, weights_in(i, d.weights_desc(), steps)}, {DNNL_ARG_DST, z}};
  if (node(i).inputs.size() == 3) arguments.insert({DNNL_ARG_BIAS, load(vector(i, 2))});
  steps.push_back(Tape::step<dnnl::convolution_forward>(d, arguments, network_.work_of(i)));
  return steps;
}

Map NetworkTraining::convolve(int i) {
  Map y = place(i);
  Layer& l = layers_[i];
  l.z = normalised(i) ? fresh(y.desc()) : y;
  std::vector<Tape::MakeSteps> makers;
  for (const algorithm how : algorithms(i))
    for (const Desc& source : sources(i))
      makers.emplace_back([this, i, how, source, &l] { return convolved(i, how, source, l.z.memory); });
  tape_.add_fastest(makers, "node " + node(i).name);
  if (normalised(i)) normalise(i, l, y);
  return y;
}

void NetworkTraining::normalise(int i, Layer& l, const Map& y) {
  const auto [kind, alpha] = activation_of(i);
  const bool active = kind != algorithm::undef;
  l.u = active ? fresh(y.desc()) : y;
  l.mean = channels(i);
  l.variance = channels(i);
  l.scale = load(vector(i, 2));
  l.shift = load(vector(i, 3));
  const NormFwd d =
      norm_fwd(cpu_engine(), prop_kind::forward_training, l.z.desc(), eps(i), scale_and_shift, Tape::attributes());
  tape_.add(Tape::step<dnnl::batch_normalization_forward>(d,
                                                          {{DNNL_ARG_SRC, l.z.memory},
                                                           {DNNL_ARG_DST, l.u.memory},
                                                           {DNNL_ARG_MEAN, l.mean},
                                                           {DNNL_ARG_VARIANCE, l.variance},
                                                           {DNNL_ARG_SCALE, l.scale},
                                                           {DNNL_ARG_SHIFT, l.shift}},
                                                          between(i)));
  if (!active) return;
  tape_.add(
      Tape::step<dnnl::eltwise_forward>(eltwise_fwd(cpu_engine(), prop_kind::forward_training, kind, l.u.desc(), alpha),
                                        {{DNNL_ARG_SRC, l.u.memory}, {DNNL_ARG_DST, y.memory}}, between(i)));
}

// ---- the way back ----

void NetworkTraining::convolution_back(int i, Gradient g) {
  Layer& l = layers_.at(i);
  if (normalised(i)) g = normalisation_back(i, l, std::move(g));
  weights_back(i, l, g.map);
  if (graph_.node(node(i).inputs[0]).role != Role::input) data_back(i, g.map);
}

NetworkTraining::Gradient NetworkTraining::normalisation_back(int i, Layer& l, Gradient g) {
  Gradient dz = g.writable() ? g : Gradient{fresh(l.z.desc())};
  Map du = g.map;
  const auto [kind, alpha] = activation_of(i);
  if (kind != algorithm::undef) {
    const EltwiseFwd hint = eltwise_fwd(cpu_engine(), prop_kind::forward_training, kind, l.u.desc(), alpha);
    tape_.add(Tape::step<dnnl::eltwise_backward>(
        eltwise_bwd(cpu_engine(), kind, l.u.desc(), alpha, hint),
        {{DNNL_ARG_SRC, l.u.memory}, {DNNL_ARG_DIFF_DST, g.map.memory}, {DNNL_ARG_DIFF_SRC, dz.map.memory}},
        between(i)));
    du = dz.map;
  }
  l.dscale = channels(i);
  l.dshift = channels(i);
  Tape::Arguments arguments{{DNNL_ARG_SRC, l.z.memory},         {DNNL_ARG_DIFF_DST, du.memory},
                            {DNNL_ARG_DIFF_SRC, dz.map.memory}, {DNNL_ARG_MEAN, l.mean},
                            {DNNL_ARG_VARIANCE, l.variance},    {DNNL_ARG_SCALE, l.scale},
                            {DNNL_ARG_DIFF_SCALE, l.dscale},    {DNNL_ARG_DIFF_SHIFT, l.dshift}};
  if (norm_bwd_takes_shift) arguments.insert({DNNL_ARG_SHIFT, l.shift});
  const NormFwd hint = norm_fwd(cpu_engine(), prop_kind::forward_training, l.z.desc(), eps(i), scale_and_shift);
  tape_.add(Tape::step<dnnl::batch_normalization_backward>(
      norm_bwd(cpu_engine(), l.z.desc(), eps(i), scale_and_shift, hint, Tape::attributes()), arguments, between(i)));
  return dz;
}

NetworkForward::Steps NetworkTraining::weights_step(int i, Layer& l, const Map& dz, algorithm how, const Desc& x,
                                                    const Desc& dy, Memory& dw) {
  const Convolution c = convolution_of(i);
  const bool biased = l.dbias.get(true) != nullptr;
  const ConvBwdW d = conv_bwd_w(cpu_engine(), how, x, any(c.w), dy, c.geometry, forward_of(i, how, x, dy),
                                Tape::attributes(), biased ? Desc(c.bias, f32, Tag::x) : Desc());
  dw = tape_.memory(d.diff_weights_desc());
  Steps steps;
  const Map from = taken(in(i), d.src_desc(), steps), gradient = taken(dz, d.diff_dst_desc(), steps);
  Tape::Arguments arguments{
      {DNNL_ARG_SRC, from.memory}, {DNNL_ARG_DIFF_DST, gradient.memory}, {DNNL_ARG_DIFF_WEIGHTS, dw}};
  if (biased) arguments.insert({DNNL_ARG_DIFF_BIAS, l.dbias});
  steps.push_back(Tape::step<dnnl::convolution_backward_weights>(d, arguments, backward_work(i)));
  return steps;
}

/// Of a depthwise convolution in the format that is the fastest, bringing both operands into it included.
void NetworkTraining::weights_back(int i, Layer& l, const Map& dz) {
  const Convolution c = convolution_of(i);
  if (node(i).inputs.size() == 3) l.dbias = channels(i);
  struct Formats {
    Desc x, dy;
  };
  std::vector<Formats> formats;
  for (const Desc& x : sources(i)) formats.push_back({x, dz.desc()});
  if (c.w.size() == 5) {
    formats.push_back({Desc(c.x, f32, Tag::nhwc), Desc(c.y, f32, Tag::nhwc)});
    formats.push_back({any(c.x), any(c.y)});
  }
  std::vector<Memory> made(formats.size() * 2);
  std::vector<Tape::MakeSteps> makers;
  for (const algorithm how : algorithms(i))
    for (const Formats& f : formats) {
      Memory& dw = made[makers.size()];
      makers.emplace_back([this, i, &l, &dz, how, f, &dw] { return weights_step(i, l, dz, how, f.x, f.dy, dw); });
    }
  l.dw = made[tape_.add_fastest(makers, "the weight gradient of " + node(i).name)];
  if (best()) return;
  const Memory plain = tape_.memory(Desc(c.w, f32, c.plain_w));
  tape_.add(Tape::reorder(l.dw, plain, Work::parameters));
  l.dw = plain;
}

void NetworkTraining::data_back(int i, const Map& dz) {
  const Convolution c = convolution_of(i);
  const Map dx = fresh(in(i).desc());
  std::vector<Tape::MakeSteps> makers;
  for (const algorithm how : algorithms(i))
    makers.emplace_back([this, i, how, &c, &dx, &dz] {
      const ConvBwdX d = conv_bwd_x(cpu_engine(), how, dx.desc(), any(c.w), dz.desc(), c.geometry,
                                    forward_of(i, how, dx.desc(), dz.desc()), Tape::attributes());
      Steps steps;
      const Memory w = weights_in(i, d.weights_desc(), steps);
      steps.push_back(Tape::step<dnnl::convolution_backward_data>(
          d, {{DNNL_ARG_DIFF_DST, dz.memory}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DIFF_SRC, dx.memory}},
          backward_work(i)));
      return steps;
    });
  tape_.add_fastest(makers, "the input gradient of " + node(i).name);
  contribute(i, 0, {dx});
}

Numbers NetworkTraining::weight_gradient(int i) {
  const Convolution c = convolution_of(i);
  const Numbers placed = tape_.plain(layers_.at(i).dw, c.w, c.plain_w);
  const std::vector<index_t>&out = order(i), &inner = order(node(i).inputs[0].node);
  const Shape& w = graph_.shape(node(i).inputs[1]);
  const bool dense = c.w.size() == 4;
  Numbers logical(placed.size());
  auto from = placed.begin();
  for (const index_t o : out)
    for (index_t k = 0; k < w.c; ++k) {
      const index_t input = dense ? inner[static_cast<std::size_t>(k)] : k;
      std::copy_n(from, w.h * w.w, logical.begin() + (o * w.c + input) * w.h * w.w);
      from += w.h * w.w;
    }
  return logical;
}

Numbers NetworkTraining::channel_gradient(int i, const Memory& placed) {
  const auto* from = static_cast<const float*>(placed.get_data_handle());
  Numbers logical(order(i).size());
  for (const index_t c : order(i)) logical[static_cast<std::size_t>(c)] = *from++;
  return logical;
}

Numbers NetworkTraining::gradient(const std::string& parameter) {
  for (const auto& [i, l] : layers_) {
    const auto is = [&, n = i](std::size_t operand) { return parameter_name(n, operand) == parameter; };
    if (is(1)) return weight_gradient(i);
    if (!normalised(i) && node(i).inputs.size() == 3 && is(2)) return channel_gradient(i, l.dbias);
    if (normalised(i) && is(2)) return channel_gradient(i, l.dscale);
    if (normalised(i) && is(3)) return channel_gradient(i, l.dshift);
  }
  return {};
}

}  // namespace slimneck::bench::onednn

#endif
