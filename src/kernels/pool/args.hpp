// Arguments of pooling. Included by kernels/args.hpp.
#pragma once

#include "kernels/args.hpp"

namespace slimneck::kernels {

/// Largest window whose positions fit into a byte, one number kept for "no position".
inline constexpr index_t pool_positions_kernel = 15;

/// max_pool_fwd:      y = maximum over the window of x, -infinity in the padding, NaN if there is one
/// max_pool_fwd_at:   and where[...] = u * k + v of the first maximum (or first NaN) in the window, k * k for a window
///                    wholly in the padding; k <= pool_positions_kernel
/// max_pool_bwd:      dx[where] += dy from dx = 0, in the order of the windows
///
/// x (dx) is the large map and y (dy) the small one; where has a byte for each float of a dense y.
struct PoolArgs {
  index_t n = 0, blocks = 0, h = 0, w = 0, oh = 0, ow = 0;
  index_t kernel = 2, stride = 2, pad = 0;
  const float* x = nullptr;
  index_t xn = 0, xb = 0, xh = 0;
  float* y = nullptr;
  index_t yn = 0, yb = 0, yh = 0;
  std::uint8_t* where = nullptr;  ///< max_pool_fwd_at writes it
};

struct PoolGradArgs {
  index_t n = 0, blocks = 0, h = 0, w = 0, oh = 0, ow = 0;
  index_t kernel = 2, stride = 2, pad = 0;
  const float* dy = nullptr;
  index_t yn = 0, yb = 0, yh = 0;
  const std::uint8_t* where = nullptr;
  float* dx = nullptr;
  index_t xn = 0, xb = 0, xh = 0;
};

}  // namespace slimneck::kernels
