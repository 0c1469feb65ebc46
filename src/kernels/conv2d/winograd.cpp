#include "kernels/conv2d/winograd.hpp"

#include <algorithm>

#include "kernels/strips.hpp"

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

/// Prepared weights of more bytes than that come from the third level cache or from memory.
constexpr index_t streaming_bytes = 4 * 1024 * 1024;

template <class Args>
index_t weight_bytes(const WinogradForm& f, const Args& a, index_t lanes) {
  return winograd_weights(f, a.y_blocks * lanes, a.x_blocks * lanes) * 4;
}

/// Tiles in a batch: two to four groups of the product's micro-kernel, and V and M of 0.2 to 0.7 MiB. Weights that
/// stream are read once for each batch: there more tiles pay, though V and M stream as well.
index_t target_tiles(const WinogradForm& f, const ConvArgs& a, index_t lanes) {
  if (weight_bytes(f, a, lanes) > streaming_bytes) return 112;
  return (f.planes * a.x_blocks + f.sums * a.y_blocks) * lanes <= 36 * 64 ? 48 : 28;
}

template <class Args>
bool is_k3(const Args& a, index_t stride) {
  return a.planes == 0 && a.kh == 3 && a.kw == 3 && a.stride == stride && a.pad_h == 1 && a.pad_w == 1 &&
         a.dilation == 1;
}

template <class Args>
bool is_stem(const Args& a) {
  return a.planes > 0 && a.planes <= 3 && a.kh == 6 && a.kw == 6 && a.stride == 2 && a.pad_h == 2 && a.pad_w == 2 &&
         a.dilation == 1 && a.oh >= 4 && a.ow >= 4;
}

template <class Args>
index_t tiles(const Args& a, index_t m) {
  return a.n * round_up_divide(a.oh, m) * round_up_divide(a.ow, m);
}

/// A tile at the border computes pixels that nobody wants, so on a small map not much may be left of what is saved.
template <class Args>
bool saves_a_quarter(const WinogradForm& f, const Args& a) {
  return f.slices * tiles(a, f.y_tile) * 4 <= 9 * a.n * std::min(a.h * a.w, a.oh * a.ow) * 3;
}

template <class Args>
index_t channel_pairs(const Args& a, index_t lanes) {
  return a.x_blocks * a.y_blocks * lanes * lanes;
}

/// F(4x4) reads 36 numbers for 9 weights. Where there are few tiles to use them for, that takes longer than what it
/// saves, and F(2x2) with its 16 numbers is the faster one.
template <class Args>
bool heavy_weights(const Args& a, index_t lanes) {
  return channel_pairs(a, lanes) >= 200 * 200 && tiles(a, 4) < 20;
}

/// A plain picture as the blocks of its phases.
template <class Args>
Args with_phases(Args a, index_t lanes) {
  if (a.planes > 0) a.x_blocks = winograd_stem_blocks(lanes);
  return a;
}

/// Floats of what a row of tiles of a plain picture passes through: the rows of B^T x of 6 pairs of phases, and the
/// pixels of one block of one of them.
index_t stem_floats(index_t tiles, index_t lanes) {
  return 6 * 6 * winograd_stem_line(tiles, lanes) + winograd_stem_pixels(tiles, lanes) * lanes;
}

}  // namespace

bool winograd4_suits(const ConvArgs& a, index_t lanes) {
  return is_k3(a, 1) && a.oh >= 4 && a.ow >= 4 && !heavy_weights(a, lanes);
}
bool winograd2_suits(const ConvArgs& a, index_t lanes) {
  return is_k3(a, 1) && a.oh >= 4 && a.ow >= 4 && heavy_weights(a, lanes);
}
bool winograd4_stem_suits(const ConvArgs& a, index_t) { return is_stem(a); }
bool winograd4_stem_grad_suits(const ConvGradArgs& a, index_t) { return is_stem(a); }
/// F(2x2) was never ahead here: 0.66-0.97 on 256 channels, where it comes closest. It stays for its exact sums, which
/// test what both share.
bool winograd4_grad_suits(const ConvGradArgs& a, index_t) { return is_k3(a, 1) && a.oh >= 4 && a.ow >= 4; }

namespace {

/// Weights, and sums of gradients of them, that stream for few tiles take longer than what is saved.
template <class Args>
bool stride2_pays(const WinogradForm& f, const Args& a, index_t lanes) {
  return is_k3(a, 2) && saves_a_quarter(f, a) &&
         (weight_bytes(f, a, lanes) <= streaming_bytes || tiles(a, f.y_tile) >= 64);
}

}  // namespace

/// Transforms cost as much as a few channels do: 16 to 32 gain by F(4x4, 2x2), from 32 to 64 on also by F(2x2, 2x2).
bool winograd_s2_suits(const WinogradForm& f, const ConvArgs& a, index_t lanes) {
  return stride2_pays(f, a, lanes) && f.slices * channel_pairs(a, lanes) >= 40000;
}
/// With fewer channels the sums of all slices are read and written too often.
bool winograd_s2_grad_suits(const WinogradForm& f, const ConvGradArgs& a, index_t lanes) {
  return stride2_pays(f, a, lanes) && channel_pairs(a, lanes) >= 64 * 64;
}

WinogradPlan winograd_plan(const WinogradForm& f, const ConvArgs& args, index_t lanes) noexcept {
  const ConvArgs a = with_phases(args, lanes);
  WinogradPlan p{};
  p.y_tile = f.y_tile;
  p.rows = round_up_divide(a.oh, f.y_tile);
  p.columns = round_up_divide(a.ow, f.y_tile);
  p.unit_rows = std::max<index_t>(1, a.strip / f.y_tile);
  p.strips = round_up_divide(p.rows, p.unit_rows);
  p.units = a.n * p.strips;
  const index_t unit_tiles = std::max<index_t>(1, std::min(p.unit_rows, p.rows) * p.columns);
  p.pairs = round_up_divide(a.y_blocks, 2);
  p.batches = round_up_divide(p.units, std::max<index_t>(1, target_tiles(f, a, lanes) / unit_tiles));
  // Few of them: as many for one of two threads as for the other.
  if (p.pairs % 2 != 0 && p.batches < enough_tasks) p.batches = std::min(p.units, p.batches + p.batches % 2);
  p.groups = std::clamp<index_t>(round_up_divide(enough_tasks, std::max<index_t>(1, p.batches)), 1,
                                 std::max<index_t>(1, p.pairs));
  p.block = round_up_divide(p.units, std::max<index_t>(1, p.batches)) * unit_tiles * lanes;
  // One cache line more than a plane needs: planes that lie a power of two apart would share the same cache sets.
  p.v_plane = a.x_blocks * p.block + 16;
  p.m_plane = a.y_blocks * p.block + 16;
  p.v = f.planes * p.v_plane;
  p.input = round_up_divide(p.v + f.sums * p.m_plane, 16) * 16;
  p.scratch = p.input + (a.planes > 0 ? stem_floats(p.columns, lanes) : 0);
  p.far = weight_bytes(f, a, lanes) > 1024 * 1024;
  return p;
}

index_t winograd_strip(const WinogradForm& f, const ConvArgs& args, index_t lanes) {
  const ConvArgs a = with_phases(args, lanes);
  const index_t rows = round_up_divide(a.oh, f.y_tile), columns = round_up_divide(a.ow, f.y_tile);
  if (rows == 0 || columns == 0) return f.y_tile;
  const index_t wanted = std::clamp<index_t>(target_tiles(f, a, lanes) / columns, 1, rows);
  const index_t strips = round_up_divide(rows, wanted);
  // Few tasks: batches of single rows of tiles can be cut evenly.
  const bool few = a.n * strips * round_up_divide(a.y_blocks, 2) < enough_tasks;
  return (few ? 1 : round_up_divide(rows, strips)) * f.y_tile;
}

/// As in V there is one cache line more after each sum.
index_t winograd_weights(const WinogradForm& f, index_t o, index_t c) { return f.slices * o * c + f.sums * 16; }

/// Its blocks may be narrower than 12 channels, but hold no more than 16 together.
index_t winograd_stem_weights(index_t o) { return winograd_weights(winograd4_stem, o, 16); }

/// Enough whether or not the strip has been chosen yet.
index_t winograd_workspace(const WinogradForm& f, const ConvArgs& a, index_t lanes, int threads) {
  ConvArgs chosen = a;
  chosen.strip = winograd_strip(f, a, lanes);
  return std::max(winograd_plan(f, a, lanes).scratch, winograd_plan(f, chosen, lanes).scratch) * threads;
}

WinogradGradPlan winograd_grad_plan(const WinogradForm& f, const ConvGradArgs& args, index_t lanes,
                                    int threads) noexcept {
  const ConvGradArgs a = with_phases(args, lanes);
  WinogradGradPlan p{};
  p.rows = round_up_divide(a.oh, f.y_tile);
  p.columns = round_up_divide(a.ow, f.y_tile);
  p.tiles = a.n * p.rows * p.columns;
  if (p.tiles == 0) return p;
  p.run = a.planes > 0 ? p.columns : 1;
  p.tasks = round_up_divide(a.y_blocks, 2) * a.x_blocks;
  const bool parts = p.tasks < enough_blocks;
  const index_t bytes = (f.planes * a.x_blocks + f.sums * a.y_blocks) * lanes * 4;
  p.batches = round_up_divide(p.tiles, parts ? std::max<index_t>(16, batch_bytes / bytes) : block_tiles);
  if (parts && p.batches == 1 && p.tasks % 2 != 0 && p.tiles >= 64) p.batches = 2;  // one for each of two threads
  p.batches = std::min(p.batches, p.tiles / p.run);
  p.parts = parts ? std::min(p.batches, most_parts) : 1;
  const index_t tiles = round_up_divide(p.tiles / p.run, p.batches) * p.run;
  p.v_plane = a.x_blocks * tiles * lanes + 16;
  p.g_plane = a.y_blocks * tiles * lanes + 16;
  p.g = f.planes * p.v_plane;
  p.input = p.g + f.sums * p.g_plane;
  p.transformed = p.input + (a.planes > 0 ? stem_floats(p.columns, lanes) : 0);
  p.du_plane = 2 * lanes * lanes + 16;
  p.du = f.slices * p.du_plane;
  // The sums come first: where they lie may not depend on the number of threads.
  p.sums = p.batches == 1 ? 0 : p.parts * p.tasks * p.du;
  p.scratch = p.transformed + (p.sums == 0 ? p.du : 0);
  p.workspace = p.sums + threads * p.scratch;
  return p;
}

index_t winograd_grad_workspace(const WinogradForm& f, const ConvGradArgs& a, index_t lanes, int threads) {
  return winograd_grad_plan(f, a, lanes, threads).workspace;
}

}  // namespace slimneck::kernels
