// Mean and variance from partial statistics.
//
// A part is a strip of rows of one image: part = n * strips + strip, where strip s has rows [s * strip, (s + 1) *
// strip) that lie in the map. Of each part there are three rows of channels, moments[(part * 3 + k) * channels + c]:
//   k = 0  an offset o, near the mean (the first value will do), or anything finite if the part is empty
//   k = 1  S = the sum of (x - o)
//   k = 2  Q = the sum of (x - o)^2
// All in float, so a part should not have more than some thousand elements per channel. The parts are merged in double
// and in order: mean_p = o + S / N_p, M_p = Q - S^2 / N_p, and after Chan, Golub and LeVeque
//   d = mean_p - mean,  mean += d N_p / (N + N_p),  M += M_p + d^2 N N_p / (N + N_p),  N += N_p;  var = M / N.
// With offsets the relative error of var stays near 1e-7 for |mean| = 1000 sigma; E[x^2] - mean^2 would be noise there.
#pragma once

#include "slimneck/tensor.hpp"

namespace slimneck::kernels {

struct MomentsArgs {
  index_t n = 0, h = 0, w = 0;  ///< extent of the map
  index_t strip = 1;            ///< rows of a part
  index_t first = 0, last = 0;  ///< channels to merge: [first, last)
  index_t channels = 0;         ///< of the whole map, in whole blocks
  const float* moments = nullptr;
  float *mean = nullptr, *var = nullptr;  ///< one number for each channel; biased; 0 for an empty map
};

inline constexpr index_t strips_of(index_t h, index_t strip) { return (h + strip - 1) / strip; }

/// Floats of the partial statistics of a map.
inline constexpr index_t moments_floats(index_t n, index_t h, index_t strip, index_t channels) {
  return n * strips_of(h, strip) * 3 * channels;
}

SLIMNECK_EXPORT void merge_moments(const MomentsArgs& args) noexcept;

/// Rows of a part for kernels that need no particular strip: about a thousand elements per channel, few enough for
/// sums in float.
inline constexpr index_t moments_strip(index_t h, index_t w) {
  const index_t rows = w > 0 ? 1024 / w : 1;
  return rows < 1 ? 1 : rows > h && h > 0 ? h : rows;
}

/// Sums in double over parts: to[c] = sum of from[part * stride + first + c] for c < channels.
SLIMNECK_EXPORT void merge_sums(const float* from, index_t parts, index_t stride, index_t first, index_t channels,
                                double* to) noexcept;

}  // namespace slimneck::kernels
