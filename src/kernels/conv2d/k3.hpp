// 3x3 convolutions with a border of one pixel, of stride S = 1 or 2, for kernel bodies:
//
//   y[o,i,j] = sum over c, u, v of w[o,c,u,v] x[c, i*S - 1 + u, j*S - 1 + v]
//
// Loops of a task (image, strip of rows, group of output blocks): input block > column of tiles > row > u > v >
// channel. The weights of a group and one input block (2 x 9 KiB) stay in L1 for the whole strip; going down a column
// of tiles keeps three short pieces of rows there too, where whole rows would not fit beside the weights. Sums rest in
// y between input blocks. The border is left out of the first and last tap of a row by compile-time bounds.
#pragma once

#include "kernels/conv2d/widths.hpp"
#include "kernels/epilogue.hpp"

namespace {
namespace simd {
namespace k3 {

using slimneck::kernels::ConvArgs;

struct Job {
  const float* x;  ///< at the first row of taps, the column of tap 0 of the first pixel
  index_t x_row, rows;
  const float* w;
  index_t w_out;
  float* y;
  index_t y_block;
  bool left, right;     ///< the tile touches this border: its first (last) pixel lacks tap 0 (2)
  bool go_on;           ///< from the sums in y and not from zero
  const TileEnd* end;   ///< null while more input blocks are to come
  const float* x_next;  ///< rows that the tile below reads and this one does not
  float* y_next;
};

/// What the tile below needs, a third with each row of taps: nothing else would bring it to L1 in time.
template <int O, int P, int S>
SN_INLINE void prefetch_below(const Job& j, index_t u) {
  if (u < S) {
#pragma GCC unroll 64
    for (int p = 0; p < P * S + 2; ++p) prefetch(j.x_next + u * j.x_row + p * lanes);
  }
  if (u > 0) {
#pragma GCC unroll 64
    for (int p = 0; p < P; ++p) prefetch_write(j.y_next + (u - 1) * j.y_block + p * lanes);
  }
}

template <int O, int P, int S>
void tile(const Job& j) {
  Vec acc[O][P];
  if (j.go_on)
    load_tile<O, P>(acc, j.y, j.y_block);
  else
    clear<O, P>(acc);
  constexpr index_t square = lanes * lanes;
  const float *x = j.x, *w = j.w;
  for (index_t u = 0; u < j.rows; ++u, x += j.x_row, w += 3 * square) {
    prefetch_below<O, P, S>(j, u);
    if (j.left)
      taps<O, P, S, 1, P>(acc, x, w, j.w_out);
    else
      taps<O, P, S, 0, P>(acc, x, w, j.w_out);
    taps<O, P, S, 0, P>(acc, x + lanes, w + square, j.w_out);
    if (j.right)
      taps<O, P, S, 0, P - 1>(acc, x + 2 * lanes, w + 2 * square, j.w_out);
    else
      taps<O, P, S, 0, P>(acc, x + 2 * lanes, w + 2 * square, j.w_out);
  }
  if (j.end)
    end_tile<O, P>(acc, j.y, j.y_block, *j.end);
  else
    store_tile<O, P>(acc, j.y, j.y_block);
}

using Tile = void (*)(const Job&);

/// One column of tiles, rows [from, to), for one input block.
template <int S>
SN_INLINE void run_column(const ConvArgs& a, Tile tile, Job job, const float* x, float* y, index_t from, index_t to,
                          TileEnd end, bool last, TileEnd& strip_end) {
  const float *w = job.w, *residual = end.residual;
  for (index_t row = from; row < to; ++row) {
    const index_t first = row * S - 1, above = first < 0 ? -first : 0;
    job.rows = least(3, a.h - first) - above;
    job.x = x + (first + above) * a.xh;
    job.w = w + above * 3 * lanes * lanes;
    job.y = y + row * a.yh;
    job.x_next = x + (first + 3) * a.xh;
    job.y_next = job.y + a.yh;
    if (last) {
      if (residual) end.residual = residual + (row - from) * a.epilogue.rh;
      end.fresh = strip_end.fresh;
      job.end = &end;
    }
    tile(job);
    if (last) strip_end.fresh = false;
  }
}

template <int S>
SN_INLINE void run_strip(const ConvArgs& a, const Table<Tile>& table, index_t n, index_t strip, index_t ob, int out) {
  constexpr index_t square = 9 * lanes * lanes;
  const index_t strips = (a.oh + a.strip - 1) / a.strip, from = strip * a.strip, to = least(a.oh, from + a.strip);
  TileEnd end = tile_end(a.epilogue, a.y_blocks, n, ob, from, 0, n * strips + strip, true);
  const Cut c = cut(a.ow, widest_in_row(a.ow, out));
  Job job{};
  job.x_row = a.xh;
  job.w_out = a.x_blocks * square;
  job.y_block = a.yb;
  for (index_t ib = 0; ib < a.x_blocks; ++ib) {
    job.w = a.weights + (ob * a.x_blocks + ib) * square;
    job.go_on = ib > 0 || a.epilogue.add;
    const float* x = a.x + n * a.xn + ib * a.xb;
    float* y = a.y + n * a.yn + ob * a.yb;
    index_t at = 0;
    for (index_t t = 0; t < c.tiles; ++t) {
      const index_t width = c.width(t);
      job.left = at == 0;
      job.right = (at + width - 1) * S + 1 >= a.w;
      TileEnd tile_end = end;
      if (end.residual) tile_end.residual += at * lanes;
      run_column<S>(a, table.fn[out][width], job, x + (at * S - 1) * lanes, y + at * lanes, from, to, tile_end,
                    ib + 1 == a.x_blocks, end);
      at += width;
    }
  }
}

template <int S>
SN_INLINE void run(const ConvArgs& a, const Table<Tile>& table) {
  for_each_task(a, [&](index_t n, index_t strip, index_t block, int out)
                       SN_INLINE_BODY { run_strip<S>(a, table, n, strip, block, out); });
}

}  // namespace k3
}  // namespace simd
}  // namespace
