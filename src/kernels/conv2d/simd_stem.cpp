// Convolution of a plain NCHW picture with few channels into a blocked map (the first layer of a network):
//
//   y[o,i,j] = sum over c, u, v of w[o,c,u,v] x[c, i*s - ph + u*d, j*s - pw + v*d],   weights in WeightOrder::planes
//
// One tap is O loads of weights and a broadcast for each pixel. The taps of a row are a loop whose count the compiler
// does not know: unrolled, GCC 12 hoists the loads and spills. Tiles at a border lack the first (last) taps of their
// first (last) pixel by compile-time bounds. Where more pixels than one lack taps, those are tiles of one pixel; where
// the stride is not 2, the others are tiles of eight and four.
#include "kernels/conv2d/widths.hpp"
#include "kernels/declare.hpp"
#include "kernels/epilogue.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

struct Job {
  const float* x;                  ///< at the first row of taps, at tap 0 of the first pixel (which may be outside)
  index_t plane, row, tap, pixel;  ///< strides in x, floats
  index_t planes, rows;
  const float* w;  ///< at the first row of taps
  index_t w_plane, w_row, w_out;
  index_t first, last, end;  ///< taps: below `first` the first pixel is out, from `last` on the last one; `end` of them
  float* y;
  index_t y_block;
  bool add;
  index_t x_below, y_below;  ///< from what this tile reads first, and writes, to the same of the tile below
};

/// One tap of pixels [P0, P1), S floats apart (0: job.pixel).
template <int O, int P, int S, int P0, int P1>
SN_INLINE void tap(Vec (&acc)[O][P], const float* x, const float* w, index_t w_out, index_t pixel) {
  Vec wv[O];
#pragma GCC unroll 8
  for (int o = 0; o < O; ++o) wv[o] = load(w + o * w_out);
#pragma GCC unroll 32
  for (int p = P0; p < P1; ++p) {
    const Vec b = splat(x[p * (S > 0 ? S : pixel)]);
#pragma GCC unroll 8
    for (int o = 0; o < O; ++o) acc[o][p] = fma(b, wv[o], acc[o][p]);
  }
}

/// Brings what the tile below will need from L2 or farther: tiles go down columns, which no hardware follows.
template <int O, int P>
SN_INLINE void prefetch_below(const Job& j, index_t c, index_t u) {
  if (c == 0 && u < O) {
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) prefetch_write(j.y + j.y_below + u * j.y_block + p * lanes);
  }
  const float* x = j.x + c * j.plane + u * j.row + j.x_below;
#pragma GCC unroll 8
  for (int i = 0; i < 2 * P + 16; i += 16) prefetch(x + i);
}

template <int O, int P, int S>
void tile(const Job& j, const TileEnd& end) {
  Vec acc[O][P];
  if (j.add)
    load_tile<O, P>(acc, j.y, j.y_block);
  else
    clear<O, P>(acc);
  for (index_t c = 0; c < j.planes; ++c)
    for (index_t u = 0; u < j.rows; ++u) {
      const float *x = j.x + c * j.plane + u * j.row, *w = j.w + c * j.w_plane + u * j.w_row;
      prefetch_below<O, P>(j, c, u);
      index_t v = 0;
#pragma GCC unroll 1
      for (; v < j.first; ++v, x += j.tap, w += lanes) tap<O, P, S, 1, P>(acc, x, w, j.w_out, j.pixel);
#pragma GCC unroll 1
      for (; v < j.last; ++v, x += j.tap, w += lanes) tap<O, P, S, 0, P>(acc, x, w, j.w_out, j.pixel);
#pragma GCC unroll 1
      for (; v < j.end; ++v, x += j.tap, w += lanes) tap<O, P, S, 0, P - 1>(acc, x, w, j.w_out, j.pixel);
    }
  end_tile<O, P>(acc, j.y, j.y_block, end);
}

using Tile = void (*)(const Job&, const TileEnd&);
template <int O, int P>
struct Make {
  static constexpr Tile fn = tile<O, P, 2>;
};
constexpr Table<Tile> table = table_of_widths<Tile, Make>();
constexpr Tile singles[4] = {nullptr, tile<1, 1, 0>, tile<2, 1, 0>, tile<3, 1, 0>};
constexpr Tile fours[4] = {nullptr, tile<1, 4, 0>, tile<2, 4, 0>, tile<3, 4, 0>};
/// As many pixels as there are registers for, up to eight.
constexpr int run = tile_pixels == 14 ? 8 : 4;
constexpr Tile runs[4] = {nullptr, tile<1, run, 0>, tile<2, run, 0>, tile<3, run, 0>};

/// Taps of column j that are inside: [first, last).
struct Range {
  index_t first, last;
};
Range taps_of(const ConvArgs& a, index_t column) {
  const index_t start = column * a.stride - a.pad_w;
  Range r{0, a.kw};
  while (r.first < r.last && start + r.first * a.dilation < 0) ++r.first;
  while (r.first < r.last && start + (r.last - 1) * a.dilation >= a.w) --r.last;
  return r;
}
bool whole(const ConvArgs& a, Range r) { return r.first == 0 && r.last == a.kw; }

/// Behind the last column whose last tap is inside.
index_t whole_end(const ConvArgs& a) {
  const index_t room = a.w + a.pad_w - (a.kw - 1) * a.dilation - 1;
  return room < 0 ? 0 : least(a.ow, room / a.stride + 1);
}

/// A piece of a row and what computes it.
struct Piece {
  Tile fn;
  index_t at, width;
  Range taps;
};

/// The piece that begins at column `at`, where tiles of the cut begin or anything may.
Piece next_piece(const ConvArgs& a, int out, index_t at, bool even, index_t width) {
  const Range taps = taps_of(a, at);
  if (even) {
    // Pixels in between are whole: choose_cut() made sure.
    const Range end = taps_of(a, at + width - 1);
    return {table.fn[out][width], at, width, {taps.first, end.last}};
  }
  const index_t rest = whole(a, taps) ? whole_end(a) - at : 0;
  if (a.stride == 2 && rest > 1) {
    const index_t wide = cut(rest, widest[out]).width(0);
    return {table.fn[out][wide], at, wide, taps};
  }
  if (rest >= run) return {runs[out], at, run, taps};
  if (rest >= 4) return {fours[out], at, 4, taps};
  // A single pixel: the taps that it has are a range of their own.
  return {singles[out], at, 1, taps};
}

/// Do tiles of stride 2 with one pixel at each border do?
bool is_even(const ConvArgs& a, const Cut& c) {
  return a.stride == 2 && a.ow >= 4 && c.narrow >= 2 && whole(a, taps_of(a, 1)) && whole(a, taps_of(a, a.ow - 2));
}

void run_piece(const ConvArgs& a, const Piece& piece, index_t n, index_t ob, index_t from, index_t to, TileEnd& end,
               bool even) {
  Job j{};
  j.plane = a.xb;
  j.row = a.dilation * a.xh;
  j.tap = a.dilation;
  j.pixel = a.stride;
  j.planes = a.planes;
  j.w_row = a.kw * lanes;
  j.w_plane = a.kh * j.w_row;
  j.w_out = a.planes * j.w_plane;
  j.y_block = a.yb;
  j.add = a.epilogue.add;
  j.x_below = a.stride * a.xh;
  j.y_below = a.yh;
  index_t skip = 0;
  if (even) {
    j.first = piece.taps.first;
    j.last = piece.taps.last;
    j.end = a.kw;
  } else {
    skip = piece.taps.first;
    j.last = j.end = piece.taps.last - skip;
  }
  const index_t column = piece.at * a.stride - a.pad_w + skip * a.dilation;
  TileEnd at_row = end;
  for (index_t row = from; row < to; ++row) {
    index_t u = 0, last = a.kh;
    const index_t start = row * a.stride - a.pad_h;
    while (u < last && start + u * a.dilation < 0) ++u;
    while (u < last && start + (last - 1) * a.dilation >= a.h) --last;
    j.rows = last - u;
    j.x = a.x + n * a.xn + (start + u * a.dilation) * a.xh + column;
    j.w = a.weights + ob * j.w_out + u * j.w_row + skip * lanes;
    j.y = a.y + n * a.yn + ob * a.yb + row * a.yh + piece.at * lanes;
    if (end.residual) at_row.residual = end.residual + (row - from) * a.epilogue.rh + piece.at * lanes;
    at_row.fresh = end.fresh;
    piece.fn(j, at_row);
    end.fresh = false;
  }
}

void run_strip(const ConvArgs& a, index_t n, index_t strip, index_t ob, int out) {
  const index_t strips = (a.oh + a.strip - 1) / a.strip, from = strip * a.strip, to = least(a.oh, from + a.strip);
  TileEnd end = tile_end(a.epilogue, a.y_blocks, n, ob, from, 0, n * strips + strip, true);
  const Cut c = cut(a.ow, widest[out]);
  const bool even = is_even(a, c);
  index_t at = 0;
  for (index_t t = 0; at < a.ow; ++t) {
    const Piece piece = next_piece(a, out, at, even, c.width(t));
    run_piece(a, piece, n, ob, from, to, end, even);
    at += piece.width;
  }
}

}  // namespace

void conv_stem(const ConvArgs& a) noexcept {
  for_each_task(
      a, [&](index_t n, index_t strip, index_t block, int out) SN_INLINE_BODY { run_strip(a, n, strip, block, out); });
}

}  // namespace slimneck::kernels::SN_ISA
