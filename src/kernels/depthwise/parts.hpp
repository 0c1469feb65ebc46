// The end of a gradient of depthwise weights, for kernel bodies: fixed parts of the sum were left in the workspace.
#pragma once

#include "kernels/simd.hpp"

namespace {
namespace simd {

/// to[i] = sum over parts of from[part * count + i], in double: the parts are chains of thousands of terms each, and
/// adding them must not undo what splitting the chain has won. The order is fixed.
SN_INLINE void sum_parts(const float* from, index_t parts, index_t count, float* to) {
#pragma omp parallel for schedule(static)
  for (index_t first = 0; first < count; first += lanes) {
    double sum[lanes] = {};
    for (index_t part = 0; part < parts; ++part)
      for (index_t i = 0; i < lanes; ++i) sum[i] += static_cast<double>(from[part * count + first + i]);
    for (index_t i = 0; i < lanes; ++i) to[first + i] = static_cast<float>(sum[i]);
  }
}

}  // namespace simd
}  // namespace
