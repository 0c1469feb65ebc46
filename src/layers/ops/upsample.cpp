// Nearest upsampling by a whole factor; its gradient is the sum over each square.
#include "layers/ops/cuda.hpp"
#include "layers/ops/fast.hpp"

namespace slimneck::ops {

namespace {

constexpr AttributeSpec attributes[] = {{"factor", Kind::integer, false, 2}};

index_t checked_factor(const Attributes& a) {
  const index_t factor = a.integer("factor");
  require_at_least("factor", factor, 1);
  return factor;
}

void run_fast(const KernelCall& k, const AnyView& small,
              void (*kernels::Kernels::*kernel)(const kernels::UpsampleArgs&) noexcept) {
  kernels::UpsampleArgs u;
  set_extent(u, small);
  u.factor = k.attributes->integer("factor");
  lay(k.inputs[0], u.x, u.xn, u.xb, u.xh);
  lay(k.outputs[0], u.y, u.yn, u.yb, u.yh);
  (kernels::kernels_of(k.target.isa)->*kernel)(u);
}

Lowering lower(const LowerContext& c) {
  return lower_in_blocks(c, "upsample_fwd",
                         [](const KernelCall& k) { run_fast(k, k.inputs[0], &kernels::Kernels::upsample_fwd); });
}

Lowering lower_bwd(const LowerContext& c) {
  return lower_in_blocks(c, "upsample_bwd",
                         [](const KernelCall& k) { run_fast(k, k.outputs[0], &kernels::Kernels::upsample_bwd); });
}

Lowering lower_cuda(const LowerContext&) {
  return lower_to_cuda("upsample_nearest_fwd", [](const KernelCall& k) {
    cuda(k).upsample_nearest_fwd(*k.stream, k.in<float>(0), k.out<float>(0), k.attributes->integer("factor"),
                                 kernels::Write::set);
  });
}

Lowering lower_bwd_cuda(const LowerContext&) {
  return lower_to_cuda("upsample_nearest_bwd", [](const KernelCall& k) {
    cuda(k).upsample_nearest_bwd(*k.stream, k.in<float>(0), k.out<float>(0), k.attributes->integer("factor"),
                                 kernels::Write::set);
  });
}

}  // namespace

const OpDef upsample{
    .name = "upsample",
    .attributes = attributes,
    .rearranges = true,
    .infer = [](const Attributes& a, Shapes in) -> std::vector<Shape> {
      require_inputs(in, 1, 1);
      const index_t f = checked_factor(a);
      return {{in[0].n, in[0].c, checked_multiply(in[0].h, f), checked_multiply(in[0].w, f)}};
    },
    .maps = elementwise_maps,
    .cost =
        [](const Attributes&, Shapes, Shapes out) {
          Cost c;
          c.upsample_elements = out[0].numel();
          return c;
        },
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      kernels::upsample_nearest_fwd<T>(k.in<T>(0), k.out<T>(0), k.attributes->integer("factor"));
    }),
    .gradient =
        [](GradientContext& g) {
          g.contribute(0, g.emit(upsample_bwd, {g.gradient()}, {{"factor", g.attributes().integer("factor")}}));
        },
    .recompute = run_again,
    .lower = lower,
    .lower_cuda = lower_cuda,
    .cases = []() -> std::vector<OpCase> {
      return {{"x2", {{2, 3, 2, 3}}, {}}, {"x3", {{1, 2, 2, 1}}, {{"factor", index_t{3}}}}};
    },
};

const OpDef upsample_bwd{
    .name = "upsample_bwd",
    .attributes = attributes,
    .infer = [](const Attributes& a, Shapes in) -> std::vector<Shape> {
      require_inputs(in, 1, 1);
      const index_t f = checked_factor(a);
      if (in[0].h % f != 0 || in[0].w % f != 0)
        throw ShapeError("dy " + to_string(in[0]) + " is not divisible by factor=" + std::to_string(f));
      return {{in[0].n, in[0].c, in[0].h / f, in[0].w / f}};
    },
    .maps = elementwise_maps,
    .cost =
        [](const Attributes&, Shapes in, Shapes) {
          Cost c;
          c.other_flops = in[0].numel();
          return c;
        },
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      kernels::upsample_nearest_bwd<T>(k.in<T>(0), k.out<T>(0), k.attributes->integer("factor"));
    }),
    .lower = lower_bwd,
    .lower_cuda = lower_bwd_cuda,
};

}  // namespace slimneck::ops
