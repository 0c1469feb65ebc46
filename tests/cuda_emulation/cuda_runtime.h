// Stands in for CUDA's header of this name when the host compiler builds .cu files: the words of the language that the
// kernels of this project use, and no others. No kernel uses atomics: they would make results depend on order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "block.hpp"

#define SLIMNECK_CUDA_EMULATION
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(8) int2 {
  int x, y;
};
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }

// Of the thread that runs; set whenever one goes on.
inline uint3 threadIdx{}, blockIdx{};
inline dim3 blockDim{}, gridDim{};

inline void __syncthreads(slimneck::emulation::Place place = slimneck::emulation::Place::here()) {
  slimneck::emulation::Block::current().barrier(place);
}

inline void __syncwarp(unsigned mask = ~0U, slimneck::emulation::Place place = slimneck::emulation::Place::here()) {
  using slimneck::emulation::Block;
  static_cast<void>(Block::current().with_warp(Block::WarpOperation::synchronise, mask, 0, 0, place));
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes,
                  slimneck::emulation::Place place = slimneck::emulation::Place::here()) {
  return slimneck::emulation::shuffle(mask, value, slimneck::emulation::Block::current().lane() ^ lanes, place);
}

/// The last lanes keep what they brought.
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes,
                   slimneck::emulation::Place place = slimneck::emulation::Place::here()) {
  const int lane = slimneck::emulation::Block::current().lane(), from = lane + static_cast<int>(lanes);
  return slimneck::emulation::shuffle(mask, value, from < slimneck::emulation::warp_lanes ? from : lane, place);
}

using std::max;
using std::min;

/// CUDA has it, the C++ library has not.
inline float normcdff(float x) {
  return static_cast<float>(std::erfc(-static_cast<double>(x) * 0.70710678118654752) / 2);
}
