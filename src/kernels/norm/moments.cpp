#include "kernels/norm/moments.hpp"

#include <algorithm>

namespace slimneck::kernels {

namespace {

constexpr index_t group = 32;

/// Channels [first, first + count), count <= group.
void merge_group(const MomentsArgs& a, index_t first, index_t count) noexcept {
  double mean[group] = {}, m2[group] = {};
  double total = 0;
  const index_t strips = strips_of(a.h, a.strip);
  for (index_t part = 0; part < a.n * strips; ++part) {
    const index_t row = part % strips * a.strip;
    const auto size = static_cast<double>(std::min(a.strip, a.h - row) * a.w);
    if (size == 0) continue;
    // The divisions do not depend on the channel.
    const double inverse = 1 / size, share = size / (total + size), weight = total * share;
    const float* offset = a.moments + part * 3 * a.channels + first;
    const float *sum = offset + a.channels, *square = sum + a.channels;
    for (index_t c = 0; c < count; ++c) {
      const double s = static_cast<double>(sum[c]), q = static_cast<double>(square[c]);
      const double d = static_cast<double>(offset[c]) + s * inverse - mean[c];
      mean[c] += d * share;
      m2[c] += q - s * s * inverse + d * d * weight;
    }
    total += size;
  }
  for (index_t c = 0; c < count; ++c) {
    const double var = total > 0 ? m2[c] / total : 0;
    a.mean[first + c] = static_cast<float>(mean[c]);
    a.var[first + c] = static_cast<float>(var < 0 ? 0 : var);  // rounding can make it negative; NaN stays
  }
}

}  // namespace

void merge_moments(const MomentsArgs& a) noexcept {
  const index_t groups = (a.last - a.first + group - 1) / group;
#pragma omp parallel for schedule(static) if (groups > 1)
  for (index_t g = 0; g < groups; ++g) {
    const index_t first = a.first + g * group;
    merge_group(a, first, std::min(group, a.last - first));
  }
}

void merge_sums(const float* from, index_t parts, index_t stride, index_t first, index_t channels,
                double* to) noexcept {
  for (index_t c = 0; c < channels; ++c) to[c] = 0;
  for (index_t part = 0; part < parts; ++part)
    for (index_t c = 0; c < channels; ++c) to[c] += static_cast<double>(from[part * stride + first + c]);
}

}  // namespace slimneck::kernels
