// Max pooling with a square window.
#include "layers/ops/cuda.hpp"
#include "layers/ops/fast.hpp"

namespace slimneck::ops {

namespace {

constexpr AttributeSpec attributes[] = {
    {"kernel", Kind::integer, true}, {"stride", Kind::integer, false, 1}, {"pad", Kind::integer, false, 0}};

kernels::Pool window(const Attributes& a) { return {a.integer("kernel"), a.integer("stride"), a.integer("pad")}; }

Shape pooled(const Attributes& a, const Shape& x) {
  const kernels::Pool p = window(a);
  require_at_least("kernel", p.kernel, 1);
  require_at_least("stride", p.stride, 1);
  require_at_least("pad", p.pad, 0);
  for (const index_t extent : {p.kernel, p.pad, x.h, x.w}) require_at_most("an extent", extent);
  if (2 * p.pad > p.kernel) throw ShapeError("pad=" + std::to_string(p.pad) + " is more than half of the kernel");
  const index_t h = x.h + 2 * p.pad - p.kernel, w = x.w + 2 * p.pad - p.kernel;
  if (h < 0 || w < 0)
    throw ShapeError("a window of " + std::to_string(p.kernel) + " does not fit into " + to_string(x));
  return {x.n, x.c, h / p.stride + 1, w / p.stride + 1};
}

Cost window_cost(const Attributes& a, Shapes, Shapes out) {
  Cost c;
  c.other_flops = out[0].numel() * a.integer("kernel") * a.integer("kernel");
  return c;
}

template <class Args>
void set_window(Args& p, const Attributes& a, const AnyView& x, const AnyView& y) {
  set_extent(p, x);
  p.oh = y.shape.h;
  p.ow = y.shape.w;
  p.kernel = a.integer("kernel");
  p.stride = a.integer("stride");
  p.pad = a.integer("pad");
}

void run_fast(const KernelCall& k) {
  kernels::PoolArgs p;
  set_window(p, *k.attributes, k.inputs[0], k.outputs[0]);
  lay(k.inputs[0], p.x, p.xn, p.xb, p.xh);
  lay(k.outputs[0], p.y, p.yn, p.yb, p.yh);
  kernels::kernels_of(k.target.isa)->max_pool_fwd(p);
}

/// The forward again, for the positions of the maxima: cheaper than to keep them since then.
struct Backward {
  kernels::PoolArgs forward;
  kernels::PoolGradArgs backward;

  Backward(const Attributes& a, const AnyView& x, const AnyView& dy, Scratch& s) {
    set_window(forward, a, x, dy);
    set_window(backward, a, x, dy);
    const View<float> y(nullptr, dy.shape, dy.block);
    forward.yn = y.sn;
    forward.yb = y.sc;
    forward.yh = y.sh;
    const index_t elements = y.shape.n * y.sn;
    forward.y = s.take(elements);
    forward.where = reinterpret_cast<std::uint8_t*>(s.take((elements + 3) / 4));
    backward.where = forward.where;
  }
};

void run_fast_bwd(const KernelCall& k) {
  Scratch s(k.workspace);
  Backward b(*k.attributes, k.inputs[0], k.inputs[1], s);
  lay(k.inputs[0], b.forward.x, b.forward.xn, b.forward.xb, b.forward.xh);
  lay(k.inputs[1], b.backward.dy, b.backward.yn, b.backward.yb, b.backward.yh);
  lay(k.outputs[0], b.backward.dx, b.backward.xn, b.backward.xb, b.backward.xh);
  const kernels::Kernels& fast = *kernels::kernels_of(k.target.isa);
  fast.max_pool_fwd_at(b.forward);
  fast.max_pool_bwd(b.backward);
}

Lowering lower_bwd(const LowerContext& c) {
  if (c.attributes->integer("kernel") > kernels::pool_positions_kernel) return {};
  Scratch count(nullptr);
  const Backward sizes(*c.attributes, c.inputs[0], c.inputs[1], count);
  return lower_in_blocks(c, "max_pool_bwd", run_fast_bwd, count.taken());
}

// ---- CUDA ----
Lowering lower_cuda(const LowerContext&) {
  return lower_to_cuda("max_pool_fwd", [](const KernelCall& k) {
    cuda(k).max_pool_fwd(*k.stream, k.in<float>(0), k.out<float>(0), nullptr, window(*k.attributes),
                         kernels::Write::set);
  });
}

/// The forward again, for the positions of the maxima.
void run_bwd_cuda(const KernelCall& k) {
  const auto x = k.in<float>(0), dy = k.in<float>(1);
  const View<float> y(static_cast<float*>(k.workspace), dy.shape);
  auto* where = reinterpret_cast<int*>(y.data + dy.shape.numel());
  cuda(k).max_pool_fwd(*k.stream, x, y, where, window(*k.attributes), kernels::Write::set);
  cuda(k).max_pool_bwd(*k.stream, where, dy, k.out<float>(0), window(*k.attributes), kernels::Write::set);
}

Lowering lower_bwd_cuda(const LowerContext& c) {
  static_assert(sizeof(int) == sizeof(float));
  return lower_to_cuda("max_pool_bwd", run_bwd_cuda, 2 * c.inputs[1].shape.numel());
}

}  // namespace

const OpDef max_pool{
    .name = "max_pool",
    .attributes = attributes,
    .infer = [](const Attributes& a, Shapes in) -> std::vector<Shape> {
      require_inputs(in, 1, 1);
      return {pooled(a, in[0])};
    },
    .maps = elementwise_maps,
    .cost = window_cost,
    .reference = Reference::of(
        []<class T>(const KernelCall& k) { kernels::max_pool_fwd<T>(k.in<T>(0), k.out<T>(0), window(*k.attributes)); }),
    .gradient =
        [](GradientContext& g) {
          const Attributes& a = g.attributes();
          g.contribute(
              0, g.emit(max_pool_bwd, {g.input(0), g.gradient()},
                        {{"kernel", a.integer("kernel")}, {"stride", a.integer("stride")}, {"pad", a.integer("pad")}}));
        },
    .recompute = run_again,
    .lower = [](const LowerContext& c) { return lower_in_blocks(c, "max_pool_fwd", run_fast); },
    .lower_cuda = lower_cuda,
    .cases = []() -> std::vector<OpCase> {
      return {{"k5", {{2, 2, 6, 5}}, {{"kernel", index_t{5}}, {"pad", index_t{2}}}},
              {"k2s2", {{1, 3, 6, 4}}, {{"kernel", index_t{2}}, {"stride", index_t{2}}}}};
    },
};

/// x, dy -> dx; the window's maximum is found again, so nothing is saved.
const OpDef max_pool_bwd{
    .name = "max_pool_bwd",
    .attributes = attributes,
    .infer = [](const Attributes& a, Shapes in) -> std::vector<Shape> {
      require_inputs(in, 2, 2);
      require_shape("dy", in[1], pooled(a, in[0]));
      return {in[0]};
    },
    .maps = elementwise_maps,
    .cost = window_cost,
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      kernels::max_pool_bwd<T>(k.in<T>(0), k.in<T>(1), k.out<T>(0), window(*k.attributes));
    }),
    .lower = lower_bwd,
    .lower_cuda = lower_bwd_cuda,
};

}  // namespace slimneck::ops
