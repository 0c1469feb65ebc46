// Whole rows of a depthwise 3x3 of stride 2, for kernel bodies. Four taps of nine are all that a pixel of dx meets at
// most, and two of three rows of x serve one row of y alone: there is little to keep in registers, and rows that stream
// beat tiles. See tile.hpp for the sums; they have the same order here.
#pragma once

#include "kernels/depthwise/rows.hpp"
#include "kernels/simd.hpp"

namespace {
namespace simd {

using slimneck::kernels::DepthwiseRows;

/// Pixels 2j and 2j + 1 of rows 2i and 2i + 1 of dx, for 3x3 of stride 2: of four pixels of dy a lies at (i, j), a1
/// right of it, and b and b1 below them.
struct SpreadPixels {
  const Vec w[3][3];

  SN_INLINE void left(Vec a, Vec b, float* even, float* odd) const {
    store(even, mul(a, w[1][1]));
    store(odd, fma(a, w[2][1], mul(b, w[0][1])));
  }
  /// At the right border, where a1 and b1 are outside.
  SN_INLINE void last(Vec a, Vec b, float* even, float* odd) const {
    store(even, mul(a, w[1][2]));
    store(odd, fma(a, w[2][2], mul(b, w[0][2])));
  }
  SN_INLINE void right(Vec a, Vec a1, Vec b, Vec b1, float* even, float* odd) const {
    store(even, fma(a1, w[1][0], mul(a, w[1][2])));
    store(odd, fma(a1, w[2][0], fma(a, w[2][2], fma(b1, w[0][0], mul(b, w[0][2])))));
  }
};

/// Rows 2i and 2i + 1 of dx for 3x3 of stride 2, where row i + 1 of dy is there. A tile of one such row is 12 stores
/// for 13 to 26 multiply-adds and waits for its call: rows in pairs take 0.5 to 0.8 of the time.
SN_INLINE void spread_pair(const DepthwiseRows& r, index_t i) {
  const float *a = r.x + i * r.xh, *b = a + r.xh, *w = r.weights;
  float *even = r.y + 2 * i * r.yh, *odd = even + r.yh;
  const SpreadPixels p{{{load(w), load(w + lanes), load(w + 2 * lanes)},
                        {load(w + 3 * lanes), load(w + 4 * lanes), load(w + 5 * lanes)},
                        {load(w + 6 * lanes), load(w + 7 * lanes), load(w + 8 * lanes)}}};
  Vec va = load(a), vb = load(b);
  for (index_t j = 1; j < r.w; ++j, even += 2 * lanes, odd += 2 * lanes) {
    const Vec a1 = load(a + j * lanes), b1 = load(b + j * lanes);
    p.left(va, vb, even, odd);
    p.right(va, a1, vb, b1, even + lanes, odd + lanes);
    va = a1;
    vb = b1;
  }
  p.left(va, vb, even, odd);
  if (r.ow % 2 == 0) p.last(va, vb, even + lanes, odd + lanes);
}

/// Row i of y for 3x3 of stride 2, where all three rows of x are there.
SN_INLINE void gather_row(const DepthwiseRows& r, index_t i) {
  const float *x = r.x + (2 * i - 1) * r.xh, *w = r.weights;
  float *y = r.y + i * r.yh, *end = y + r.w / 2 * lanes;
  Vec taps[9], left[3] = {zero(), zero(), zero()};
#pragma GCC unroll 9
  for (int t = 0; t < 9; ++t) taps[t] = load(w + t * lanes);
  const Vec start = r.bias ? load(r.bias) : zero();
  const auto pixel = [&](bool has_left, bool has_right) SN_INLINE_BODY {
    Vec sum = start;
#pragma GCC unroll 3
    for (int u = 0; u < 3; ++u) {
      if (has_left) sum = fma(left[u], taps[3 * u], sum);
      sum = fma(load(x + u * r.xh), taps[3 * u + 1], sum);
      if (!has_right) continue;
      left[u] = load(x + u * r.xh + lanes);
      sum = fma(left[u], taps[3 * u + 2], sum);
    }
    store(y, sum);
    x += 2 * lanes;
    y += lanes;
  };
  pixel(false, r.w > 1);
  while (y < end) pixel(true, true);
  if (r.w > 1 && r.w % 2 != 0) pixel(true, false);
}

}  // namespace simd
}  // namespace
