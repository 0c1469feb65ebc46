// Windows of a pooling, for kernel bodies.
#pragma once

#include "kernels/simd.hpp"

namespace {
namespace simd {

struct Range {
  index_t first, last;
};

/// Taps of window i that lie inside the map.
SN_INLINE Range taps_inside(index_t i, index_t stride, index_t pad, index_t kernel, index_t extent) {
  const index_t begin = i * stride - pad;
  return {most(0, -begin), least(kernel, extent - begin)};
}

}  // namespace simd
}  // namespace
