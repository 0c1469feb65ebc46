// fast::bn_*, act_*, add, channel_sum, channel_shuffle on plain views.
#include <algorithm>

#include "kernels/plain/norm.hpp"

namespace slimneck::kernels {

namespace {

using namespace plain;  // NOLINT(google-build-using-namespace): helpers of this folder

/// Elements follow one another in NCHW order.
bool is_dense(const View<const float>& v) {
  const View<const float> dense(v.data, v.shape);
  return v.sn == dense.sn && v.sc == dense.sc && v.sh == dense.sh && v.sw == dense.sw;
}

using PointwiseKernel = void (*Kernels::*)(const PointwiseArgs&) noexcept;

/// y = kernel(x, z) or y += kernel(x, z) element by element; z may be left out.
struct Pointwise {
  const char* name;
  PointwiseKernel kernel;
  View<const float> x, z;
  View<float> y;
  Activation act;

  void run(const Exec& exec, std::span<float> memory, Write write) const {
    const Machine machine(exec);
    check_view(name, "the first operand", x, x.shape);
    if (z.data || kernel != &Kernels::act_fwd) check_view(name, "the second operand", z, x.shape);
    check_view(name, "the result", y, x.shape);
    Workspace workspace(memory);
    const View<float> bx = workspace.map(x.shape, machine.lanes), bz = workspace.map(x.shape, machine.lanes);
    if (dense() && write == Write::set) {
      const core::ThreadScope scope(machine.threads);
      return flat(machine);
    }
    workspace.check(name);

    const core::ThreadScope scope(machine.threads);
    to_blocked(machine, x, bx);
    if (z.data) to_blocked(machine, z, bz);
    call(machine, bx, z.data ? View<const float>(bz) : View<const float>(), bx);
    from_blocked(machine, bx, {}, y, write);
  }

 private:
  [[nodiscard]] bool dense() const { return is_dense(x) && is_dense(y) && (!z.data || is_dense(z)); }

  void call(const Machine& machine, const View<const float>& from, const View<const float>& second,
            const View<float>& to) const noexcept {
    PointwiseArgs a;
    set_extent(a, from);
    lay_x(from, a);
    lay(second, a.z, a.zn, a.zb, a.zh);
    lay_y(to, a);
    a.act = act.kind;
    a.slope = static_cast<float>(act.slope);
    (machine.kernels->*kernel)(a);
  }

  /// As one map of a single block and row; what is left after the last whole vector goes through a vector of its own.
  void flat(const Machine& machine) const noexcept {
    constexpr index_t widest = 16;
    const index_t lanes = machine.lanes, count = x.shape.n * x.shape.c * x.shape.h * x.shape.w;
    const index_t whole = count / lanes * lanes, rest = count - whole;
    const auto map = [&](auto* data, index_t vectors) { return View(data, Shape{1, lanes, 1, vectors}, lanes); };
    if (whole > 0) call(machine, map(x.data, whole / lanes), map(z.data, whole / lanes), map(y.data, whole / lanes));
    if (rest == 0) return;
    float tail_x[widest] = {}, tail_z[widest] = {};
    std::copy_n(x.data + whole, rest, tail_x);
    if (z.data) std::copy_n(z.data + whole, rest, tail_z);
    call(machine, map(static_cast<const float*>(tail_x), 1), map(static_cast<const float*>(tail_z), 1), map(tail_x, 1));
    std::copy_n(tail_x, rest, y.data + whole);
  }
};

/// Maps and vectors of a batch norm.
struct Norms {
  Machine machine;
  Workspace workspace;
  View<float> x, y;
  BlockedNorm norm;

  Norms(const Exec& exec, const Shape& shape, std::span<float> memory)
      : machine(exec),
        workspace(memory),
        x(workspace.map(shape, machine.lanes)),
        y(workspace.map(shape, machine.lanes)),
        norm(machine, shape, workspace) {}
};

void check_norm(const char* name, const fast::Norm& norm, const Shape& x) {
  const Shape vector = per_channel(x.c);
  check_view(name, "mean", norm.mean, vector);
  check_view(name, "var", norm.var, vector);
  check_optional(name, "gamma", norm.gamma, vector);
  check_optional(name, "beta", norm.beta, vector);
}

struct Sums {
  Machine machine;
  Workspace workspace;
  View<float> x;
  float *y, *parts;

  Sums(const Exec& exec, const Shape& shape, std::span<float> memory)
      : machine(exec), workspace(memory), x(workspace.map(shape, machine.lanes)) {
    const index_t blocks = blocks_of(x);
    y = workspace.take(blocks * machine.lanes);
    parts = workspace.take(bn_workspace(shape.n, blocks, shape.h, shape.w, machine.lanes));
  }
};

}  // namespace

namespace fast {

void bn_stats(const Exec& exec, View<const float> x, View<float> mean, View<float> var, std::span<float> workspace,
              const Options& options) {
  constexpr auto name = "bn_stats";
  Norms n(exec, x.shape, workspace);
  check_view(name, "x", x, x.shape);
  check_view(name, "mean", mean, per_channel(x.shape.c));
  check_view(name, "var", var, per_channel(x.shape.c));
  n.workspace.check(name);

  const core::ThreadScope scope(n.machine.threads);
  to_blocked(n.machine, x, n.x);
  n.norm.statistics(n.x);
  from_vector(n.norm.vectors().mean, mean, options.write);
  from_vector(n.norm.vectors().var, var, options.write);
}

void bn_apply(const Exec& exec, View<const float> x, const Norm& norm, View<float> y, double eps, const Activation& act,
              std::span<float> workspace, const Options& options) {
  constexpr auto name = "bn_apply";
  Norms n(exec, x.shape, workspace);
  check_view(name, "x", x, x.shape);
  check_view(name, "y", y, x.shape);
  check_norm(name, norm, x.shape);
  n.workspace.check(name);

  const core::ThreadScope scope(n.machine.threads);
  n.norm.set_affine(norm.gamma, norm.beta);
  n.norm.set_statistics(norm.mean, norm.var);
  n.norm.fold(eps);
  to_blocked(n.machine, x, n.x);
  n.norm.apply(n.x, n.y, act);
  from_blocked(n.machine, n.y, {}, y, options.write);
}

void bn_bwd(const Exec& exec, View<const float> dy, View<const float> x, const Norm& norm, View<float> dx,
            View<float> dgamma, View<float> dbeta, double eps, const Activation& act, bool batch_stats,
            std::span<float> workspace, const Options& options) {
  constexpr auto name = "bn_bwd";
  Norms n(exec, x.shape, workspace);
  check_view(name, "x", x, x.shape);
  check_view(name, "dy", dy, x.shape);
  check_norm(name, norm, x.shape);
  check_optional(name, "dx", dx, x.shape);
  check_optional(name, "dgamma", dgamma, per_channel(x.shape.c));
  check_optional(name, "dbeta", dbeta, per_channel(x.shape.c));
  n.workspace.check(name);

  const core::ThreadScope scope(n.machine.threads);
  n.norm.set_affine(norm.gamma, norm.beta);
  n.norm.set_statistics(norm.mean, norm.var);
  n.norm.fold(eps);
  to_blocked(n.machine, x, n.x);
  to_blocked(n.machine, dy, n.y);
  n.norm.backward(n.y, n.x, n.y, act, eps, batch_stats);
  if (dx.data) from_blocked(n.machine, n.y, {}, dx, options.write);
  from_vector(n.norm.vectors().dgamma, dgamma, options.write);
  from_vector(n.norm.vectors().dbeta, dbeta, options.write);
}

index_t bn_workspace(const Exec& exec, const Shape& x) { return Norms(exec, x, {}).workspace.taken(); }

void channel_sum(const Exec& exec, View<const float> x, View<float> y, std::span<float> workspace,
                 const Options& options) {
  constexpr auto name = "channel_sum";
  const Sums s(exec, x.shape, workspace);
  check_view(name, "x", x, x.shape);
  check_view(name, "y", y, per_channel(x.shape.c));
  s.workspace.check(name);

  const core::ThreadScope scope(s.machine.threads);
  to_blocked(s.machine, x, s.x);
  ChannelSumArgs a;
  set_extent(a, s.x);
  lay_x(s.x, a);
  a.y = s.y;
  a.workspace = s.parts;
  s.machine.kernels->map_sum(a);
  from_vector(s.y, y, options.write);
}

index_t channel_sum_workspace(const Exec& exec, const Shape& x) { return Sums(exec, x, {}).workspace.taken(); }

void act_fwd(const Exec& exec, View<const float> x, View<float> y, const Activation& act, std::span<float> workspace,
             const Options& options) {
  Pointwise{"act_fwd", &Kernels::act_fwd, x, {}, y, act}.run(exec, workspace, options.write);
}

void act_bwd(const Exec& exec, View<const float> x, View<const float> dy, View<float> dx, const Activation& act,
             std::span<float> workspace, const Options& options) {
  Pointwise{"act_bwd", &Kernels::act_bwd, x, dy, dx, act}.run(exec, workspace, options.write);
}

void add(const Exec& exec, View<const float> a, View<const float> b, View<float> y, std::span<float> workspace,
         const Options& options) {
  Pointwise{"add", &Kernels::map_add, a, b, y, {}}.run(exec, workspace, options.write);
}

index_t pointwise_workspace(const Exec& exec, const Shape& x) {
  const Machine machine(exec);
  Workspace workspace;
  static_cast<void>(workspace.map(x, machine.lanes));
  static_cast<void>(workspace.map(x, machine.lanes));
  return workspace.taken();
}

void channel_shuffle(const Exec& exec, View<const float> x, View<float> y, std::span<const index_t> source,
                     const Options& options) {
  constexpr auto name = "channel_shuffle";
  const Machine machine(exec);
  check_view(name, "x", x, x.shape);
  check_view(name, "y", y, {x.shape.n, static_cast<index_t>(source.size()), x.shape.h, x.shape.w});
  for (const index_t c : source)
    if (c >= x.shape.c)
      fail(name, "source has " + std::to_string(c) + " for " + std::to_string(x.shape.c) + " channels");

  const core::ThreadScope scope(machine.threads);
  if (options.write == Write::set && x.sw == 1 && y.sw == 1) {
    GatherArgs a;
    a.n = y.shape.n;
    a.channels = y.shape.c;
    a.h = y.shape.h;
    a.w = y.shape.w;
    lay_x(x, a);
    lay_y(y, a);
    a.list = source.data();
    return machine.kernels->gather_channels(a);
  }
  if (options.write == Write::set) return gather_channels<float>(x, y, source);
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t n = 0; n < y.shape.n; ++n)
    for (index_t j = 0; j < y.shape.c; ++j) {
      const index_t c = source[static_cast<std::size_t>(j)];
      if (c < 0) continue;
      for (index_t h = 0; h < y.shape.h; ++h)
        for (index_t w = 0; w < y.shape.w; ++w) y.at(n, j, h, w) += x.at(n, c, h, w);
    }
}

}  // namespace fast

}  // namespace slimneck::kernels
