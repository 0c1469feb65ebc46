// Arguments of the fused passes of GSConv. Included by kernels/args.hpp.
//
// All maps have the extent n x blocks x h x w; vectors have one number for each of blocks * V channels. The depthwise
// kernel is k x k with k = 3 or 5, stride 1 and padding k/2.
#pragma once

#include "kernels/args.hpp"

namespace slimneck::kernels {

/// a = act(z1 scale + bias), z2 = depthwise(a), and the moments of z2 in strips of `strip` rows.
struct GsForwardArgs {
  index_t n = 0, blocks = 0, h = 0, w = 0, k = 5;
  MapAt z1;  ///< read
  MapAt a, z2;
  const float *scale = nullptr, *bias = nullptr;
  Act act = Act::none;
  float slope = 0;
  const float* weights = nullptr;  ///< of the first of the blocks
  index_t strip = 1;
  float* moments = nullptr;  ///< as Epilogue::moments, of the first of the blocks
  index_t channels = 0;      ///< of a row of moments
};

/// From g2 = db act'(bn2 z2), which z2's normalisation has as coefficients P, Q, R (BnGradArgs):
///   dz2 = P g2 + Q (z2 - mean2) + R,  dw2 = sum dz2 x a,  g1 = (da + depthwise^T dz2) act'(z1 scale1 + bias1)
/// and the sums of g1 and of g1 (z1 - mean1) in strips.
struct GsBackwardArgs {
  index_t n = 0, blocks = 0, h = 0, w = 0, k = 5;
  MapAt da;      ///< read; data null where there is none
  MapAt z1, z2;  ///< read
  MapAt g;       ///< holds g2, and g1 in the end
  const float *scale1 = nullptr, *bias1 = nullptr, *mean1 = nullptr, *mean2 = nullptr;
  const float* coefficients2 = nullptr;  ///< P, Q, R: three rows of blocks * V
  Act act = Act::none;
  float slope = 0;
  const float* weights = nullptr;
  float* dw = nullptr;  ///< set
  index_t strip = 1;
  float* sums = nullptr;     ///< n * strips parts of two rows of blocks * V
  float* parts = nullptr;    ///< n * blocks * k * k * V floats
  float* scratch = nullptr;  ///< gs_scratch floats for each thread
};

/// Rows of a strip: high enough that few rows are moved from strip to strip, low enough for the second level cache.
/// Measured: 8 rows at 80 and 160 pixels (the whole plane is up to 7 % slower, 2 rows 4 %), the whole plane at 20.
inline constexpr index_t gs_strip(index_t h, index_t w) {
  const index_t rows = w > 80 ? 8 : 640 / (w > 0 ? w : 1);
  return rows < h ? rows : h > 0 ? h : 1;
}

/// Rows of each of the four maps that a thread keeps.
inline constexpr index_t gs_rows(index_t h, index_t w, index_t k) {
  const index_t rows = gs_strip(h, w) + 2 * (k / 2);
  return rows < h ? rows : h;
}
inline constexpr index_t gs_scratch(index_t h, index_t w, index_t k, index_t lanes) {
  return 4 * gs_rows(h, w, k) * w * lanes;
}

}  // namespace slimneck::kernels
