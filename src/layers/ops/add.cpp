// Elementwise sum: residual connections, and the gradient of a fan-out.
#include "graph/provided.hpp"
#include "layers/ops/cuda.hpp"
#include "layers/ops/fast.hpp"

namespace slimneck::ops {

namespace {

constexpr std::size_t either[] = {0, 1};

}  // namespace

const OpDef add{
    .name = "add",
    .in_place = either,
    .infer = [](const Attributes&, Shapes in) -> std::vector<Shape> {
      require_inputs(in, 2, 2);
      require_shape("the second input", in[1], in[0]);
      return {in[0]};
    },
    .maps = elementwise_maps,
    .cost =
        [](const Attributes&, Shapes, Shapes out) {
          Cost c;
          c.other_flops = out[0].numel();
          return c;
        },
    .reference =
        Reference::of([]<class T>(const KernelCall& k) { kernels::add<T>(k.in<T>(0), k.in<T>(1), k.out<T>(0)); }),
    .gradient =
        [](GradientContext& g) {
          g.contribute(0, g.gradient());
          g.contribute(1, g.gradient());
        },
    .lower =
        [](const LowerContext& c) {
          return lower_in_blocks(c, "map_add",
                                 [](const KernelCall& k) { kernels::kernels_of(k.target.isa)->map_add(pointwise(k)); });
        },
    .lower_cuda =
        [](const LowerContext&) {
          return lower_to_cuda("add", [](const KernelCall& k) {
            cuda(k).add(*k.stream, k.in<float>(0), k.in<float>(1), k.out<float>(0), kernels::Write::set);
          });
        },
    .cases = []() -> std::vector<OpCase> {
      return {{"map", {{2, 3, 2, 3}, {2, 3, 2, 3}}, {}}};
    },
};

}  // namespace slimneck::ops

namespace slimneck::graph {

const OpDef& sum_op() noexcept { return ops::add; }

}  // namespace slimneck::graph
