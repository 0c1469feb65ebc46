// The peers. Formats are those that oneDNN likes best, reorders into them are off the clock, everything that it can
// fuse is fused.
#ifdef SLIMNECK_WITH_ONEDNN

#include "onednn.hpp"

#include <algorithm>
#include <chrono>

namespace slimneck::bench {

std::string onednn_version() {
  const dnnl_version_t* v = dnnl_version();
  return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
}

void limit_onednn(Isa isa) {
  if (isa == Isa::scalar) dnnl::set_max_cpu_isa(dnnl::cpu_isa::sse41);
  if (isa == Isa::avx2) dnnl::set_max_cpu_isa(dnnl::cpu_isa::avx2);
}

std::unique_ptr<Side> make_onednn(const Problem& problem) {
  switch (problem.layer().op) {
    case Op::conv2d:
      return problem.row.pass == Pass::fwdbwd ? onednn::make_training(problem) : onednn::make_single(problem);
    case Op::depthwise: return onednn::make_single(problem);
    case Op::gsconv:
    case Op::dsc:
      return problem.row.pass == Pass::fwd ? onednn::make_composite(problem) : onednn::make_training(problem);
    case Op::bn_act: return onednn::make_norm(problem);
  }
  return nullptr;
}

namespace onednn {

const dnnl::engine& cpu_engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

Tensor floats(std::size_t bytes) {
  return Tensor(Shape{1, 1, 1, static_cast<index_t>((std::max<std::size_t>(bytes, 1) + 3) / sizeof(float))});
}

namespace {

double seconds_of(Side& side) {
  const auto begin = std::chrono::steady_clock::now();
  side.run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

Chain::Chain() : engine_(cpu_engine()), stream_(engine_) {}

void Chain::run() {
  for (Step& s : steps_) s.primitive.execute(stream_, s.arguments);
  stream_.wait();
}

std::vector<Numbers> Chain::results() {
  std::vector<Numbers> all;
  for (Result& r : results_) {
    Memory plain(r.plain, engine_);
    dnnl::reorder(r.memory, plain).execute(stream_, r.memory, plain);
    stream_.wait();
    const auto* first = static_cast<const float*>(plain.get_data_handle());
    all.emplace_back(first, first + r.plain.get_size() / sizeof(float));
  }
  return all;
}

std::string Chain::kernel() const {
  std::string text;
  for (const Step& s : steps_) text += (text.empty() ? "" : " + ") + s.name;
  return text;
}

bool Chain::uses_reference() const {
  return std::any_of(steps_.begin(), steps_.end(), [](const Step& s) { return s.name.starts_with("ref"); });
}

dnnl::memory Chain::converted(const Memory& m, const Desc& d) {
  if (m.get_desc() == d) return m;
  Memory to = make(d);
  const dnnl::reorder::primitive_desc description(m, to);
  add<dnnl::reorder>(description, {{DNNL_ARG_FROM, m}, {DNNL_ARG_TO, to}});
  return to;
}

dnnl::memory Chain::load(const Numbers& plain, const Dims& dims, Tag tag, const Desc& d) {
  const Memory from({dims, f32, tag}, engine_, const_cast<float*>(plain.data())), to = make(d);
  once(dnnl::reorder(from, to), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
  return to;
}

void Chain::once(const dnnl::primitive& primitive, const Arguments& arguments) {
  primitive.execute(stream_, arguments);
  stream_.wait();
}

dnnl::memory Chain::vector(const Numbers& plain) {
  const Dims dims{static_cast<index_t>(plain.size())};
  return load(plain, dims, Tag::x, {dims, f32, Tag::x});
}

std::unique_ptr<Side> fastest(const std::vector<std::function<std::unique_ptr<Chain>()>>& makers) {
  std::unique_ptr<Chain> best;
  // General code is not even tried beside code of its own: it may take a thousand times as long.
  for (const bool reference : {false, true}) {
    double best_time = 0;
    for (const auto& make : makers) {
      std::unique_ptr<Chain> candidate;
      try {
        candidate = make();
      } catch (const dnnl::error&) {
        continue;  // it does not have that
      }
      if (!candidate || candidate->uses_reference() != reference) continue;
      candidate->run();
      double time = seconds_of(*candidate);
      for (int i = 0; i < 2 && time < 0.05; ++i) time = std::min(time, seconds_of(*candidate));
      if (best && time >= best_time) continue;
      best = std::move(candidate);
      best_time = time;
    }
    if (best) return best;
  }
  return best;
}

Convolution convolution(index_t n, index_t c, index_t h, index_t w, index_t oc, index_t kh, index_t kw, index_t stride,
                        index_t pad_h, index_t pad_w, index_t dilation, index_t groups) {
  Convolution v;
  const auto extent = [&](index_t in, index_t pad, index_t k) {
    return (in + 2 * pad - dilation * (k - 1) - 1) / stride + 1;
  };
  v.x = {n, c, h, w};
  v.y = {n, oc, extent(h, pad_h, kh), extent(w, pad_w, kw)};
  v.w = groups > 1 ? Dims{groups, oc / groups, c / groups, kh, kw} : Dims{oc, c, kh, kw};
  v.plain_w = groups > 1 ? Tag::goihw : Tag::oihw;
  v.bias = {oc};
  v.geometry = {{stride, stride}, {dilation - 1, dilation - 1}, {pad_h, pad_w}, {0, 0}};
  // The padding behind only decides how many outputs there are, and must agree with that.
  v.geometry.after = {(v.y[2] - 1) * stride + dilation * (kh - 1) + 1 - h - pad_h,
                      (v.y[3] - 1) * stride + dilation * (kw - 1) + 1 - w - pad_w};
  return v;
}

Convolution convolution(const Problem& p) {
  const Layer& l = p.layer();
  return convolution(p.n, l.c, l.h, l.w, p.middle(), l.kh, l.kw, l.stride, l.pad_h, l.pad_w, l.dilation, l.groups);
}

bool winograd_fits(const Problem& p) { return p.algorithm == kernels::Algorithm::best && p.layer().takes_winograd(); }

std::vector<Tag> map_formats() { return {Tag::nChw16c, Tag::nChw8c, Tag::nhwc}; }

std::pair<algorithm, float> activation(kernels::Act act) {
  using kernels::Act;
  switch (act) {
    case Act::silu: return {algorithm::eltwise_swish, 1.F};
    case Act::mish: return {algorithm::eltwise_mish, 0.F};
    case Act::relu: return {algorithm::eltwise_relu, 0.F};
    case Act::leaky_relu: return {algorithm::eltwise_relu, 0.01F};
    case Act::sigmoid: return {algorithm::eltwise_logistic, 0.F};
    case Act::gelu: return {algorithm::eltwise_gelu_erf, 0.F};
    default: return {algorithm::undef, 0.F};
  }
}

}  // namespace onednn

}  // namespace slimneck::bench

#else

#include "side.hpp"

namespace slimneck::bench {

std::string onednn_version() { return {}; }
void limit_onednn(Isa) {}
std::unique_ptr<Side> make_onednn(const Problem&) { return nullptr; }

}  // namespace slimneck::bench

#endif
