// Convolutions of a network from oneDNN's primitives, in inference: batch norm folded, and of the ways to activate and
// to add at their end the fastest.
#ifdef SLIMNECK_WITH_ONEDNN

#include <algorithm>
#include <cmath>

#include "onednn_network.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::bench::onednn {

Convolution NetworkForward::convolution_of(int i) const {
  const Node& n = node(i);
  const Shape &x = graph_.shape(n.inputs[0]), &w = graph_.shape(n.inputs[1]);
  const Attributes& a = n.attributes;
  return convolution(x.n, x.c, x.h, x.w, w.n, w.h, w.w, a.integer("stride"), a.integer("pad_h"), a.integer("pad_w"),
                     a.integer("dilation"), a.integer("groups"));
}

bool NetworkForward::winograd_fits(int i) const {
  const Convolution c = convolution_of(i);
  return problem_.algorithm == kernels::Algorithm::best && best() && c.w.size() == 4 && c.w[2] == 3 && c.w[3] == 3 &&
         c.geometry.strides[0] == 1 && c.geometry.dilates[0] == 0;
}

/// Operands of conv_bn_act from 2 on are those of the node that folds its batch norm: gamma, beta, mean, var.
const std::string& NetworkForward::parameter_name(int i, std::size_t operand) const {
  const bool folded = node(i).op == &ops::conv_bn_act && operand >= 2;
  const Value v = folded ? graph_.node(node(i).inputs[2]).inputs[operand - 2] : node(i).inputs[operand];
  return graph_.node(v).name;
}

const float* NetworkForward::parameter(int i, std::size_t operand) const {
  return problem_.parameters->at(parameter_name(i, operand)).value.data<float>();
}

Numbers NetworkForward::weights(int i, const Numbers& factors) const {
  const Shape& w = graph_.shape(node(i).inputs[1]);
  const std::vector<index_t>&out = order(i), &inner = order(node(i).inputs[0].node);
  const index_t taps = w.h * w.w;
  const bool dense = node(i).attributes.integer("groups") == 1;
  const float* from = parameter(i, 1);
  Numbers to(static_cast<std::size_t>(w.numel()));
  auto next = to.begin();
  for (const index_t o : out)
    for (index_t c = 0; c < w.c; ++c) {
      const index_t input = dense ? inner[static_cast<std::size_t>(c)] : c;
      const float factor = factors.empty() ? 1.F : factors[static_cast<std::size_t>(o)];
      for (index_t t = 0; t < taps; ++t) *next++ = factor * from[(o * w.c + input) * taps + t];
    }
  return to;
}

Numbers NetworkForward::vector(int i, std::size_t operand) const {
  const float* from = parameter(i, operand);
  Numbers to;
  for (const index_t c : order(i)) to.push_back(from[c]);
  return to;
}

dnnl::memory NetworkForward::load(const Numbers& numbers) {
  const Dims size{static_cast<index_t>(numbers.size())};
  return tape_.load(numbers, size, Tag::x, {size, f32, Tag::x});
}

std::pair<algorithm, float> NetworkForward::activation_of(int i) const {
  double slope = 0.01;
  const Attributes& a = node(i).attributes;
  const kernels::Act act =
      node(i).op == &ops::conv_bn_act ? static_cast<kernels::Act>(a.integer("act")) : act_of(node(i).op);
  if (a.find("slope") != nullptr) slope = a.real("slope");
  if (act == kernels::Act::none) return {algorithm::undef, 0.F};
  auto found = activation(act);
  if (found.first == algorithm::undef) throw Error("oneDNN lacks the activation of node " + node(i).name);
  if (act == kernels::Act::leaky_relu) found.second = static_cast<float>(slope);
  return found;
}

/// y = factor conv(x) + bias, by logical channel.
void NetworkForward::fold(int i, Numbers& factors, Numbers& bias) const {
  const Node& n = node(i);
  const auto channels = static_cast<std::size_t>(n.shapes[0].c);
  if (n.op == &ops::conv2d) {
    bias.assign(channels, 0.F);
    if (n.inputs.size() > 2) bias.assign(parameter(i, 2), parameter(i, 2) + channels);
    return;
  }
  const float *gamma = parameter(i, 2), *beta = parameter(i, 3), *mean = parameter(i, 4), *var = parameter(i, 5);
  for (std::size_t c = 0; c < channels; ++c) {
    const double factor =
        static_cast<double>(gamma[c]) / std::sqrt(static_cast<double>(var[c]) + n.attributes.real("eps"));
    factors.push_back(static_cast<float>(factor));
    bias.push_back(static_cast<float>(static_cast<double>(beta[c]) - factor * static_cast<double>(mean[c])));
  }
}

std::vector<NetworkForward::Way> NetworkForward::ways(int i, bool sums, bool in_place) const {
  using Sum = Way::Sum;
  const Desc x = in(i).desc();
  std::vector<Desc> sources{x};
  if (graph_.node(node(i).inputs[0]).role == Role::input) sources.push_back(any(convolution_of(i).x));
  const bool active = activation_of(i).first != algorithm::undef;
  std::vector<Way> all;
  for (const Desc& source : sources) {
    if (!best()) {
      all.push_back({algorithm::convolution_direct, false, sums ? Sum::apart : Sum::none, source});
      continue;
    }
    for (const algorithm how : {algorithm::convolution_direct, algorithm::convolution_winograd}) {
      if (how == algorithm::convolution_winograd && !winograd_fits(i)) continue;
      all.push_back({how, true, sums ? Sum::apart : Sum::none, source});
      if (active) all.push_back({how, false, sums ? Sum::apart : Sum::none, source});
      // What is added as an operand must not lie where partial sums are written.
      if (sums && !in_place) all.push_back({how, true, Sum::beside, source});
      if (sums && in_place) all.push_back({how, true, Sum::in_place, source});
    }
  }
  return all;
}

NetworkForward::Steps NetworkForward::steps(int i, const Way& way, const Map& y, const Map& other) {
  using Sum = Way::Sum;
  const Convolution c = convolution_of(i);
  const Work work = network_.work_of(i);
  const auto [kind, alpha] = activation_of(i);
  const bool active = kind != algorithm::undef;
  Numbers factors, bias;
  fold(i, factors, bias);
  Numbers placed;
  for (const index_t o : order(i)) placed.push_back(bias[static_cast<std::size_t>(o)]);
  dnnl::post_ops ops;
  if (active && way.activate) append_activation(ops, kind, alpha, 0);
  if (way.sum == Sum::in_place) ops.append_sum(1.F);
  if (way.sum == Sum::beside) ops.append_binary(algorithm::binary_add, other.desc());
  primitive_attr attr = Tape::attributes();
  attr.set_post_ops(ops);
  const ConvFwd d = conv_fwd(cpu_engine(), prop_kind::forward_inference, way.how, way.source, any(c.w),
                             Desc(c.bias, f32, Tag::x), y.desc(), c.geometry, attr);
  // What is added later must not lie where it would be overwritten now.
  const Map z = way.sum == Sum::apart ? fresh(y.desc()) : y;
  Steps all;
  Map x = in(i);
  if (x.desc() != d.src_desc()) {
    const Map taken = fresh(d.src_desc());
    all.push_back(Tape::reorder(x.memory, taken.memory));
    x = taken;
  }
  Tape::Arguments arguments{{DNNL_ARG_SRC, x.memory},
                            {DNNL_ARG_WEIGHTS, tape_.load(weights(i, factors), c.w, c.plain_w, d.weights_desc())},
                            {DNNL_ARG_BIAS, load(placed)},
                            {DNNL_ARG_DST, z.memory}};
  if (way.sum == Sum::beside)
    arguments.insert({DNNL_ARG_ATTR_MULTIPLE_POST_OP(active && way.activate ? 1 : 0) | DNNL_ARG_SRC_1, other.memory});
  all.push_back(Tape::step<dnnl::convolution_forward>(d, arguments, work));
  if (active && !way.activate)
    all.push_back(Tape::step<dnnl::eltwise_forward>(
        eltwise_fwd(cpu_engine(), prop_kind::forward_inference, kind, z.desc(), alpha),
        {{DNNL_ARG_SRC, z.memory}, {DNNL_ARG_DST, z.memory}}, Work::norm_act));
  if (way.sum == Sum::apart)
    all.push_back(Tape::step<dnnl::binary>(
        binary(cpu_engine(), algorithm::binary_add, z.desc(), other.desc(), y.desc()),
        {{DNNL_ARG_SRC_0, z.memory}, {DNNL_ARG_SRC_1, other.memory}, {DNNL_ARG_DST, y.memory}}, Work::other));
  return all;
}

Map NetworkForward::convolve(int i) {
  const int sum = wiring_.runs_at[index(i)];
  const bool sums = sum != i, in_place = sums && wiring_.in_place[index(sum)] != 0;
  Map other;
  if (sums) other = in(sum, node(sum).inputs[0].node == i ? 1 : 0);
  Map y = in_place ? other : place(sum);
  std::vector<Tape::MakeSteps> makers;
  for (const Way& way : ways(i, sums, in_place))
    makers.emplace_back([this, i, way, &y, &other] { return steps(i, way, y, other); });
  tape_.add_fastest(makers, "node " + node(i).name);
  return y;
}

}  // namespace slimneck::bench::onednn

#endif
