// The end of a micro-kernel: finished sums, still in registers, get scale, bias, activation and residual and are
// stored; or are stored as they are with their moments gathered. For kernel bodies.
#pragma once

#include "kernels/simd_math.hpp"

namespace {
namespace simd {

using slimneck::kernels::Epilogue;

/// An Epilogue at a particular place: pointers of the first channel block of the tile.
struct TileEnd {
  const float *scale, *bias;  ///< of the first block
  Act act;
  float slope;
  const float* residual;  ///< of the first pixel
  index_t residual_block;
  float* moments;          ///< of the part and the first block; null for none
  index_t moments_stride;  ///< from the offsets to the sums, to the sums of squares: the channels of the whole map
  bool fresh;              ///< this tile is the first of its part: it chooses the offset
};

/// Of channel block b of the tile's map, at pixel (n, row, column), where rows belong to `part`.
SN_INLINE TileEnd tile_end(const Epilogue& e, index_t blocks, index_t n, index_t b, index_t row, index_t column,
                           index_t part, bool fresh) {
  TileEnd t;
  t.scale = e.scale ? e.scale + b * lanes : nullptr;
  t.bias = e.bias ? e.bias + b * lanes : nullptr;
  t.act = e.act;
  t.slope = e.slope;
  t.residual = e.residual ? e.residual + n * e.rn + b * e.rb + row * e.rh + column * lanes : nullptr;
  t.residual_block = e.rb;
  t.moments = e.moments ? e.moments + (part * 3 * blocks + b) * lanes : nullptr;
  t.moments_stride = blocks * lanes;
  t.fresh = fresh;
  return t;
}

/// Stores O blocks of P pixels as they are.
template <int O, int P>
SN_INLINE void store_tile(const Vec (&acc)[O][P], float* y, index_t yb) {
#pragma GCC unroll 8
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) store(y + o * yb + p * lanes, acc[o][p]);
}

template <int P>
SN_INLINE void gather_moments(const Vec (&acc)[P], float* m, index_t stride, bool fresh) {
  const Vec offset = fresh ? acc[0] : load(m);
  Vec s = fresh ? zero() : load(m + stride), q = fresh ? zero() : load(m + 2 * stride);
#pragma GCC unroll 32
  for (int p = 0; p < P; ++p) {
    const Vec d = sub(acc[p], offset);
    s = add(s, d);
    q = fma(d, d, q);
  }
  if (fresh) store(m, offset);
  store(m + stride, s);
  store(m + 2 * stride, q);
}

/// Finishes and stores O blocks of P pixels.
template <int O, int P>
SN_INLINE void end_tile(Vec (&acc)[O][P], float* y, index_t yb, const TileEnd& e) {
#pragma GCC unroll 8
  for (int o = 0; o < O; ++o) {
    if (e.scale || e.bias) {
      const Vec k = e.scale ? load(e.scale + o * lanes) : splat(1), c = e.bias ? load(e.bias + o * lanes) : zero();
#pragma GCC unroll 32
      for (int p = 0; p < P; ++p) acc[o][p] = fma(acc[o][p], k, c);
    }
    if (e.act == Act::silu) {
#pragma GCC unroll 32
      for (int p = 0; p < P; ++p) acc[o][p] = silu(acc[o][p]);
    }
    if (e.moments) gather_moments(acc[o], e.moments + o * lanes, e.moments_stride, e.fresh);
  }
  store_tile<O, P>(acc, y, yb);
  // What is left is rare: it works on what was stored just now.
  if (e.act != Act::none && e.act != Act::silu)
    for (int o = 0; o < O; ++o)
      for (int p = 0; p < P; ++p) {
        float* at = y + o * yb + p * lanes;
        store(at, activate(e.act, e.slope, load(at)));
      }
  if (e.residual)
    for (int o = 0; o < O; ++o)
      for (int p = 0; p < P; ++p) {
        float* at = y + o * yb + p * lanes;
        store(at, add(load(at), load(e.residual + o * e.residual_block + p * lanes)));
      }
}

}  // namespace simd
}  // namespace
