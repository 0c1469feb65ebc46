// The only place with inline PTX: copies from global to shared memory that go on while the thread computes. They come
// in groups: begin_copy ..., close_copies; wait_for_copies<n> waits until at most the n youngest groups are under way.
// A barrier then shows the data to the other threads. Devices before 8.0 copy at once.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

namespace slimneck::kernels::cuda {

/// *to = *from, or zero where `present` is false (`from` is not read then). T has 4 or 16 bytes and is aligned to that.
template <class T>
__device__ __forceinline__ void begin_copy(T* to, const T* from, bool present) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 16);
#if defined(SLIMNECK_CUDA_EMULATION)
  emulation::Block::current().begin_copy(to, from, sizeof(T), present ? sizeof(T) : 0);
#elif __CUDA_ARCH__ >= 800
  const unsigned place = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const int bytes = present ? static_cast<int>(sizeof(T)) : 0;
  if constexpr (sizeof(T) == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(bytes) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(place), "l"(from), "r"(bytes) : "memory");
#else
  *to = present ? *from : T{};
#endif
}

__device__ __forceinline__ void close_copies() {
#if defined(SLIMNECK_CUDA_EMULATION)
  emulation::Block::current().close_copies();
#elif __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int open>
__device__ __forceinline__ void wait_for_copies() {
#if defined(SLIMNECK_CUDA_EMULATION)
  emulation::Block::current().wait_for_copies(open);
#elif __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(open) : "memory");
#endif
}

}  // namespace slimneck::kernels::cuda
