// Arguments of channel gathers. Included by kernels/args.hpp.
#pragma once

#include "kernels/args.hpp"

namespace slimneck::kernels {

/// y[p] = x[list[p]] for every output channel p, zeros where list[p] < 0: shuffles, slices, concatenations (into part
/// of y), changes of layout and of channel map.
///
/// A map with x_block = 1 is plain: xb is then the stride of a channel and pixels are one float apart; else x_block is
/// the number of channels in a block. channels counts those of y, holes included; with blocks it is a multiple of
/// y_block. Any mixture of blocks works; V and 1 are fast.
struct GatherArgs {
  index_t n = 0, channels = 0, h = 0, w = 0;
  const float* x = nullptr;
  index_t x_block = 1, xn = 0, xb = 0, xh = 0;
  float* y = nullptr;
  index_t y_block = 1, yn = 0, yb = 0, yh = 0;
  const index_t* list = nullptr;
};

}  // namespace slimneck::kernels
