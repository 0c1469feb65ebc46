// Max pooling with a square window.
#include "layers/ops/common.hpp"

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
};

}  // namespace slimneck::ops
