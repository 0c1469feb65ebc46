// Gradient of depthwise weights, K x K with padding K/2, for kernel bodies:
//
//   dw[c,u,v] = sum over n, i, j of dy[n,c,i,j] * x[n,c, i*S - K/2 + u, j*S - K/2 + v]
//
// All taps of a channel block stay in registers while a strip of rows goes by: K*K accumulators (25 for 5x5), PX pixels
// of dy and one loaded column of x, which serves up to K taps; nothing is written before the end of the strip. Where
// registers are too few for that, some rows of the kernel at a time, in passes: of 16 registers 5x5 takes 15 for three
// rows and then 10 for the other two.
#pragma once

#include "kernels/args.hpp"
#include "kernels/depthwise/parts.hpp"
#include "kernels/depthwise/rows.hpp"
#include "kernels/depthwise/strip.hpp"
#include "kernels/depthwise/tile.hpp"

namespace {
namespace simd {

using slimneck::kernels::DepthwiseGradArgs;
using slimneck::kernels::DepthwiseGradRows;

#if defined(__AVX512F__) || (defined(__ARM_NEON) && !defined(SN_PORTABLE))
inline constexpr bool many_registers = true;
#else
inline constexpr bool many_registers = false;
#endif

/// Rows of a kernel of K x K in one pass: as many as leave registers for four pixels of dy, or for one.
constexpr int rows_of_pass(int k) {
  if (many_registers) return k <= 5 ? k : 21 / k;
  return k <= 5 ? 3 : 1;
}

/// How a pass over U rows of the kernel, from row U0 on, goes along a row of dy.
template <int K_, int S_, int U0_, int U_>
struct Pass {
  static constexpr int K = K_, S = S_, U0 = U0_, U = U_, pad = K / 2;
  static constexpr int pixels = many_registers ? 4 : 1;
  /// Pixels next to a border, where columns of the window are left out.
  static constexpr int edge = pixels < pad ? pad : pixels;
  /// Does a step ask for the lines that the next row of dy will need? Where the map comes from memory 5x5 is 1.6 times
  /// as fast with it, 3x3 of stride 1 1.05 times; stride 2 loses 3 to 5 %.
  static constexpr bool ahead = K >= 5 || S == 1;
  /// Independent sums, where one would wait for its own last addition.
  static constexpr int sets = many_registers && K == 3 ? 2 : 1;
};

template <class P>
using GradSums = Vec[P::sets][P::U * P::K];

/// PX pixels of dy; rows [u0, u1) of the kernel meet rows of x (all of them unless Clip). x is the row and column under
/// the first pixel and the centre of the kernel. L columns of the window are left out on the left, R on the right.
template <class P, int PX, int L, int R, bool Clip>
SN_INLINE void grad_tile(GradSums<P>& acc, const DepthwiseGradRows& r, const float* x, const float* dy, index_t u0,
                         index_t u1) {
  constexpr int begin = L - P::pad, end = (PX - 1) * P::S + P::K - P::pad - R;
  Vec g[PX];
#pragma GCC unroll 8
  for (int p = 0; p < PX; ++p) g[p] = load(dy + p * lanes);
  if (P::ahead) {
#pragma GCC unroll 8
    for (int p = 0; p < PX; ++p) prefetch(dy + r.yh + p * lanes);
#pragma GCC unroll 8
    for (int p = 0; p < PX * P::S; ++p) prefetch(x + (P::pad + 1) * r.xh + p * lanes);
  }
#pragma GCC unroll 8
  for (int u = 0; u < P::U; ++u) {
    if (Clip && (P::U0 + u < u0 || P::U0 + u >= u1)) continue;
    const float* row = x + (P::U0 + u - P::pad) * r.xh;
#pragma GCC unroll 32
    for (int i = begin; i < end; ++i) {
      Vec v = load(row + i * lanes);
      if (PX > 1) pin(v);
#pragma GCC unroll 16
      for (int k = 0; k < P::K; ++k) {
        const int p = Gather<P::K, P::S>::pixel(i, k);
        if (p >= 0 && p < PX) acc[p % P::sets][u * P::K + k] = fma(v, g[p], acc[p % P::sets][u * P::K + k]);
      }
    }
  }
}

/// The first P::edge pixels of a row: at once, or where registers are few one by one from pixel I on.
template <class P, bool Clip, int I = 0>
SN_INLINE void grad_left(GradSums<P>& acc, const DepthwiseGradRows& r, const float* x, const float* dy, index_t u0,
                         index_t u1) {
  if constexpr (P::pixels == P::edge) {
    grad_tile<P, P::edge, P::pad, 0, Clip>(acc, r, x, dy, u0, u1);
  } else {
    constexpr int out = P::pad > I * P::S ? P::pad - I * P::S : 0;
    grad_tile<P, 1, out, 0, Clip>(acc, r, x + I * P::S * lanes, dy + I * lanes, u0, u1);
    if constexpr (I + 1 < P::edge) grad_left<P, Clip, I + 1>(acc, r, x, dy, u0, u1);
  }
}

/// The last ones, where R columns of the last pixel's window are left out.
template <class P, int R, bool Clip, int I = 0>
SN_INLINE void grad_right(GradSums<P>& acc, const DepthwiseGradRows& r, const float* x, const float* dy, index_t u0,
                          index_t u1) {
  if constexpr (P::pixels == P::edge) {
    grad_tile<P, P::edge, 0, R, Clip>(acc, r, x, dy, u0, u1);
  } else {
    constexpr int before = (P::edge - 1 - I) * P::S, out = R > before ? R - before : 0;
    grad_tile<P, 1, 0, out, Clip>(acc, r, x + I * P::S * lanes, dy + I * lanes, u0, u1);
    if constexpr (I + 1 < P::edge) grad_right<P, R, Clip, I + 1>(acc, r, x, dy, u0, u1);
  }
}

/// Pixels [c0, c1) of a row of dy.
template <class P, bool Clip>
SN_INLINE void grad_row(GradSums<P>& acc, const DepthwiseGradRows& r, index_t i, index_t c0, index_t c1) {
  const index_t top = i * P::S - P::pad, u0 = most(0, -top), u1 = least(P::K, r.h - top);
  const float *x = r.x + i * P::S * r.xh, *dy = r.dy + i * r.yh;
  const index_t last = c1 == r.ow ? c1 - P::edge : c1;
  index_t c = c0;
  if (c0 == 0) {
    grad_left<P, Clip>(acc, r, x, dy, u0, u1);
    c = P::edge;
  }
  for (; c + P::pixels <= last; c += P::pixels)
    grad_tile<P, P::pixels, 0, 0, Clip>(acc, r, x + c * P::S * lanes, dy + c * lanes, u0, u1);
  if (P::pixels > 1)
    for (; c < last; ++c) grad_tile<P, 1, 0, 0, Clip>(acc, r, x + c * P::S * lanes, dy + c * lanes, u0, u1);
  if (c1 != r.ow) return;
  if (P::S == 1 || r.w % 2 != 0)
    grad_right<P, P::pad, Clip>(acc, r, x + c * P::S * lanes, dy + c * lanes, u0, u1);
  else
    grad_right<P, P::pad - 1, Clip>(acc, r, x + c * P::S * lanes, dy + c * lanes, u0, u1);
}

/// sums += the taps of the pass over rows [first, last) and pixels [c0, c1) of dy.
template <class P>
__attribute__((noinline)) void grad_pass(const DepthwiseGradRows& r, index_t first, index_t last, index_t c0,
                                         index_t c1, float* sums) {
  GradSums<P> acc;
#pragma GCC unroll 2
  for (int s = 0; s < P::sets; ++s)
#pragma GCC unroll 32
    for (int t = 0; t < P::U * P::K; ++t) acc[s][t] = zero();
  for (index_t i = first; i < last; ++i) {
    const index_t top = i * P::S - P::pad;
    if (top >= 0 && top + P::K <= r.h)
      grad_row<P, false>(acc, r, i, c0, c1);
    else
      grad_row<P, true>(acc, r, i, c0, c1);
  }
  float* to = sums + P::U0 * P::K * lanes;
#pragma GCC unroll 32
  for (int t = 0; t < P::U * P::K; ++t)
    store(to + t * lanes, add(load(to + t * lanes), P::sets == 2 ? add(acc[0][t], acc[P::sets - 1][t]) : acc[0][t]));
}

/// The same for maps that are narrower than two tiles, tap by tap.
template <int K, int S>
void grad_narrow(const DepthwiseGradRows& r, index_t first, index_t last, float* sums) {
  for (index_t u = 0; u < K; ++u)
    for (index_t v = 0; v < K; ++v) {
      Vec acc = zero();
      for (index_t i = first; i < last; ++i) {
        const index_t row = i * S - K / 2 + u;
        if (row < 0 || row >= r.h) continue;
        for (index_t j = 0; j < r.ow; ++j) {
          const index_t column = j * S - K / 2 + v;
          if (column >= 0 && column < r.w)
            acc = fma(load(r.x + row * r.xh + column * lanes), load(r.dy + i * r.yh + j * lanes), acc);
        }
      }
      float* to = sums + (u * K + v) * lanes;
      store(to, add(load(to), acc));
    }
}

/// All passes from row U0 of the kernel on.
template <int K, int S, int U0 = 0>
SN_INLINE void grad_passes(const DepthwiseGradRows& r, index_t first, index_t last, index_t c0, index_t c1,
                           float* sums) {
  constexpr int most_rows = rows_of_pass(K), rows = U0 + most_rows < K ? most_rows : K - U0;
  grad_pass<Pass<K, S, U0, rows>>(r, first, last, c0, c1, sums);
  if constexpr (U0 + rows < K) grad_passes<K, S, U0 + rows>(r, first, last, c0, c1, sums);
}

/// sums += all taps over rows [first, last) of dy. In bands of columns: the rows under a band stay in the first level
/// cache.
template <int K, int S>
SN_INLINE void grad_rows(const DepthwiseGradRows& r, index_t first, index_t last, float* sums) {
  if (r.ow < 2 * Pass<K, S, 0, K>::edge) return grad_narrow<K, S>(r, first, last, sums);
  const index_t bands = (r.ow + 39) / 40;
  for (index_t band = 0; band < bands; ++band)
    grad_passes<K, S>(r, first, last, band * r.ow / bands, (band + 1) * r.ow / bands, sums);
}

template <int K, int S>
void grad_map(const DepthwiseGradArgs& a) {
  const index_t strip = slimneck::kernels::depthwise_grad_strip(a), strips = slimneck::kernels::strips_of(a.oh, strip);
  const index_t parts = a.n * strips, size = K * K * lanes;
  float* sums_of_parts = parts == 1 ? a.dw : a.workspace;
#pragma omp parallel for schedule(static)
  for (index_t task = 0; task < parts * a.blocks; ++task) {
    const index_t b = task % a.blocks, s = task / a.blocks % strips, n = task / a.blocks / strips;
    const DepthwiseGradRows r{a.x + n * a.xn + b * a.xb, a.xh, a.h, a.dy + n * a.yn + b * a.yb, a.yh, a.w, a.ow};
    float* sums = sums_of_parts + task * size;
    for (index_t i = 0; i < size; i += lanes) store(sums + i, zero());
    grad_rows<K, S>(r, s * strip, least(a.oh, (s + 1) * strip), sums);
  }
  if (parts != 1) sum_parts(a.workspace, parts, a.blocks * size, a.dw);
}

}  // namespace simd
}  // namespace
