// Whole strips of planes out of tiles, for kernel bodies.
#pragma once

#include "kernels/depthwise/k3s2.hpp"
#include "kernels/depthwise/rows.hpp"
#include "kernels/depthwise/tile.hpp"
#include "kernels/epilogue.hpp"

namespace {
namespace simd {

using slimneck::kernels::DepthwiseArgs;
using slimneck::kernels::DepthwiseRows;

/// Which rows of x and of the kernel make row i of y.
template <class W, bool Turned>
SN_INLINE TapRows tap_rows(const DepthwiseRows& r, index_t i) {
  constexpr index_t row = W::K * lanes;
  TapRows t;
  if constexpr (W::spreads) {
    // y row i gets kernel row u from x row (i + pad - u) / 2, for every other u.
    index_t u = (i + W::pad) % 2;
    while ((i + W::pad - u) / 2 >= r.h) u += 2;
    const index_t last = least(W::K - 1, i + W::pad);
    t.rows = last < u ? 0 : (last - u) / 2 + 1;
    t.x = r.x + (i + W::pad - u) / 2 * r.xh;
    t.x_step = -r.xh;
    t.w = r.weights + u * row;
    t.w_step = 2 * row;
    t.w_tap = lanes;
  } else {
    const index_t top = i * W::S - W::pad, u0 = most(0, -top), u1 = least(W::K, r.h - top);
    t.rows = u1 - u0;
    t.x = r.x + (top + u0) * r.xh;
    t.x_step = r.xh;
    t.w = Turned ? r.weights + (W::K * W::K - 1) * lanes - u0 * row : r.weights + u0 * row;
    t.w_step = Turned ? -row : row;
    t.w_tap = Turned ? -lanes : lanes;
  }
  return t;
}

/// The first row of x that row i of y does not read but the next does.
template <class W>
SN_INLINE index_t next_row(index_t i) {
  return W::spreads ? i / 2 + 2 : i * W::S + W::pad + 1;
}

/// Rows [first, last) of y, calling done(row, column, pixels) behind each tile. A wide map is walked in bands of four
/// tiles, whose rows stay in the first level cache. One tile and whole rows as bands were measured too: 0.97-1.00.
template <class W, bool Turned, class Done>
SN_INLINE void walk_tiles(const DepthwiseRows& r, index_t first, index_t last, const Done& done) {
  const RowCut<W> cut(r.ow);
  const int border = W::S == 1 || (W::spreads ? r.ow : r.w) % 2 == 0 ? 1 : 2;
  // Asking for the next row ahead: measured, 3x3 of stride 1 at 160 pixels is 1.09-1.13 times as fast with it, narrower
  // maps up to 4 % slower; stride 2 gains 7 % up to 80 pixels and falls to 0.8 at 160, where it waits for the last
  // level cache in any case.
  const bool ahead = !W::spreads && (W::S == 1) == (r.w > 120);
  constexpr index_t band = 4;
  for (index_t tile0 = 0; tile0 < cut.count; tile0 += band)
    for (index_t i = first; i < last; ++i) {
      const TapRows rows = tap_rows<W, Turned>(r, i);
      for (index_t tile = tile0; tile < least(tile0 + band, cut.count); ++tile) {
        const index_t at = cut.begin(tile), pixels = cut.begin(tile + 1) - at;
        const index_t column = W::spreads ? at / 2 : at * W::S;
        // Field by field: a copy of the whole struct by wide vectors would wait for the narrow stores that made it, 65
        // cycles for each tile.
        const TapRows t{rows.x + column * lanes,
                        rows.x_step,
                        rows.w,
                        rows.w_step,
                        rows.w_tap,
                        rows.rows,
                        r.bias,
                        ahead ? r.x + next_row<W>(i) * r.xh + column * lanes : nullptr};
        tap_tiles<W>.of[pixels - 1][at == 0][at + pixels == r.ow ? border : 0](t, r.y + i * r.yh + at * lanes, r.add);
        done(i, at, pixels);
      }
    }
}

struct Nothing {
  SN_INLINE void operator()(index_t, index_t, index_t) const {}
};

/// Rows [first, last) of y, calling done(row, column, pixels) behind each piece of them.
template <class W, bool Turned, class Done>
SN_INLINE void walk(const DepthwiseRows& r, index_t first, index_t last, const Done& done) {
  if constexpr (W::K == 3 && W::S == 2 && !W::spreads)
    for (; first < last; ++first)
      if (first > 0 && 2 * first + 1 < r.h && !r.add) {
        gather_row(r, first);
        done(first, 0, r.ow);
      } else {
        walk_tiles<W, Turned>(r, first, first + 1, done);
      }
  else
    walk_tiles<W, Turned>(r, first, last, done);
}

/// Rows [first, last) of y with nothing behind the sums.
template <class W, bool Turned>
SN_INLINE void walk(const DepthwiseRows& r, index_t first, index_t last) {
  if constexpr (W::spreads && W::K == 3)
    if (!r.add && !r.bias) {
      if (first % 2 != 0 && first < last) {
        walk_tiles<W, Turned>(r, first, first + 1, Nothing());
        ++first;
      }
      for (; first + 1 < last && first / 2 + 1 < r.h; first += 2) spread_pair(r, first / 2);
    }
  walk<W, Turned>(r, first, last, Nothing());
}

template <int P>
SN_INLINE void load_pixels(Vec (&acc)[1][P], const float* y) {
#pragma GCC unroll 32
  for (int p = 0; p < P; ++p) acc[0][p] = load(y + p * lanes);
}

/// Of P finished pixels, which move on: everything that an Epilogue asks for.
template <int P>
SN_INLINE void finish(TileEnd& e, float*& y) {
  Vec acc[1][P];
  load_pixels(acc, y);
  end_tile<1, P>(acc, y, 0, e);
  y += P * lanes;
  if (e.residual) e.residual += P * lanes;
  e.fresh = false;
}

/// Half of the widest tile at a time. Four pixels were measured too: AVX2 takes 3 % longer for 5x5 with SiLU, AVX-512
/// as much for 3x3, and there two pixels cost 4 to 8 %.
SN_INLINE void finish(TileEnd e, float* y, index_t pixels) {
  constexpr int together = widest<5> / 2;
  for (; pixels >= together; pixels -= together) finish<together>(e, y);
  for (; pixels > 0; --pixels) finish<1>(e, y);
}

/// A whole map. A bias without a scale is what the sums begin with: 3x3 without activation is 1.4 times as fast as
/// where finished pixels are read again for it.
template <class W, bool Turned>
void walk_map(const DepthwiseArgs& a) {
  const index_t strip = most(a.strip, 1), strips = (a.oh + strip - 1) / strip;
  auto e = a.epilogue;
  const float* bias = e.scale ? nullptr : e.bias;
  if (bias) e.bias = nullptr;
  const bool plain = !e.scale && !e.bias && !e.residual && !e.moments && e.act == Act::none;
#pragma omp parallel for schedule(static)
  for (index_t task = 0; task < a.n * a.blocks * strips; ++task) {
    const index_t b = task % a.blocks, s = task / a.blocks % strips, n = task / a.blocks / strips;
    const index_t first = s * strip, last = least(a.oh, first + strip);
    const DepthwiseRows r{a.x + n * a.xn + b * a.xb,
                          a.xh,
                          a.h,
                          a.weights + b * W::K * W::K * lanes,
                          a.y + n * a.yn + b * a.yb,
                          a.yh,
                          a.w,
                          a.ow,
                          e.add,
                          bias ? bias + b * lanes : nullptr};
    if (plain) {
      walk<W, Turned>(r, first, last);
      continue;
    }
    walk<W, Turned>(r, first, last, [&](index_t i, index_t at, index_t pixels) {
      const bool fresh = i == first && at == 0;
      finish(tile_end(e, a.blocks, n, b, i, at, n * strips + s, fresh), r.y + i * r.yh + at * lanes, pixels);
    });
  }
}

}  // namespace simd
}  // namespace
