// Dense convolution of any geometry and its data gradient, on blocked maps.
//
//   conv_any:       y[o,i,j]  = sum over c, u, v of w[o,c,u,v] x[c, i*s - ph + u*d, j*s - pw + v*d]
//   conv_bwd_x_any: dx[c,h,k] = sum over o, u, v of w[o,c,u,v] dy[o,i,j]   where i*s - ph + u*d = h, j*s - pw + v*d = k
//
// Both are one walk: a tile of 2 output blocks x 6 pixels stays in registers while blocks of channels, rows and columns
// of taps go by at constant steps. Along a row the taps that stay inside the picture are the same for all pixels but
// those near the border; those are tiles of one pixel with fewer taps. A tap outside is left out and not multiplied by
// zero, because the weight may be infinite.
#include "kernels/conv2d/tile.hpp"
#include "kernels/declare.hpp"
#include "kernels/epilogue.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

/// 6 pixels of 2 blocks: 12 accumulators hide the latency of the multiply-add on every machine, and 6 addresses fit the
/// integer registers.
constexpr int widest = 6;

/// What every tile of a map has in common.
struct Map {
  index_t blocks, x_block, w_block;  ///< the blocks of channels that are summed over
  index_t w_out;                     ///< from the weights of an output block to those of the next
  index_t x_pixel;                   ///< between pixels of a tile, in x
  index_t y_pixel, y_block;
  bool add;
};

/// Taps at constant steps along one axis.
struct Taps {
  index_t count, x_step, w_step;
};

template <int O, int P>
void tile(const Map& m, const Taps& rows, const Taps& columns, const float* x, const float* w, float* y,
          const TileEnd& end) {
  Vec acc[O][P];
  clear<O, P>(acc);
  for (index_t b = 0; b < m.blocks; ++b)
    for (index_t u = 0; u < rows.count; ++u)
      for (index_t v = 0; v < columns.count; ++v) {
        const float* at = x + b * m.x_block + u * rows.x_step + v * columns.x_step;
        const float* weight = w + b * m.w_block + u * rows.w_step + v * columns.w_step;
#pragma GCC unroll 4
        for (index_t i = 0; i < lanes; ++i) {
          Vec wv[O];
#pragma GCC unroll 8
          for (int o = 0; o < O; ++o) wv[o] = load(weight + o * m.w_out + i * lanes);
#pragma GCC unroll 32
          for (int p = 0; p < P; ++p) {
            const Vec value = splat(at[p * m.x_pixel + i]);
#pragma GCC unroll 8
            for (int o = 0; o < O; ++o) acc[o][p] = fma(value, wv[o], acc[o][p]);
          }
        }
      }
  if (m.y_pixel == lanes && !m.add) return end_tile<O, P>(acc, y, m.y_block, end);
#pragma GCC unroll 8
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) {
      float* to = y + o * m.y_block + p * m.y_pixel;
      store(to, m.add ? simd::add(load(to), acc[o][p]) : acc[o][p]);
    }
}

using Tile = void (*)(const Map&, const Taps&, const Taps&, const float*, const float*, float*, const TileEnd&);
constexpr Tile tiles[2][widest] = {
    {tile<1, 1>, tile<1, 2>, tile<1, 3>, tile<1, 4>, tile<1, 5>, tile<1, 6>},
    {tile<2, 1>, tile<2, 2>, tile<2, 3>, tile<2, 4>, tile<2, 5>, tile<2, 6>},
};

/// Positions start, start + step, ... : those with a number in [first, last) of `count` are inside [0, extent).
struct Range {
  index_t first, last;
};
Range inside(index_t start, index_t step, index_t extent, index_t count) {
  Range r{0, count};
  while (r.first < r.last && (start + r.first * step < 0 || start + r.first * step >= extent)) ++r.first;
  while (r.first < r.last && (start + (r.last - 1) * step < 0 || start + (r.last - 1) * step >= extent)) --r.last;
  return r;
}

/// The taps that can meet a position of the output, and where: tap first + t*step, t < count, reads position
/// start + t*move of x (if that is inside).
struct Meeting {
  index_t first, step, count, start, move;
};

Meeting meet_forward(index_t position, index_t k, index_t stride, index_t pad, index_t dilation) {
  return {0, 1, k, position * stride - pad, dilation};
}

/// Backward, dy[i] with i = (h + pad - u*dilation) / stride must be whole: every `step`-th tap, or none.
Meeting meet_backward(index_t position, index_t k, index_t stride, index_t pad, index_t dilation) {
  index_t a = stride, b = dilation;  // their greatest common divisor
  while (b != 0) {
    const index_t rest = a % b;
    a = b;
    b = rest;
  }
  const index_t step = stride / a;
  for (index_t u = 0; u < least(k, step); ++u) {
    const index_t i = position + pad - u * dilation;
    if (i % stride == 0) return {u, step, (k - u + step - 1) / step, i / stride, -dilation / a};
  }
  return {0, 1, 0, 0, 0};
}

using Meet = Meeting (*)(index_t, index_t, index_t, index_t, index_t);

/// One row of one or two blocks of y: columns phase, phase + y_step, ... whose taps lie y_step apart.
struct Row {
  const ConvArgs& a;
  Map map;
  Taps rows;
  const float *x, *w;  ///< first row of taps
  float* y;
  TileEnd end;  ///< of column 0
  int out;      ///< blocks of y
};

void run_tile(Row& r, const Meeting& m, Range taps, index_t column, index_t y_step, index_t q, int pixels) {
  const index_t weight = lanes * lanes;
  const Taps columns{taps.last - taps.first, m.move * lanes, m.step * weight};
  TileEnd end = r.end;
  const index_t at = (column + q * y_step) * lanes;
  if (end.residual) end.residual += at;
  const index_t x_column = m.start * lanes + q * r.map.x_pixel + taps.first * columns.x_step;
  tiles[r.out - 1][pixels - 1](r.map, r.rows, columns, r.x + (columns.count > 0 ? x_column : 0),
                               r.w + (m.first + taps.first * m.step) * weight, r.y + at, end);
  r.end.fresh = false;
}

void run_columns(Row& r, const Meeting& m, index_t column, index_t y_step) {
  const index_t count = (r.a.ow - column + y_step - 1) / y_step, x_step = r.map.x_pixel / lanes;
  const auto taps_of = [&](index_t q) { return inside(m.start + q * x_step, m.move, r.a.w, m.count); };
  const auto whole = [&](Range taps) { return taps.last - taps.first == m.count; };
  index_t q = 0;
  while (q < count) {
    const Range taps = taps_of(q);
    index_t end = q + 1;
    if (whole(taps)) {
      // All taps of q and of the last pixel are inside, so those between are too.
      const index_t limit = least(count, q + widest);
      while (end < limit && whole(taps_of(end))) ++end;
    }
    run_tile(r, m, taps, column, y_step, q, static_cast<int>(end - q));
    q = end;
  }
}

template <bool Backward>
void run_row(const ConvArgs& a, const Map& map, index_t n, index_t ob, index_t strip, index_t row) {
  constexpr Meet meet = Backward ? meet_backward : meet_forward;
  const index_t weight = lanes * lanes;
  const Meeting m = meet(row, a.kh, a.stride, a.pad_h, a.dilation);
  const Range taps = inside(m.start, m.move, a.h, m.count);
  const index_t strips = (a.oh + a.strip - 1) / a.strip;
  Row r{a,
        map,
        {taps.last - taps.first, m.move * a.xh, m.step * a.kw * weight},
        a.x + n * a.xn,
        a.weights + ob * map.w_out,
        a.y + n * a.yn + ob * a.yb + row * a.yh,
        tile_end(a.epilogue, a.y_blocks, n, ob, row, 0, n * strips + strip, row == strip * a.strip),
        ob + 1 < a.y_blocks ? 2 : 1};
  if (r.rows.count > 0) {
    r.x += (m.start + taps.first * m.move) * a.xh;
    r.w += (m.first + taps.first * m.step) * a.kw * weight;
  }
  const index_t y_step = Backward ? a.stride : 1;
  for (index_t phase = 0; phase < least(y_step, a.ow); ++phase)
    run_columns(r, meet(phase, a.kw, a.stride, a.pad_w, a.dilation), phase, y_step);
}

template <bool Backward>
void run(const ConvArgs& a) {
  const index_t taps = a.kh * a.kw * lanes * lanes;
  Map map{};
  map.blocks = a.x_blocks;
  map.x_block = a.xb;
  map.w_block = taps;
  map.w_out = a.x_blocks * taps;
  map.x_pixel = (Backward ? 1 : a.stride) * lanes;
  map.y_pixel = (Backward ? a.stride : 1) * lanes;
  map.y_block = a.yb;
  map.add = a.epilogue.add;
  const index_t strips = (a.oh + a.strip - 1) / a.strip, pairs = (a.y_blocks + 1) / 2;
#pragma omp parallel for collapse(3) schedule(static)
  for (index_t n = 0; n < a.n; ++n)
    for (index_t s = 0; s < strips; ++s)
      for (index_t o = 0; o < pairs; ++o)
        for (index_t row = s * a.strip; row < least(a.oh, (s + 1) * a.strip); ++row)
          run_row<Backward>(a, map, n, 2 * o, s, row);
}

}  // namespace

void conv_any(const ConvArgs& a) noexcept { run<false>(a); }
void conv_bwd_x_any(const ConvArgs& a) noexcept { run<true>(a); }

}  // namespace slimneck::kernels::SN_ISA
