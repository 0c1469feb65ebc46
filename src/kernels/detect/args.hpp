// Arguments of the detection head's decoding. Included by kernels/args.hpp.
#pragma once

#include "kernels/args.hpp"

namespace slimneck::kernels {

/// One level, as in detect_decode_fwd of kernels.hpp: x has na * no channels, plain (x_block = 1, xb the stride of a
/// channel) or in blocks of V; row first + (a h + i) w + j of image n begins at y + n * yn + row * no.
struct DecodeArgs {
  index_t n = 0, na = 0, no = 0, h = 0, w = 0;
  const float* x = nullptr;
  index_t x_block = 1, xn = 0, xb = 0, xh = 0;
  const float* anchors = nullptr;  ///< na x 2, in grid units
  float stride = 1;
  index_t first = 0;
  float* y = nullptr;
  index_t yn = 0;
};

}  // namespace slimneck::kernels
