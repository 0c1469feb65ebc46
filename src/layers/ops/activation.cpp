// Activations. One backward op serves them all; it reads the activation's input.
#include "layers/ops/cuda.hpp"
#include "layers/ops/fast.hpp"

namespace slimneck::ops {

namespace {

using kernels::Act;
using kernels::Activation;

constexpr AttributeSpec slope_attribute[] = {{"slope", Kind::real, false, 0.01}};
constexpr AttributeSpec bwd_attributes[] = {{"act", Kind::integer, true}, {"slope", Kind::real, false, 0.01}};

Activation activation_of(const Attributes& a, Act kind) {
  return {kind, kind == Act::leaky_relu ? a.real("slope") : 0.0};
}

std::vector<Shape> infer(const Attributes&, Shapes in) {
  require_inputs(in, 1, 1);
  return {in[0]};
}

std::vector<Shape> infer_bwd(const Attributes& a, Shapes in) {
  require_inputs(in, 2, 2);
  require_shape("dy", in[1], in[0]);
  static_cast<void>(activation_attribute(a));
  return {in[0]};
}

Cost cost(const Attributes&, Shapes, Shapes out) {
  Cost c;
  c.act_elements = out[0].numel();
  return c;
}

template <Act kind>
void gradient(GradientContext& g) {
  const Activation act = activation_of(g.attributes(), kind);
  g.contribute(
      0, g.emit(act_bwd, {g.input(0), g.gradient()}, {{"act", static_cast<index_t>(kind)}, {"slope", act.slope}}));
}

void run_fast(const KernelCall& k, const Activation& act,
              void (*kernels::Kernels::*kernel)(const kernels::PointwiseArgs&) noexcept) {
  kernels::PointwiseArgs a = pointwise(k);
  a.act = act.kind;
  a.slope = static_cast<float>(act.slope);
  (kernels::kernels_of(k.target.isa)->*kernel)(a);
}

template <Act kind>
Lowering lower(const LowerContext& c) {
  return lower_in_blocks(c, "act_fwd", [](const KernelCall& k) {
    run_fast(k, activation_of(*k.attributes, kind), &kernels::Kernels::act_fwd);
  });
}

template <Act kind>
Lowering lower_cuda(const LowerContext&) {
  return lower_to_cuda("act_fwd", [](const KernelCall& k) {
    cuda(k).act_fwd(*k.stream, k.in<float>(0), k.out<float>(0), activation_of(*k.attributes, kind),
                    kernels::Write::set);
  });
}

constexpr std::size_t x_or_dy[] = {1, 0};

Lowering lower_bwd(const LowerContext& c) {
  return lower_in_blocks(c, "act_bwd", [](const KernelCall& k) {
    run_fast(k, activation_attribute(*k.attributes), &kernels::Kernels::act_bwd);
  });
}

Lowering lower_bwd_cuda(const LowerContext&) {
  return lower_to_cuda("act_bwd", [](const KernelCall& k) {
    cuda(k).act_bwd(*k.stream, k.in<float>(0), k.in<float>(1), k.out<float>(0), activation_attribute(*k.attributes),
                    kernels::Write::set);
  });
}

std::vector<OpCase> cases() { return {{"map", {{2, 3, 3, 4}}, {}}, {"vector", {{1, 17, 1, 1}}, {}}}; }

template <Act kind>
constexpr OpDef define(std::string_view name) {
  OpDef op;
  op.name = name;
  if (kind == Act::leaky_relu) op.attributes = slope_attribute;
  op.in_place = first_input;
  op.infer = infer;
  op.maps = elementwise_maps;
  op.cost = cost;
  op.reference = Reference::of([]<class T>(const KernelCall& k) {
    kernels::act_fwd<T>(k.in<T>(0), k.out<T>(0), activation_of(*k.attributes, kind));
  });
  op.gradient = gradient<kind>;
  op.recompute = run_again;
  op.lower = lower<kind>;
  op.lower_cuda = lower_cuda<kind>;
  op.cases = cases;
  return op;
}

}  // namespace

Activation activation_attribute(const Attributes& a) {
  const index_t kind = a.integer("act");
  if (kind < 0 || kind > static_cast<index_t>(Act::gelu))
    throw ShapeError("act=" + std::to_string(kind) + " names no activation");
  return {static_cast<Act>(kind), a.real("slope")};
}

const OpDef silu = define<Act::silu>("silu");
const OpDef mish = define<Act::mish>("mish");
const OpDef relu = define<Act::relu>("relu");
const OpDef leaky_relu = define<Act::leaky_relu>("leaky_relu");
const OpDef hardswish = define<Act::hardswish>("hardswish");
const OpDef sigmoid = define<Act::sigmoid>("sigmoid");
const OpDef gelu = define<Act::gelu>("gelu");

const OpDef act_bwd{
    .name = "act_bwd",
    .attributes = bwd_attributes,
    .in_place = x_or_dy,
    .infer = infer_bwd,
    .maps = elementwise_maps,
    .cost = cost,
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      kernels::act_bwd<T>(k.in<T>(0), k.in<T>(1), k.out<T>(0), activation_attribute(*k.attributes));
    }),
    .lower = lower_bwd,
    .lower_cuda = lower_bwd_cuda,
};

}  // namespace slimneck::ops

namespace slimneck {

const OpDef* activation_op(kernels::Act act) noexcept {
  using kernels::Act;
  switch (act) {
    case Act::none: return nullptr;
    case Act::silu: return &ops::silu;
    case Act::mish: return &ops::mish;
    case Act::relu: return &ops::relu;
    case Act::leaky_relu: return &ops::leaky_relu;
    case Act::hardswish: return &ops::hardswish;
    case Act::sigmoid: return &ops::sigmoid;
    case Act::gelu: return &ops::gelu;
  }
  return nullptr;
}

kernels::Act act_of(const OpDef* op) noexcept {
  using kernels::Act;
  for (const Act act : {Act::silu, Act::mish, Act::relu, Act::leaky_relu, Act::hardswish, Act::sigmoid, Act::gelu})
    if (activation_op(act) == op) return act;
  return Act::none;
}

}  // namespace slimneck
