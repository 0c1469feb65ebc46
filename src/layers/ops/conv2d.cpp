// Convolution and its two adjoints. Dense, grouped and depthwise are one op; they differ in the channel maps that they
// can work under: dense reads and writes any, depthwise ties input to output, grouped needs the identity.
#include "layers/ops/cuda.hpp"
#include "layers/ops/fast.hpp"

namespace slimneck::ops {

namespace {

constexpr std::size_t summand[] = {2};

/// The backward of x needs the extent that the stride rounded away.
constexpr AttributeSpec bwd_x_attributes[] = {
    {"stride", Kind::integer, false, 1}, {"pad_h", Kind::integer, false, 0},
    {"pad_w", Kind::integer, false, 0},  {"dilation", Kind::integer, false, 1},
    {"groups", Kind::integer, false, 1}, {"h", Kind::integer, true},
    {"w", Kind::integer, true}};
constexpr AttributeSpec bwd_w_attributes[] = {
    {"stride", Kind::integer, false, 1}, {"pad_h", Kind::integer, false, 0},
    {"pad_w", Kind::integer, false, 0},  {"dilation", Kind::integer, false, 1},
    {"groups", Kind::integer, false, 1}, {"kh", Kind::integer, true},
    {"kw", Kind::integer, true}};

std::vector<Shape> infer(const Attributes& a, Shapes in) {
  require_inputs(in, 2, 3);
  const Shape y = convolved(a, in[0], in[1]);
  if (in.size() == 3 && !absent(in[2])) require_shape("bias", in[2], channel_vector(y));
  return {y};
}

bool dense(const Attributes& a) { return a.integer("groups") == 1; }
bool depthwise(const Attributes& a, index_t in, index_t out) { return a.integer("groups") == in && in == out; }

std::string_view maps(const Attributes& a, Shapes in) {
  const bool bias = in.size() == 3;
  if (dense(a)) return bias ? "-a,ba,-b>-b" : "-a,ba>-b";
  if (depthwise(a, in[0].c, in[1].n)) return bias ? "-a,a-,-a>-a" : "-a,a->-a";
  return {};
}

Cost cost(const Attributes&, Shapes in, Shapes out) {
  Cost c;
  c.macs = convolution_macs(out[0], in[1]);
  if (in.size() == 3 && !absent(in[2])) c.bias_adds = out[0].numel();
  return c;
}

void gradient(GradientContext& g) {
  convolution_gradient(g, 0, 1, g.gradient());
  if (g.inputs() == 3 && g.wants(2)) g.contribute(2, g.emit(channel_sum, {g.gradient()}, {}, "bwd_bias"));
}

// ---- fast forms ----
using Direction = FastConv::Direction;

FastConv fast_fwd(DType type, const Target& target, const Attributes& a, std::span<const AnyView> in,
                  std::span<const AnyView> out) {
  return {Direction::forward, type, target, a, in[0], in[1].shape, out[0]};
}

Lowering lower(const LowerContext& c) {
  return fast_fwd(c.type, c.target, *c.attributes, c.inputs, c.outputs).lowering([](const KernelCall& k) {
    kernels::Epilogue e;
    if (k.inputs.size() == 3) e.bias = k.in<float>(2).data;
    fast_fwd(DType::f32, k.target, *k.attributes, k.inputs, k.outputs)
        .run(k.in<float>(1).data, e, static_cast<float*>(k.workspace));
  });
}

FastConv fast_bwd_x(DType type, const Target& target, const Attributes& a, std::span<const AnyView> in,
                    std::span<const AnyView> out) {
  return {Direction::backward, type, target, a, in[0], in[1].shape, out[0]};
}

Lowering lower_bwd_x(const LowerContext& c) {
  if (c.inputs.size() > 2 && c.inputs[2].block != c.outputs[0].block) return {};  // the summand is a plain port
  return fast_bwd_x(c.type, c.target, *c.attributes, c.inputs, c.outputs).lowering([](const KernelCall& k) {
    kernels::Epilogue e;
    if (k.inputs.size() > 2) {
      begin_with(k.inputs[2], k);
      e.add = true;
    }
    fast_bwd_x(DType::f32, k.target, *k.attributes, k.inputs, k.outputs)
        .run(k.in<float>(1).data, e, static_cast<float*>(k.workspace));
  });
}

FastConvGrad fast_bwd_w(DType type, const Target& target, const Attributes& a, std::span<const AnyView> in,
                        std::span<const AnyView> out) {
  return {type, target, a, in[0], in[1], out[0].shape};
}

Lowering lower_bwd_w(const LowerContext& c) {
  return fast_bwd_w(c.type, c.target, *c.attributes, c.inputs, c.outputs).lowering([](const KernelCall& k) {
    fast_bwd_w(DType::f32, k.target, *k.attributes, k.inputs, k.outputs)
        .run(k.out<float>(0).data, static_cast<float*>(k.workspace));
  });
}

std::vector<Shape> infer_bwd_x(const Attributes& a, Shapes in) {
  require_inputs(in, 2, 3);
  const Shape &dy = in[0], &w = in[1];
  require_at_most("groups", a.integer("groups"));
  const Shape dx{dy.n, w.c * a.integer("groups"), a.integer("h"), a.integer("w")};
  require_shape("dy", dy, convolved(a, dx, w));
  if (in.size() > 2) require_shape("what is added", in[2], dx);
  return {dx};
}

std::string_view maps_bwd_x(const Attributes& a, Shapes in) {
  const bool added = in.size() > 2;
  if (dense(a)) return added ? "-b,ba,-a>-a" : "-b,ba>-a";
  if (depthwise(a, in[0].c, in[1].n) && in[1].c == 1) return added ? "-a,a-,-a>-a" : "-a,a->-a";
  return {};
}

std::vector<Shape> infer_bwd_w(const Attributes& a, Shapes in) {
  require_inputs(in, 2, 2);
  const Shape &x = in[0], &dy = in[1];
  require_at_least("groups", a.integer("groups"), 1);
  const Shape dw{dy.c, x.c / a.integer("groups"), a.integer("kh"), a.integer("kw")};
  require_shape("dy", dy, convolved(a, x, dw));
  return {dw};
}

std::string_view maps_bwd_w(const Attributes& a, Shapes in) {
  if (dense(a)) return "-a,-b>ba";
  if (depthwise(a, in[0].c, in[1].c)) return "-a,-a>a-";
  return {};
}

Cost cost_bwd_x(const Attributes&, Shapes in, Shapes out) {
  Cost c;
  c.macs = convolution_macs(in[0], in[1]);
  if (in.size() > 2) c.other_flops = out[0].numel();
  return c;
}

Cost cost_bwd_w(const Attributes&, Shapes in, Shapes out) {
  Cost c;
  c.macs = convolution_macs(in[1], out[0]);
  return c;
}

Cost cost_sum(const Attributes&, Shapes in, Shapes) {
  Cost c;
  c.other_flops = in[0].numel();
  return c;
}

Lowering lower_sum(const LowerContext& c) {
  const AnyView& x = c.inputs[0];
  const kernels::Kernels* k = fast_kernels(c.type, c.target);
  if (!k || x.block != k->lanes) return {};
  kernels::ChannelSumArgs a;
  set_extent(a, x);
  Lowering l;
  l.kernel = "map_sum";
  l.workspace = kernels::bn_workspace(a.n, a.blocks, a.h, a.w, x.block);
  l.run = [](const KernelCall& call) {
    kernels::ChannelSumArgs sum;
    set_extent(sum, call.inputs[0]);
    lay(call.inputs[0], sum.x, sum.xn, sum.xb, sum.xh);
    sum.y = call.out<float>(0).data;
    sum.workspace = static_cast<float*>(call.workspace);
    kernels::kernels_of(call.target.isa)->map_sum(sum);
  };
  return l;
}

// ---- CUDA ----
CudaConv cuda_fwd(const Target& target, const Attributes& a, std::span<const AnyView> in,
                  std::span<const AnyView> out) {
  return {target, a, in[0].shape, in[1].shape, out[0].shape};
}

Lowering lower_cuda(const LowerContext& c) {
  return cuda_fwd(c.target, *c.attributes, c.inputs, c.outputs).lowering(c, [](const KernelCall& k) {
    kernels::fast::Finish finish;
    if (k.inputs.size() == 3) finish.bias = k.in<float>(2);
    cuda_fwd(k.target, *k.attributes, k.inputs, k.outputs).forward(k, k.out<float>(0), finish);
  });
}

CudaConv cuda_bwd_x(const Target& target, const Attributes& a, std::span<const AnyView> in,
                    std::span<const AnyView> out) {
  return {target, a, out[0].shape, in[1].shape, in[0].shape};
}

/// Adds to the summand, which most often lies where the result belongs.
Lowering lower_bwd_x_cuda(const LowerContext& c) {
  const CudaConv conv = cuda_bwd_x(c.target, *c.attributes, c.inputs, c.outputs);
  const auto run = [](const KernelCall& k) {
    const bool add = k.inputs.size() > 2;
    if (add && k.inputs[2].data != k.outputs[0].data)
      cuda(k).copy(*k.stream, k.in<float>(2), k.out<float>(0), kernels::Write::set);
    cuda_bwd_x(k.target, *k.attributes, k.inputs, k.outputs).data(k, add ? kernels::Write::add : kernels::Write::set);
  };
  return lower_to_cuda(conv.data_name(), run, conv.workspace());
}

CudaConv cuda_bwd_w(const Target& target, const Attributes& a, std::span<const AnyView> in,
                    std::span<const AnyView> out) {
  return {target, a, in[0].shape, out[0].shape, in[1].shape};
}

Lowering lower_bwd_w_cuda(const LowerContext& c) {
  const CudaConv conv = cuda_bwd_w(c.target, *c.attributes, c.inputs, c.outputs);
  const auto run = [](const KernelCall& k) { cuda_bwd_w(k.target, *k.attributes, k.inputs, k.outputs).weights(k); };
  return lower_to_cuda(conv.weights_name(), run, conv.workspace());
}

Lowering lower_sum_cuda(const LowerContext& c) {
  const auto run = [](const KernelCall& k) {
    cuda(k).channel_sum(*k.stream, k.in<float>(0), k.out<float>(0), static_cast<float*>(k.workspace),
                        kernels::Write::set);
  };
  return lower_to_cuda("channel_sum", run, c.target.cuda->norm_workspace(c.inputs[0].shape));
}

std::vector<OpCase> cases() {
  return {
      {"1x1", {{2, 5, 4, 3}, {7, 5, 1, 1}, {1, 7, 1, 1}}, {}},
      {"3x3", {{2, 4, 5, 6}, {3, 4, 3, 3}}, {{"pad_h", index_t{1}}, {"pad_w", index_t{1}}}},
      {"3x3_s2_odd",
       {{1, 3, 7, 5}, {4, 3, 3, 3}},
       {{"stride", index_t{2}}, {"pad_h", index_t{1}}, {"pad_w", index_t{1}}}},
      {"6x6_s2", {{1, 3, 9, 8}, {4, 3, 6, 6}}, {{"stride", index_t{2}}, {"pad_h", index_t{2}}, {"pad_w", index_t{2}}}},
      {"g2", {{2, 4, 4, 4}, {6, 2, 3, 3}, {1, 6, 1, 1}}, {{"groups", index_t{2}}}},
      {"dw5x5", {{2, 3, 5, 4}, {3, 1, 5, 5}}, {{"groups", index_t{3}}, {"pad_h", index_t{2}}, {"pad_w", index_t{2}}}},
      {"dw3x3_s2",
       {{1, 4, 6, 5}, {4, 1, 3, 3}, {1, 4, 1, 1}},
       {{"groups", index_t{4}}, {"stride", index_t{2}}, {"pad_h", index_t{1}}, {"pad_w", index_t{1}}}},
      {"dilated",
       {{1, 2, 7, 7}, {2, 2, 3, 3}},
       {{"dilation", index_t{2}}, {"pad_h", index_t{2}}, {"pad_w", index_t{2}}}},
      {"1x3", {{1, 2, 4, 5}, {3, 2, 1, 3}}, {{"pad_w", index_t{1}}}},
      {"sc_64_64_80", {{1, 64, 80, 80}, {64, 64, 3, 3}}, {{"pad_h", index_t{1}}, {"pad_w", index_t{1}}}, 1, true},
      {"dw5_64_80",
       {{1, 64, 80, 80}, {64, 1, 5, 5}},
       {{"groups", index_t{64}}, {"pad_h", index_t{2}}, {"pad_w", index_t{2}}},
       1,
       true},
  };
}

}  // namespace

const OpDef conv2d{
    .name = "conv2d",
    .attributes = geometry_attributes,
    .infer = infer,
    .maps = maps,
    .cost = cost,
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      const auto x = k.in<T>(0), w = k.in<T>(1);
      kernels::conv2d_fwd<T>(x, w, k.inputs.size() == 3 ? k.in<T>(2) : View<const T>{}, k.out<T>(0),
                             geometry(*k.attributes, x.shape.c, w.shape.c));
    }),
    .gradient = gradient,
    .lower = lower,
    .lower_cuda = lower_cuda,
    .cases = cases,
};

/// dy, w [, r] -> dx [+ r].
const OpDef conv2d_bwd_x{
    .name = "conv2d_bwd_x",
    .attributes = bwd_x_attributes,
    .in_place = summand,
    .infer = infer_bwd_x,
    .maps = maps_bwd_x,
    .cost = cost_bwd_x,
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      const auto w = k.in<T>(1);
      const View<T> dx = k.out<T>(0), sum(static_cast<T*>(k.workspace), dx.shape, dx.block);
      const kernels::Conv2d g = geometry(*k.attributes, dx.shape.c, w.shape.c);
      if (k.inputs.size() < 3) return kernels::conv2d_bwd_x<T>(k.in<T>(0), w, dx, g);
      kernels::conv2d_bwd_x<T>(k.in<T>(0), w, sum, g);
      kernels::add<T>(sum, k.in<T>(2), dx);
    }),
    .workspace = [](const Attributes&, Shapes in) { return in.size() > 2 ? in[2].numel() : 0; },
    .lower = lower_bwd_x,
    .lower_cuda = lower_bwd_x_cuda,
};

const OpDef conv2d_bwd_w{
    .name = "conv2d_bwd_w",
    .attributes = bwd_w_attributes,
    .infer = infer_bwd_w,
    .maps = maps_bwd_w,
    .cost = cost_bwd_w,
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      const auto dw = k.out<T>(0);
      kernels::conv2d_bwd_w<T>(k.in<T>(0), k.in<T>(1), dw, geometry(*k.attributes, k.in<T>(0).shape.c, dw.shape.c));
    }),
    .lower = lower_bwd_w,
    .lower_cuda = lower_bwd_w_cuda,
};

const OpDef channel_sum{
    .name = "channel_sum",
    .infer = [](const Attributes&, Shapes in) -> std::vector<Shape> {
      require_inputs(in, 1, 1);
      return {channel_vector(in[0])};
    },
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a>-a"; },
    .cost = cost_sum,
    .reference = Reference::of([]<class T>(const KernelCall& k) { kernels::channel_sum<T>(k.in<T>(0), k.out<T>(0)); }),
    .lower = lower_sum,
    .lower_cuda = lower_sum_cuda,
};

}  // namespace slimneck::ops
