// Batch normalisation. A model has one op; inference runs it with the running statistics. In training a batch is a
// barrier, so it becomes three ops (rewrites/expand_batch_norm.cpp): bn_stats, bn_apply, bn_running. A batch in parts
// has more of them: shared_batch_norm.cpp.
#include "layers/ops/cuda.hpp"
#include "layers/ops/fast.hpp"

namespace slimneck::ops {

namespace {

constexpr AttributeSpec norm_attributes[] = {{"eps", Kind::real, false, 1e-3}, {"momentum", Kind::real, false, 0.03}};
constexpr AttributeSpec eps_attribute[] = {{"eps", Kind::real, false, 1e-3}};
constexpr AttributeSpec apply_attributes[] = {{"eps", Kind::real, false, 1e-3}, {"parts", Kind::integer, false, 1}};
constexpr AttributeSpec running_attributes[] = {{"momentum", Kind::real, false, 0.03}, {"count", Kind::integer, true}};
constexpr AttributeSpec bwd_attributes[] = {{"eps", Kind::real, false, 1e-3}, {"batch_stats", Kind::integer, false, 1}};

void require_vectors(Shapes in, std::size_t first, const Shape& x) {
  for (std::size_t i = first; i < in.size(); ++i) require_shape("a number per channel", in[i], channel_vector(x));
}

std::vector<Shape> infer(const Attributes&, Shapes in) {
  require_inputs(in, 6, 6);
  require_vectors(in.first(5), 1, in[0]);
  require_shape("tracked", in[5], {1, 1, 1, 1});
  return {in[0]};
}

Cost cost(const Attributes&, Shapes in, Shapes) {
  Cost c;
  c.norm_elements = in[0].numel();
  return c;
}

std::vector<Shape> infer_stats(const Attributes&, Shapes in) {
  require_inputs(in, 1, 1);
  if (in[0].n * in[0].h * in[0].w < 2)
    throw ShapeError("batch statistics need more than one value per channel, " + to_string(in[0]) +
                     " came: use a larger batch or picture");
  return {channel_vector(in[0]), channel_vector(in[0])};
}

std::vector<Shape> infer_apply(const Attributes&, Shapes in) {
  require_inputs(in, 5, 5);
  require_vectors(in, 1, in[0]);
  return {in[0]};
}

std::vector<Shape> infer_running(const Attributes& a, Shapes in) {
  require_inputs(in, 5, 5);
  require_vectors(in.first(4), 1, in[0]);
  require_shape("tracked", in[4], {1, 1, 1, 1});
  require_at_least("count", a.integer("count"), 2);
  return {in[0], in[0], {1, 1, 1, 1}};
}

std::vector<Shape> infer_bwd(const Attributes&, Shapes in) {
  require_inputs(in, 5, 5);
  require_shape("x", in[1], in[0]);
  require_vectors(in, 2, in[0]);
  return {in[0], channel_vector(in[0]), channel_vector(in[0])};
}

/// dy, x, mean, var, gamma -> dx, dgamma, dbeta; x is input 0, gamma input `gamma`, beta the one after it.
void emit_bwd(GradientContext& g, Value mean, Value var, std::size_t gamma, bool batch_stats) {
  if (!g.gradient().valid()) return;
  const Value bwd = g.emit(bn_bwd, {g.gradient(), g.input(0), mean, var, g.input(gamma)},
                           {{"eps", g.attributes().real("eps")}, {"batch_stats", index_t{batch_stats}}});
  g.contribute(0, bwd);
  g.contribute(gamma, {bwd.node, 1});
  g.contribute(gamma + 1, {bwd.node, 2});
}

/// The statistics are those of a batch in parts: the sums that dx needs are too.
void emit_shared_bwd(GradientContext& g, index_t parts) {
  if (!g.gradient().valid()) return;
  const Attributes eps{{"eps", g.attributes().real("eps")}};
  const Value own = g.emit(bn_bwd_sums, {g.gradient(), g.input(0), g.input(1), g.input(2)}, eps, "bwd_sums");
  g.contribute(3, own);
  g.contribute(4, {own.node, 1});
  if (!g.wants(0)) return;
  const Value common = g.emit(bn_average, {own, {own.node, 1}}, {{"parts", parts}}, "bwd_average");
  g.contribute(
      0,
      g.emit(bn_bwd_x, {g.gradient(), g.input(0), g.input(1), g.input(2), g.input(3), common, {common.node, 1}}, eps));
}

/// y = gamma (x - mean) / sqrt(var + eps) + beta.
void run_apply(const KernelCall& k, std::size_t mean, std::size_t gamma) {
  const auto vector = [&](std::size_t i) { return k.in<float>(i).data; };
  Scratch s(k.workspace);
  run_norm(k.inputs[0], k.outputs[0],
           {vector(mean), vector(mean + 1), vector(gamma), vector(gamma + 1), k.attributes->real("eps")}, {}, k.target,
           s);
}

index_t apply_workspace(const LowerContext& c) {
  Scratch count(nullptr);
  take_norm(count, c.outputs[0].shape.c);
  return count.taken();
}

Lowering lower(const LowerContext& c) {
  return lower_in_blocks(
      c, "bn_act", [](const KernelCall& k) { run_apply(k, 3, 1); }, apply_workspace(c));
}

Lowering lower_apply(const LowerContext& c) {
  return lower_in_blocks(
      c, "bn_act", [](const KernelCall& k) { run_apply(k, 1, 3); }, apply_workspace(c));
}

Lowering lower_bwd(const LowerContext& c) {
  return lower_in_blocks(
      c, "bn_act_bwd",
      [](const KernelCall& k) { run_norm_bwd(k, nullptr, {}, k.attributes->integer("batch_stats") != 0); },
      norm_bwd_workspace(c.inputs[1]));
}

void run_stats(const KernelCall& k) {
  kernels::BnArgs b;
  set_extent(b, k.inputs[0]);
  lay(k.inputs[0], b.z, b.zn, b.zb, b.zh);
  b.mean = k.out<float>(0).data;
  b.var = k.out<float>(1).data;
  b.workspace = static_cast<float*>(k.workspace);
  kernels::kernels_of(k.target.isa)->bn_moments(b);
}

Lowering lower_stats(const LowerContext& c) {
  const AnyView& x = c.inputs[0];
  kernels::BnArgs b;
  set_extent(b, x);
  return lower_in_blocks(c, "bn_moments", run_stats, kernels::bn_workspace(b.n, b.blocks, b.h, b.w, x.block));
}

// ---- CUDA ----
/// Statistics in input `mean` and the next one, parameters in `gamma` and the next one.
template <std::size_t mean, std::size_t gamma>
Lowering lower_apply_cuda(const LowerContext&) {
  return lower_to_cuda("bn_apply", [](const KernelCall& k) {
    cuda_norm(k, k.in<float>(0), k.in<float>(mean), k.in<float>(mean + 1), gamma, k.out<float>(0), {});
  });
}

Lowering lower_stats_cuda(const LowerContext& c) {
  const auto run = [](const KernelCall& k) {
    cuda(k).bn_stats(*k.stream, k.in<float>(0), k.out<float>(0), k.out<float>(1), static_cast<float*>(k.workspace));
  };
  return lower_to_cuda("bn_stats", run, c.target.cuda->norm_workspace(c.inputs[0].shape));
}

Lowering lower_running_cuda(const LowerContext&) {
  return lower_to_cuda("bn_running", [](const KernelCall& k) {
    cuda(k).bn_running(*k.stream, k.in<float>(0), k.in<float>(1), k.attributes->integer("count"),
                       k.attributes->real("momentum"), k.in<float>(2), k.in<float>(3), k.in<float>(4), k.out<float>(0),
                       k.out<float>(1), k.out<float>(2));
  });
}

Lowering lower_bwd_cuda(const LowerContext& c) {
  const auto run = [](const KernelCall& k) { cuda_norm_bwd(k, {}, k.attributes->integer("batch_stats") != 0); };
  return lower_to_cuda("bn_bwd", run, c.target.cuda->norm_workspace(c.inputs[1].shape));
}

std::vector<OpCase> cases() {
  const Shape v{1, 3, 1, 1};
  return {{"map", {{2, 3, 4, 3}, v, v, v, v, {1, 1, 1, 1}}, {}}};
}

}  // namespace

const OpDef batch_norm{
    .name = "batch_norm",
    .attributes = norm_attributes,
    .in_place = first_input,
    .infer = infer,
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a,-a,-a,-a,-a,-->-a"; },
    .cost = cost,
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      kernels::bn_apply<T>(k.in<T>(0), k.in<T>(3), k.in<T>(4), k.in<T>(1), k.in<T>(2), k.out<T>(0),
                           k.attributes->real("eps"));
    }),
    .gradient = [](GradientContext& g) { emit_bwd(g, g.input(3), g.input(4), 1, false); },
    .lower = lower,
    .lower_cuda = lower_apply_cuda<3, 1>,
    .cases = cases,
};

/// gamma, beta, mean, var -> scale = gamma / sqrt(var + eps), bias = beta - mean scale: what batch norm is in
/// inference, where a plan computes it once for its parameters.
const OpDef bn_fold{
    .name = "bn_fold",
    .attributes = eps_attribute,
    .infer = [](const Attributes&, Shapes in) -> std::vector<Shape> {
      require_inputs(in, 4, 4);
      require_vectors(in, 0, in[0]);
      return {in[0], in[0]};
    },
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a,-a,-a,-a>-a,-a"; },
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      kernels::bn_fold(k.out<T>(0).shape.c, k.in<T>(2).data, k.in<T>(3).data, k.in<T>(0).data, k.in<T>(1).data,
                       k.attributes->real("eps"), k.out<T>(0).data, k.out<T>(1).data);
    }),
};

/// x -> mean, biased variance. Its gradient is part of bn_apply's.
const OpDef bn_stats{
    .name = "bn_stats",
    .infer = infer_stats,
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a>-a,-a"; },
    .reference =
        Reference::of([]<class T>(const KernelCall& k) { kernels::bn_stats<T>(k.in<T>(0), k.out<T>(0), k.out<T>(1)); }),
    .lower = lower_stats,
    .lower_cuda = lower_stats_cuda,
};

/// x, mean, var, gamma, beta -> y, where mean, var = bn_stats(x): the gradient in x includes the way through them.
const OpDef bn_apply{
    .name = "bn_apply",
    .attributes = apply_attributes,
    .in_place = first_input,
    .infer = infer_apply,
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a,-a,-a,-a,-a>-a"; },
    .cost = cost,
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      kernels::bn_apply<T>(k.in<T>(0), k.in<T>(1), k.in<T>(2), k.in<T>(3), k.in<T>(4), k.out<T>(0),
                           k.attributes->real("eps"));
    }),
    .gradient =
        [](GradientContext& g) {
          if (const index_t parts = g.attributes().integer("parts"); parts > 1)
            emit_shared_bwd(g, parts);
          else
            emit_bwd(g, g.input(1), g.input(2), 3, true);
        },
    .recompute = run_again,
    .lower = lower_apply,
    .lower_cuda = lower_apply_cuda<1, 3>,
};

/// mean, var, running mean, running var, tracked -> their new values. The only writer of running state.
const OpDef bn_running{
    .name = "bn_running",
    .attributes = running_attributes,
    .infer = infer_running,
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a,-a,-a,-a,-->-a,-a,--"; },
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      kernels::bn_running<T>(k.in<T>(0), k.in<T>(1), k.attributes->integer("count"), k.attributes->real("momentum"),
                             k.in<T>(2), k.in<T>(3), k.in<T>(4), k.out<T>(0), k.out<T>(1), k.out<T>(2));
    }),
    .lower_cuda = lower_running_cuda,
};

const OpDef bn_bwd{
    .name = "bn_bwd",
    .attributes = bwd_attributes,
    .in_place = first_input,
    .infer = infer_bwd,
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a,-a,-a,-a,-a>-a,-a,-a"; },
    .cost = cost,
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      kernels::bn_bwd<T>(k.in<T>(0), k.in<T>(1), k.in<T>(2), k.in<T>(3), k.in<T>(4), k.out<T>(0), k.out<T>(1),
                         k.out<T>(2), k.attributes->real("eps"), k.attributes->integer("batch_stats") != 0);
    }),
    .lower = lower_bwd,
    .lower_cuda = lower_bwd_cuda,
};

}  // namespace slimneck::ops
