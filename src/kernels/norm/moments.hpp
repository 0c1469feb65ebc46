// Mean and variance from the moments that kernels gather while they store (Epilogue::moments).
//
// Part (image, strip of rows) holds three rows of channels: an offset near the mean, s = sum (y - offset) and
// q = sum (y - offset)^2, in float over a few thousand values. With the offset near the mean nothing cancels: unshifted
// sums lose the variance when the mean is large. Parts are joined in double in a fixed order (Chan, Golub, LeVeque).
#pragma once

#include "slimneck/tensor.hpp"

namespace slimneck::kernels {

/// How a map of n images of h x w pixels was cut: strips of `strip` rows.
struct MomentParts {
  index_t n = 0, h = 0, w = 0, strip = 1;

  [[nodiscard]] index_t strips() const noexcept { return (h + strip - 1) / strip; }
  [[nodiscard]] index_t parts() const noexcept { return n * strips(); }
  [[nodiscard]] index_t floats(index_t channels) const noexcept { return parts() * 3 * channels; }
  /// Pixels of a part.
  [[nodiscard]] index_t pixels(index_t part) const noexcept {
    const index_t first = part % strips() * strip;
    return (first + strip < h ? strip : h - first) * w;
  }
};

/// Mean and biased variance (never negative) of each physical channel; channels is a multiple of the lane count.
void merge_moments(const float* moments, const MomentParts& parts, index_t channels, float* mean, float* var) noexcept;

}  // namespace slimneck::kernels
