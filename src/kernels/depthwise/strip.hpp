// How the gradient of depthwise weights is cut into parts.
#pragma once

#include "slimneck/tensor.hpp"

namespace slimneck::kernels {

/// Rows of dy that make one part: about 2000 pixels, so that a chain of additions in float is never longer, and large
/// maps give several threads something to do. Internal linkage: kernel bodies of every ISA call it.
[[maybe_unused]] static constexpr index_t depthwise_grad_strip(index_t ow) {
  return ow >= 2000 ? 1 : 2000 / (ow > 0 ? ow : 1);
}

}  // namespace slimneck::kernels
