// Arguments of what works element by element. Included by kernels/args.hpp.
#pragma once

#include "kernels/args.hpp"

namespace slimneck::kernels {

/// Blocked maps x, z, y of one extent; y may be x or z.
///   act_fwd:   y = act(x)
///   act_bwd:   y = z act'(x)
///   map_add:   y = x + z
///   map_copy:  y = x
///   map_fill:  y = value
///   map_exp:   y = e^x
///   map_tanh:  y = tanh x
struct PointwiseArgs {
  index_t n = 0, blocks = 0, h = 0, w = 0;
  const float* x = nullptr;
  index_t xn = 0, xb = 0, xh = 0;
  const float* z = nullptr;
  index_t zn = 0, zb = 0, zh = 0;
  float* y = nullptr;
  index_t yn = 0, yb = 0, yh = 0;
  Act act = Act::none;
  float slope = 0;
  float value = 0;
};

}  // namespace slimneck::kernels
