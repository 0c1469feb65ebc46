// The two micro-kernels of dense convolutions, for kernel bodies.
//
//   taps:  acc[o][p] += sum over the V channels i of a block: w[o][i][:] * x[p*S][i]
//   outer: acc[o][i] += sum over pixels p: dy[o][p][:] * x[p*S][i]
//
// Register budget, V lanes: O x P accumulators, O weights (or gradients), 1 broadcast. One step of taps is O + P loads
// for O*P multiply-adds, so O = 2 lets 14 pixels into 32 registers and 6 into 16. The broadcast is a register and not
// an operand of the multiply-add because both output blocks use it. Every loop over accumulators is unrolled, else they
// live in memory; the loop over channels is unrolled by 4 only: unrolled in whole GCC 12 hoists the loads and spills.
#pragma once

#include "kernels/simd.hpp"

namespace {
namespace simd {

/// Widest tile of O = 2 blocks.
inline constexpr int tile_pixels =
#if defined(__AVX512F__) || (defined(__ARM_NEON) && !defined(SN_PORTABLE))
    14;
#else
    6;
#endif

/// Input channels per pass of outer.
inline constexpr int outer_channels =
#if defined(__AVX512F__)
    8;
#else
    4;
#endif

/// Pixels [P0, P1) of the tile: a border that the tap does not reach is left out at compile time. C: channels of x's
/// block that are there.
template <int O, int P, int S, int P0, int P1, int C = lanes>
SN_INLINE void taps(Vec (&acc)[O][P], const float* x, const float* w, index_t w_block) {
#pragma GCC unroll 4
  for (index_t i = 0; i < C; ++i) {
    Vec wv[O];
#pragma GCC unroll 8
    for (int o = 0; o < O; ++o) wv[o] = load(w + o * w_block + i * lanes);
#pragma GCC unroll 32
    for (int p = P0; p < P1; ++p) {
      const Vec b = splat(x[p * S * lanes + i]);
#pragma GCC unroll 8
      for (int o = 0; o < O; ++o) acc[o][p] = fma(b, wv[o], acc[o][p]);
    }
  }
}

template <int O, int P>
SN_INLINE void clear(Vec (&acc)[O][P]) {
#pragma GCC unroll 8
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) acc[o][p] = zero();
}

template <int O, int P>
SN_INLINE void load_tile(Vec (&acc)[O][P], const float* y, index_t yb) {
#pragma GCC unroll 8
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) acc[o][p] = load(y + o * yb + p * lanes);
}

/// n pixels, S apart in x and next to each other in dy.
template <int O, int I, int S>
SN_INLINE void outer(Vec (&acc)[O][I], const float* x, const float* dy, index_t dy_block, index_t n) {
#pragma GCC unroll 2
  for (index_t p = 0; p < n; ++p) {
    Vec g[O];
#pragma GCC unroll 8
    for (int o = 0; o < O; ++o) g[o] = load(dy + o * dy_block + p * lanes);
#pragma GCC unroll 16
    for (int i = 0; i < I; ++i) {
      const Vec b = splat(x[p * S * lanes + i]);
#pragma GCC unroll 8
      for (int o = 0; o < O; ++o) acc[o][i] = fma(b, g[o], acc[o][i]);
    }
  }
}

/// dw += the gradients of the other parts, in their order. Starts its own threads.
SN_INLINE void add_parts(float* dw, const float* others, index_t size, index_t parts) {
  if (parts < 2) return;
#pragma omp parallel for schedule(static)
  for (index_t i = 0; i < size; i += lanes) {
    Vec sum = load(dw + i);
    for (index_t part = 1; part < parts; ++part) sum = add(sum, load(others + (part - 1) * size + i));
    store(dw + i, sum);
  }
}

}  // namespace simd
}  // namespace
