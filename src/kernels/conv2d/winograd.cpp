#include "kernels/conv2d/winograd.hpp"

#include <algorithm>

namespace slimneck::kernels {

namespace {

/// Where batches are fewer than this, the channels of y are shared out too.
constexpr index_t enough_tasks = 16;

/// Weight gradients with fewer (pairs of blocks of y) x (blocks of x) are summed in parts.
constexpr index_t enough_blocks = 8;
constexpr index_t most_parts = 8;
/// Transformed tiles of a batch: half of a second level cache of 1 MiB.
constexpr index_t batch_bytes = 512 * 1024;
/// Tiles of a batch where blocks are shared out. The pair of blocks that a task keeps and the block that it streams
/// are far smaller than the batch; a longer sum loses accuracy, a shorter one adds to memory more often.
constexpr index_t block_tiles = 256;

index_t up(index_t a, index_t b) { return (a + b - 1) / b; }

/// Tiles in a batch: two to four groups of the product's micro-kernel, and V of 0.1 to 0.5 MiB.
index_t target_tiles(const ConvArgs& a, index_t lanes) { return a.x_blocks * lanes <= 64 ? 48 : 28; }

index_t strip(const ConvArgs& a, index_t lanes, index_t m) {
  const index_t rows = up(a.oh, m), columns = up(a.ow, m);
  if (rows == 0 || columns == 0) return m;
  const index_t wanted = std::clamp<index_t>(target_tiles(a, lanes) / columns, 1, rows);
  return up(rows, up(rows, wanted)) * m;
}

template <class Args>
bool is_k3(const Args& a) {
  return a.planes == 0 && a.kh == 3 && a.kw == 3 && a.stride == 1 && a.pad_h == 1 && a.pad_w == 1 && a.dilation == 1;
}

template <class Args>
index_t tiles(const Args& a, index_t m) {
  return a.n * up(a.oh, m) * up(a.ow, m);
}

/// F(4x4) reads 36 numbers for 9 weights. Where there are few tiles to use them for, that takes longer than what it
/// saves, and F(2x2) with its 16 numbers is the faster one.
template <class Args>
bool heavy_weights(const Args& a, index_t lanes) {
  return a.x_blocks * a.y_blocks * lanes * lanes >= 200 * 200 && tiles(a, 4) < 20;
}

}  // namespace

bool winograd4_suits(const ConvArgs& a, index_t lanes) {
  return is_k3(a) && a.oh >= 4 && a.ow >= 4 && !heavy_weights(a, lanes);
}
bool winograd2_suits(const ConvArgs& a, index_t lanes) {
  return is_k3(a) && a.oh >= 4 && a.ow >= 4 && heavy_weights(a, lanes);
}
/// F(2x2) was never ahead here: 0.66-0.97 on 256 channels, where it comes closest. It stays for its exact sums, which
/// test what both share.
bool winograd4_grad_suits(const ConvGradArgs& a, index_t) { return is_k3(a) && a.oh >= 4 && a.ow >= 4; }

WinogradPlan winograd_plan(const ConvArgs& a, index_t lanes, index_t m) noexcept {
  WinogradPlan p{};
  p.m = m;
  p.points = (m + 2) * (m + 2);
  p.rows = up(a.oh, m);
  p.columns = up(a.ow, m);
  p.unit_rows = std::max<index_t>(1, a.strip / m);
  p.strips = up(p.rows, p.unit_rows);
  p.units = a.n * p.strips;
  const index_t unit_tiles = std::max<index_t>(1, std::min(p.unit_rows, p.rows) * p.columns);
  p.batch_units = std::clamp<index_t>(target_tiles(a, lanes) / unit_tiles, 1, std::max<index_t>(1, p.units));
  p.batches = up(p.units, p.batch_units);
  p.pairs = up(a.y_blocks, 2);
  // One cache line more than a plane needs: planes that lie a power of two apart would share the same cache sets.
  const index_t tiles = p.batch_units * unit_tiles;
  p.u_plane = winograd_weight_plane(a.y_blocks * lanes, a.x_blocks * lanes);
  p.groups = std::clamp<index_t>(up(enough_tasks, std::max<index_t>(1, p.batches)), 1, std::max<index_t>(1, p.pairs));
  p.v_plane = a.x_blocks * tiles * lanes + 16;
  p.m_plane = 2 * up(p.pairs, p.groups) * tiles * lanes + 16;
  p.scratch = up(p.points * (p.v_plane + p.m_plane), 16) * 16;
  return p;
}

index_t winograd_weight_plane(index_t o, index_t c) noexcept { return o * c + 16; }

namespace {

/// Enough whether or not the strip has been chosen yet.
index_t workspace(const ConvArgs& a, index_t lanes, index_t m, int threads) {
  ConvArgs chosen = a;
  chosen.strip = strip(a, lanes, m);
  return std::max(winograd_plan(a, lanes, m).scratch, winograd_plan(chosen, lanes, m).scratch) * threads;
}

}  // namespace

index_t winograd4_strip(const ConvArgs& a, index_t lanes) { return strip(a, lanes, 4); }
index_t winograd2_strip(const ConvArgs& a, index_t lanes) { return strip(a, lanes, 2); }
index_t winograd4_weights(index_t o, index_t c, index_t) { return winograd_weight_plane(o, c) * 36; }
index_t winograd2_weights(index_t o, index_t c, index_t) { return winograd_weight_plane(o, c) * 16; }
index_t winograd4_workspace(const ConvArgs& a, index_t lanes, int threads) { return workspace(a, lanes, 4, threads); }
index_t winograd2_workspace(const ConvArgs& a, index_t lanes, int threads) { return workspace(a, lanes, 2, threads); }

WinogradGradPlan winograd_grad_plan(const ConvGradArgs& a, index_t lanes, index_t m, int threads) noexcept {
  WinogradGradPlan p{};
  p.points = (m + 2) * (m + 2);
  p.rows = up(a.oh, m);
  p.columns = up(a.ow, m);
  p.tiles = a.n * p.rows * p.columns;
  if (p.tiles == 0) return p;
  const index_t pairs = up(a.y_blocks, 2), tasks = pairs * a.x_blocks;
  const bool parts = tasks < enough_blocks;
  const index_t bytes = p.points * (a.x_blocks + a.y_blocks) * lanes * 4;
  const index_t target = parts ? std::max<index_t>(16, batch_bytes / bytes) : block_tiles;
  p.batches = up(p.tiles, target);
  const index_t tiles = up(p.tiles, p.batches);
  p.v_plane = a.x_blocks * tiles * lanes + 16;
  p.g_plane = a.y_blocks * tiles * lanes + 16;
  p.scratch = p.points * (p.v_plane + p.g_plane);
  if (parts) {
    p.parts = std::min(p.batches, most_parts);
    p.du_plane = a.x_blocks * a.y_blocks * lanes * lanes + 16;
    p.du = p.points * p.du_plane;
    // The sums come first: where they lie may not depend on the number of threads.
    p.workspace = p.parts * p.du + threads * p.scratch;
  } else {
    p.du_plane = 2 * lanes * lanes + 16;
    p.du = p.points * p.du_plane;
    p.sums = p.scratch;
    p.workspace = p.scratch + (p.batches == 1 ? threads : tasks) * p.du;
  }
  return p;
}

index_t winograd4_grad_workspace(const ConvGradArgs& a, index_t lanes, int threads) {
  return winograd_grad_plan(a, lanes, 4, threads).workspace;
}
index_t winograd2_grad_workspace(const ConvGradArgs& a, index_t lanes, int threads) {
  return winograd_grad_plan(a, lanes, 2, threads).workspace;
}

}  // namespace slimneck::kernels
