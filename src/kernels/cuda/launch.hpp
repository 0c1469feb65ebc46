// What .cu files are written with: launches, shared memory, indices. The same files are compiled by nvcc and, for
// tests, by the host's compiler with an emulated <cuda_runtime.h>; what differs between the two is here and in ptx.hpp.
#pragma once

#include <cuda_runtime.h>

#include <tuple>
#include <type_traits>

#include "kernels/cuda/host.hpp"

namespace slimneck::kernels::cuda {

/// Blocks, threads of each, and bytes of dynamic shared memory of each.
struct Grid {
  Extent blocks, threads;
  std::size_t shared = 0;
};

#if defined(SLIMNECK_CUDA_EMULATION)
using emulation::check_index;
using emulation::Place;
using emulation::shared;

/// a * b + c, rounded once; the host's own function is slow where the processor may lack it. The product is exact in
/// double.
inline float multiply_add(float a, float b, float c) {
  return static_cast<float>(static_cast<double>(a) * static_cast<double>(b) + static_cast<double>(c));
}

/// Runs one thread of a kernel.
template <class... P>
void call(const void* kernel, void* const* arguments) {
  const auto function = reinterpret_cast<void (*)(P...)>(const_cast<void*>(kernel));
  [&]<std::size_t... I>(std::index_sequence<I...>) { function(*static_cast<P*>(arguments[I])...); }
  (std::index_sequence_for<P...>());
}
#else
/// Where an array is read; the emulation reports it.
struct Place {
  static __device__ constexpr Place here() { return {}; }
};
__device__ __forceinline__ void check_index(std::int64_t /*index*/, std::int64_t /*extent*/, Place /*place*/) {}

/// a * b + c, rounded once.
__device__ __forceinline__ float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }

/// The one T of the block in shared memory; nobody has written it.
template <class T>
__device__ __forceinline__ T& shared() {
  __shared__ T memory;
  return memory;
}

template <class... P>
constexpr void (*call)(const void*, void* const*) = nullptr;
#endif

/// kernel<<<grid, stream>>>(arguments...), each argument converted to the type of its parameter.
template <class... P, class... A>
void launch(Stream& stream, const char* name, void (*kernel)(P...), const Grid& grid, const A&... arguments) noexcept {
  static_assert(sizeof...(P) == sizeof...(A));
  static_assert((std::is_trivially_copyable_v<P> && ...));
  std::tuple<P...> values{static_cast<P>(arguments)...};
  std::apply(
      [&](P&... value) {
        void* const pointers[] = {&value...};
        const std::size_t sizes[] = {sizeof(P)...};
        stream.launch({name, reinterpret_cast<const void*>(kernel), grid.blocks, grid.threads, grid.shared, pointers,
                       sizes, sizeof...(P), call<P...>});
      },
      values);
}

// ---- Device code

/// An array of one, two or three dimensions whose indices are checked in the emulation.
template <class T, int A, int B = 1, int C = 1>
struct Array {
  T items[A * B * C];

  __device__ __forceinline__ T& operator()(int a, Place place = Place::here()) {
    static_assert(B == 1 && C == 1);
    check_index(a, A, place);
    return items[a];
  }
  __device__ __forceinline__ T& operator()(int a, int b, Place place = Place::here()) {
    static_assert(C == 1);
    check_index(a, A, place);
    check_index(b, B, place);
    return items[a * B + b];
  }
  __device__ __forceinline__ T& operator()(int a, int b, int c, Place place = Place::here()) {
    check_index(a, A, place);
    check_index(b, B, place);
    check_index(c, C, place);
    return items[(a * B + b) * C + c];
  }
};

/// The dynamic shared memory of the block as an array of T.
template <class T>
class DynamicShared {
 public:
#if defined(SLIMNECK_CUDA_EMULATION)
  T& operator()(int i, Place place = Place::here()) const {
    const emulation::Block& block = emulation::Block::current();
    check_index(i, static_cast<std::int64_t>(block.dynamic_shared_bytes() / sizeof(T)), place);
    return static_cast<T*>(block.dynamic_shared())[i];
  }
#else
  __device__ __forceinline__ T& operator()(int i) const {
    extern __shared__ float4 slimneck_dynamic_shared[];
    return reinterpret_cast<T*>(slimneck_dynamic_shared)[i];
  }
#endif
};

}  // namespace slimneck::kernels::cuda
