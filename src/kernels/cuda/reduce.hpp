// Sums over a block in one order: a tree over each warp, then the warps one after the other. For .cu files.
#pragma once

#include "kernels/cuda/map.hpp"

namespace slimneck::kernels::cuda {

/// Shared memory for `count` sums at a time.
template <int count, class T = float>
using SumsOfWarps = Array<T, count, block_threads / warp>;

/// Every thread of the block gets the sums of what all brought. The block has one dimension, of whole warps.
template <int count, class T>
__device__ __forceinline__ void sum_over_block(T (&values)[count], SumsOfWarps<count, T>& sums) {
  const int lane = thread_x() % warp, own = thread_x() / warp, warps = threads_x() / warp;
#pragma unroll
  for (int i = 0; i < count; ++i) {
    for (int lanes = warp / 2; lanes > 0; lanes /= 2) values[i] += __shfl_xor_sync(whole_warp, values[i], lanes);
    if (lane == 0) sums(i, own) = values[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < count; ++i) {
    values[i] = sums(i, 0);
    for (int w = 1; w < warps; ++w) values[i] += sums(i, w);
  }
  __syncthreads();  // the memory may be used again
}

}  // namespace slimneck::kernels::cuda
