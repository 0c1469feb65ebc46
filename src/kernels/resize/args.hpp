// Arguments of upsampling. Included by kernels/args.hpp.
#pragma once

#include "kernels/args.hpp"

namespace slimneck::kernels {

/// upsample_fwd: large[i, j] = small[i / f, j / f]
/// upsample_bwd: small[i, j] = sum of large over the f x f square of (i, j)
struct UpsampleArgs {
  index_t n = 0, blocks = 0, h = 0, w = 0;  ///< extent of the small map
  index_t factor = 2;
  const float* x = nullptr;  ///< what is read: the small map forward, the large one backward
  index_t xn = 0, xb = 0, xh = 0;
  float* y = nullptr;
  index_t yn = 0, yb = 0, yh = 0;
};

}  // namespace slimneck::kernels
