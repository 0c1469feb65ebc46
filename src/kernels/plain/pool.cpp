// fast::max_pool_* and upsample_nearest_* on plain views.
#include "kernels/plain/parts.hpp"

namespace slimneck::kernels {

namespace {

using namespace plain;  // NOLINT(google-build-using-namespace): helpers of this folder

constexpr index_t largest = (index_t{1} << 31) - 1;

/// A large map and a small one in blocks, and the positions of maxima.
struct Maps {
  Machine machine;
  Workspace workspace;
  View<float> large, small;
  std::uint8_t* where;

  Maps(const Exec& exec, const Shape& large_shape, const Shape& small_shape, std::span<float> memory)
      : machine(exec),
        workspace(memory),
        large(workspace.map(large_shape, machine.lanes)),
        small(workspace.map(small_shape, machine.lanes)) {
    constexpr index_t bytes = sizeof(float);
    where = reinterpret_cast<std::uint8_t*>(workspace.take((small_shape.n * small.sn + bytes - 1) / bytes));
  }
};

Shape pooled(const Shape& x, const Pool& p) {
  constexpr auto name = "max_pool";
  if (p.kernel < 1 || p.stride < 1 || p.pad < 0 || p.kernel > largest || p.pad > largest || x.h > largest ||
      x.w > largest)
    fail(name, "kernel " + std::to_string(p.kernel) + ", stride " + std::to_string(p.stride) + ", pad " +
                   std::to_string(p.pad));
  const index_t h = x.h + 2 * p.pad - p.kernel, w = x.w + 2 * p.pad - p.kernel;
  if (x.h < 1 || x.w < 1 || h < 0 || w < 0)
    fail(name, "a window of " + std::to_string(p.kernel) + " does not fit into " + to_string(x));
  return {x.n, x.c, h / p.stride + 1, w / p.stride + 1};
}

Shape upsampled(const Shape& x, index_t factor) {
  if (factor < 1) fail("upsample_nearest", "factor is " + std::to_string(factor));
  return {x.n, x.c, checked_multiply(x.h, factor), checked_multiply(x.w, factor)};
}

/// Windows whose positions do not fit into a byte are left to the reference.
bool is_large(const Pool& p) { return p.kernel > pool_positions_kernel; }

template <class Args>
void set_windows(Args& a, const Maps& m, const Pool& p) {
  set_extent(a, m.large);
  a.oh = m.small.shape.h;
  a.ow = m.small.shape.w;
  a.kernel = p.kernel;
  a.stride = p.stride;
  a.pad = p.pad;
}

}  // namespace

namespace fast {

void max_pool_fwd(const Exec& exec, View<const float> x, View<float> y, const Pool& pool, std::span<float> workspace,
                  const Options& options) {
  constexpr auto name = "max_pool_fwd";
  const Maps m(exec, x.shape, pooled(x.shape, pool), workspace);
  check_view(name, "x", x, x.shape);
  check_view(name, "y", y, m.small.shape);
  m.workspace.check(name);

  const core::ThreadScope scope(m.machine.threads);
  to_blocked(m.machine, x, m.large);
  PoolArgs a;
  set_windows(a, m, pool);
  lay_x(m.large, a);
  lay_y(m.small, a);
  m.machine.kernels->max_pool_fwd(a);
  from_blocked(m.machine, m.small, {}, y, options.write);
}

void max_pool_bwd(const Exec& exec, View<const float> x, View<const float> dy, View<float> dx, const Pool& pool,
                  std::span<float> workspace, const Options& options) {
  constexpr auto name = "max_pool_bwd";
  const Maps m(exec, x.shape, pooled(x.shape, pool), workspace);
  check_view(name, "x", x, x.shape);
  check_view(name, "dy", dy, m.small.shape);
  check_view(name, "dx", dx, x.shape);
  m.workspace.check(name);

  const core::ThreadScope scope(m.machine.threads);
  if (is_large(pool)) {
    kernels::max_pool_bwd<float>(x, dy, m.large, pool);
    return from_blocked(m.machine, m.large, {}, dx, options.write);
  }
  to_blocked(m.machine, x, m.large);
  PoolArgs a;
  set_windows(a, m, pool);
  lay_x(m.large, a);
  lay_y(m.small, a);
  a.where = m.where;
  m.machine.kernels->max_pool_fwd_at(a);
  to_blocked(m.machine, dy, m.small);
  PoolGradArgs g;
  set_windows(g, m, pool);
  lay(m.small, g.dy, g.yn, g.yb, g.yh);
  lay(m.large, g.dx, g.xn, g.xb, g.xh);
  g.where = m.where;
  m.machine.kernels->max_pool_bwd(g);
  from_blocked(m.machine, m.large, {}, dx, options.write);
}

index_t max_pool_workspace(const Exec& exec, const Shape& x, const Pool& pool) {
  return Maps(exec, x, pooled(x, pool), {}).workspace.taken();
}

void upsample_nearest_fwd(const Exec& exec, View<const float> x, View<float> y, index_t factor,
                          std::span<float> workspace, const Options& options) {
  constexpr auto name = "upsample_nearest_fwd";
  const Maps m(exec, upsampled(x.shape, factor), x.shape, workspace);
  check_view(name, "x", x, x.shape);
  check_view(name, "y", y, m.large.shape);
  m.workspace.check(name);

  const core::ThreadScope scope(m.machine.threads);
  to_blocked(m.machine, x, m.small);
  UpsampleArgs a;
  set_extent(a, m.small);
  a.factor = factor;
  lay_x(m.small, a);
  lay_y(m.large, a);
  m.machine.kernels->upsample_fwd(a);
  from_blocked(m.machine, m.large, {}, y, options.write);
}

void upsample_nearest_bwd(const Exec& exec, View<const float> dy, View<float> dx, index_t factor,
                          std::span<float> workspace, const Options& options) {
  constexpr auto name = "upsample_nearest_bwd";
  const Maps m(exec, upsampled(dx.shape, factor), dx.shape, workspace);
  check_view(name, "dy", dy, m.large.shape);
  check_view(name, "dx", dx, dx.shape);
  m.workspace.check(name);

  const core::ThreadScope scope(m.machine.threads);
  to_blocked(m.machine, dy, m.large);
  UpsampleArgs a;
  set_extent(a, m.small);
  a.factor = factor;
  lay_x(m.large, a);
  lay_y(m.small, a);
  m.machine.kernels->upsample_bwd(a);
  from_blocked(m.machine, m.small, {}, dx, options.write);
}

index_t upsample_nearest_workspace(const Exec& exec, const Shape& small, index_t factor) {
  return Maps(exec, upsampled(small, factor), small, {}).workspace.taken();
}

}  // namespace fast

}  // namespace slimneck::kernels
