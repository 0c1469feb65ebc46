// The peer: oneDNN's convolution of the same cases, in the same process. As for our plans the clock holds NCHW in and
// NCHW out; weights are packed before. Its result must be ours, up to rounding.
#include "bench.hpp"

#ifdef SLIMNECK_WITH_ONEDNN

#include <algorithm>
#include <cmath>
#include <oneapi/dnnl/dnnl.hpp>
#include <vector>

#include "slimneck/kernels.hpp"

namespace slimneck::bench {

namespace {

using dnnl::memory;
using Format = memory::format_tag;

class Peer {
 public:
  explicit Peer(const OpCase& example) : stream_(engine_) {
    const Attributes a = attributes_of(example);
    const Shape &x = example.inputs[0], &w = example.inputs[1], y = example_output(example);
    const index_t g = a.integer("groups"), s = a.integer("stride"), d = a.integer("dilation") - 1;
    const memory::dims strides{s, s}, dilates{d, d}, pad{a.integer("pad_h"), a.integer("pad_w")};
    memory::dims weights{w.n, w.c, w.h, w.w};
    if (g > 1) weights = {g, w.n / g, w.c, w.h, w.w};
    const memory::desc plain_w(weights, memory::data_type::f32, g > 1 ? Format::goihw : Format::oihw);
    const dnnl::convolution_forward::desc desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct,
                                               any(dims_of(x)), any(weights), any(dims_of(y)), strides, dilates, pad,
                                               pad);
    const dnnl::convolution_forward::primitive_desc chosen(desc, engine_);
    name_ = chosen.impl_info_str();
    conv_ = dnnl::convolution_forward(chosen);
    x_ = memory({dims_of(x), memory::data_type::f32, Format::nchw}, engine_);
    y_ = memory({dims_of(y), memory::data_type::f32, Format::nchw}, engine_);
    inner_x_ = memory(chosen.src_desc(), engine_);
    inner_y_ = memory(chosen.dst_desc(), engine_);
    memory w_plain(plain_w, engine_);
    inner_w_ = memory(chosen.weights_desc(), engine_);
    enter_ = dnnl::reorder(x_, inner_x_);
    leave_ = dnnl::reorder(inner_y_, y_);
    fill(data(x_), x.numel());
    fill(data(w_plain), w.numel());
    dnnl::reorder(w_plain, inner_w_).execute(stream_, w_plain, inner_w_);
    run();
    agrees_ = compare(x, w, y, data(w_plain), a);
  }

  void run() {
    enter_.execute(stream_, x_, inner_x_);
    conv_.execute(stream_, {{DNNL_ARG_SRC, inner_x_}, {DNNL_ARG_WEIGHTS, inner_w_}, {DNNL_ARG_DST, inner_y_}});
    leave_.execute(stream_, inner_y_, y_);
    stream_.wait();
  }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool agrees() const { return agrees_; }

 private:
  static Attributes attributes_of(const OpCase& example) {
    return graph_of(ops::conv2d, example).nodes().back().attributes;
  }
  static Shape example_output(const OpCase& example) { return graph_of(ops::conv2d, example).nodes().back().shapes[0]; }
  static memory::dims dims_of(const Shape& s) { return {s.n, s.c, s.h, s.w}; }
  static memory::desc any(const memory::dims& dims) { return {dims, memory::data_type::f32, Format::any}; }
  static float* data(memory& m) { return static_cast<float*>(m.get_data_handle()); }

  /// |error| <= u S (4 + 2 sqrt K), S <= K as all numbers are within 1; twice, for two float results.
  bool compare(const Shape& x, const Shape& w, const Shape& y, float* weights, const Attributes& a) {
    std::vector<float> want(static_cast<std::size_t>(y.numel()));
    kernels::conv2d_fwd<float>(
        View<float>(data(x_), x), View<float>(weights, w), {}, View<float>(want.data(), y),
        {a.integer("stride"), a.integer("pad_h"), a.integer("pad_w"), a.integer("dilation"), a.integer("groups")});
    const auto k = static_cast<double>(w.c * w.h * w.w);
    const double bound = 2 * 0x1p-24 * k * (4 + 2 * std::sqrt(k));
    return std::equal(want.begin(), want.end(), data(y_), [&](float p, float q) {
      return std::abs(static_cast<double>(p) - static_cast<double>(q)) <= bound;
    });
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_;
  dnnl::convolution_forward conv_;
  dnnl::reorder enter_, leave_;
  memory x_, y_, inner_x_, inner_w_, inner_y_;
  std::string name_;
  bool agrees_ = false;
};

void run(benchmark::State& state, const OpCase& example) {
  Peer peer(example);
  if (!peer.agrees()) {
    state.SkipWithError("oneDNN's result is not that of the reference");
    return;
  }
  for (auto _ : state) peer.run();
  count_macs(state, graph_of(ops::conv2d, example).cost().total.macs);
  state.SetLabel(shapes_of(example) + " " + peer.name());
}

}  // namespace

void register_onednn() {
  for (const OpCase& example : ops::conv2d.cases()) {
    if (!example.real || example.inputs.size() != 2) continue;
    benchmark::RegisterBenchmark(("conv2d/" + example.name + "/onednn").c_str(),
                                 [example](benchmark::State& state) { run(state, example); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace slimneck::bench

#else

void slimneck::bench::register_onednn() {}

#endif
