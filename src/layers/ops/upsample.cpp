// Nearest upsampling by a whole factor; its gradient is the sum over each square.
#include "layers/ops/common.hpp"

namespace slimneck::ops {

namespace {

constexpr AttributeSpec attributes[] = {{"factor", Kind::integer, false, 2}};

index_t checked_factor(const Attributes& a) {
  const index_t factor = a.integer("factor");
  require_at_least("factor", factor, 1);
  return factor;
}

}  // namespace

const OpDef upsample{
    .name = "upsample",
    .attributes = attributes,
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
};

}  // namespace slimneck::ops
