// How the gradient of depthwise weights is cut into parts.
#pragma once

#include "kernels/args.hpp"
#include "kernels/strips.hpp"

namespace slimneck::kernels {
namespace {

/// Rows of dy that make one part: about 2000 pixels, so that a chain of additions in float is never longer, and large
/// maps give several threads something to do.
[[maybe_unused]] constexpr index_t depthwise_grad_strip(const DepthwiseGradArgs& a) {
  const index_t strip = a.ow >= 2000 ? 1 : 2000 / (a.ow > 0 ? a.ow : 1);
  return even_strip(a.oh, a.ow, strip, a.n * a.blocks);
}

}  // namespace
}  // namespace slimneck::kernels
