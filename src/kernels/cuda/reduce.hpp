// Sums over a block in one order: a tree over each warp, then the warps one after the other. For .cu files.
#pragma once

#include "kernels/cuda/map.hpp"

namespace slimneck::kernels::cuda {

/// Shared memory for `count` sums at a time.
template <int count, class T = float>
using SumsOfWarps = Array<T, count, block_threads / warp>;

/// The smallest power of two that is not below n.
__host__ __device__ constexpr int power_of_two(int n) { return n <= 1 ? 1 : 2 * power_of_two((n + 1) / 2); }

/// Lanes `lanes` apart exchange what the other one goes on with: the lower one keeps the first half of the numbers, the
/// upper one the second half. One number is kept by both.
template <int half, int lanes, int size, class T>
__device__ __forceinline__ void exchange(T (&held)[size]) {
  if constexpr (half == 0) {
    held[0] += __shfl_xor_sync(whole_warp, held[0], lanes);
  } else {
    const bool upper = (thread_x() & lanes) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const T sent = upper ? held[i] : held[i + half], kept = upper ? held[i + half] : held[i];
      held[i] = kept + __shfl_xor_sync(whole_warp, sent, lanes);
    }
  }
  if constexpr (lanes > 1) exchange<half / 2, lanes / 2>(held);
}

/// Leaves the sums over each warp in shared memory and waits for all warps. The block has one dimension, of whole
/// warps. 32 sums take 31 shuffles; one by one they would take 160.
template <int count, class T>
__device__ __forceinline__ void sum_over_warps(const T (&values)[count], SumsOfWarps<count, T>& sums) {
  constexpr int size = power_of_two(count), lanes_of_sum = warp / size;
  static_assert(count <= warp);
  const int lane = thread_x() % warp, own = thread_x() / warp;
  T held[size];
#pragma unroll
  for (int i = 0; i < size; ++i) held[i] = i < count ? values[i] : T{};
  exchange<size / 2, warp / 2>(held);
  if (lane % lanes_of_sum == 0 && lane / lanes_of_sum < count) sums(lane / lanes_of_sum, own) = held[0];
  __syncthreads();
}

/// Sum number i of those.
template <int count, class T>
__device__ __forceinline__ T sum_of_warps(SumsOfWarps<count, T>& sums, int i) {
  const int warps = threads_x() / warp;
  T sum = sums(i, 0);
  for (int w = 1; w < warps; ++w) sum += sums(i, w);
  return sum;
}

/// Every thread of the block gets the sums of what all brought.
template <int count, class T>
__device__ __forceinline__ void sum_over_block(T (&values)[count], SumsOfWarps<count, T>& sums) {
  sum_over_warps(values, sums);
#pragma unroll
  for (int i = 0; i < count; ++i) values[i] = sum_of_warps<count>(sums, i);
  __syncthreads();  // the memory may be used again
}

}  // namespace slimneck::kernels::cuda
