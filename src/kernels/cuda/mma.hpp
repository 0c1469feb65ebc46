// Products on the tensor cores: inline PTX, as in ptx.hpp and nowhere else, and what it does on the host for the
// emulation. Devices before 8.0 have none of it: no kernel that needs it may be launched there.
#pragma once

#include "kernels/cuda/map.hpp"

#if defined(SLIMNECK_CUDA_EMULATION)
#include <bit>
#endif

namespace slimneck::kernels::cuda {

#if defined(SLIMNECK_CUDA_EMULATION)
/// The bits of a number that tensor cores read.
inline float with_ten_bits(std::uint32_t bits) { return std::bit_cast<float>(bits & 0xFFFFE000U); }

/// What the lanes of each warp bring to a product: four numbers of a, then two of b.
inline float warp_fragments[emulation::most_threads / warp][warp][6];
#endif

/// The nearest number with 10 bits of mantissa, of two the one further from zero.
__device__ __forceinline__ float to_tf32(float x) {
#if defined(SLIMNECK_CUDA_EMULATION)
  constexpr std::uint32_t half = 0x1000, infinite = 0x7F800000;
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return (bits & infinite) == infinite ? x : with_ten_bits(bits + half);
#elif __CUDA_ARCH__ >= 800
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return __uint_as_float(bits);
#else
  return x;
#endif
}

/// c (16 x 8) += a (16 x 8) b (8 x 8), by all lanes of a warp. With g = lane / 4 and t = lane % 4 a lane has
///   a = {(g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4)},  b = {(t, g), (t + 4, g)},
///   c = {(g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)}        as (row, column).
__device__ __forceinline__ void multiply_tf32(float (&c)[4], const float (&a)[4], const float (&b)[2]) {
#if defined(SLIMNECK_CUDA_EMULATION)
  const int lane = thread_x() % warp, g = lane / 4, t = lane % 4;
  auto& lanes = warp_fragments[thread_x() / warp];
  const auto brought = [&](int from, int number) {
    return with_ten_bits(std::bit_cast<std::uint32_t>(lanes[from][number]));
  };
  std::copy_n(a, 4, lanes[lane]);
  std::copy_n(b, 2, lanes[lane] + 4);
  __syncwarp();
  for (int i = 0; i < 4; ++i)
    for (int k = 0; k < 8; ++k) {
      const int column = 2 * t + i % 2;
      c[i] = multiply_add(brought(g * 4 + k % 4, i / 2 + k / 4 * 2), brought(column * 4 + k % 4, 4 + k / 4), c[i]);
    }
  __syncwarp();  // the memory may be used again
#elif __CUDA_ARCH__ >= 800
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])), "r"(__float_as_uint(a[3])),
        "r"(__float_as_uint(b[0])), "r"(__float_as_uint(b[1])));
#else
  __trap();
#endif
}

}  // namespace slimneck::kernels::cuda
