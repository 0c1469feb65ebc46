// Maps as device code sees them, and grids that give each thread one element. For .cu files.
#pragma once

#include "kernels/cuda/half.hpp"
#include "kernels/cuda/launch.hpp"
#include "slimneck/kernels.hpp"

namespace slimneck::kernels::cuda {

/// A plain view (block 1) with extents of 32 bits. The emulation checks indices.
template <class T>
struct Map {
  T* data;
  int n, c, h, w;
  index_t sn, sc, sh, sw;

  __device__ __forceinline__ T& operator()(int in, int ic, int ih, int iw, Place place = Place::here()) const {
    check_index(in, n, place);
    check_index(ic, c, place);
    check_index(ih, h, place);
    check_index(iw, w, place);
    return data[in * sn + ic * sc + ih * sh + iw * sw];
  }
};

template <class T>
Map<T> map_of(const View<T>& v) {
  const Shape& s = v.shape;
  return {v.data,
          static_cast<int>(s.n),
          static_cast<int>(s.c),
          static_cast<int>(s.h),
          static_cast<int>(s.w),
          v.sn,
          v.sc,
          v.sh,
          v.sw};
}

/// Is (h, w) a pixel, and not in the padding?
template <class T>
__device__ __forceinline__ bool is_inside(const Map<T>& m, int h, int w) {
  return static_cast<unsigned>(h) < static_cast<unsigned>(m.h) && static_cast<unsigned>(w) < static_cast<unsigned>(m.w);
}

/// A map whose channels may be those of one half of a shuffled output: where split is not 0, channel c is number
/// ((first + c) % 2) * split + (first + c) / 2 of what `data` holds.
template <class T>
struct PlacedMap : Map<T> {
  int first, split;

  __device__ __forceinline__ T& operator()(int in, int ic, int ih, int iw, Place place = Place::here()) const {
    check_index(in, this->n, place);
    check_index(ic, this->c, place);
    check_index(ih, this->h, place);
    check_index(iw, this->w, place);
    if (split > 0) ic = ((first + ic) & 1) * split + ((first + ic) >> 1);
    return this->data[in * this->sn + ic * this->sc + ih * this->sh + iw * this->sw];
  }
};

template <class T>
PlacedMap<T> placed_map_of(const View<T>& v) {
  return {map_of(v), 0, 0};
}

/// The channels of a half are those of the whole where that is not split, and half of them otherwise.
template <class T>
PlacedMap<T> placed_map_of(const Half<T>& h) {
  PlacedMap<T> map{map_of(h.view), static_cast<int>(h.first), static_cast<int>(h.split)};
  if (h.split > 0) map.c = static_cast<int>(h.view.shape.c / 2);
  return map;
}

/// One number for each channel, 1 x c x 1 x 1.
template <class T>
struct Vector {
  T* data;
  int count;
  index_t step;

  __device__ __forceinline__ T& operator()(int i, Place place = Place::here()) const {
    check_index(i, count, place);
    return data[i * step];
  }
};

template <class T>
Vector<T> vector_of(const View<T>& v) {
  return {v.data, static_cast<int>(v.shape.c), v.sc};
}

template <class T>
Vector<const T> readable(const Vector<T>& v) {
  return {v.data, v.count, v.step};
}

/// count numbers side by side.
template <class T>
Vector<T> vector_of(T* data, index_t count) {
  return {data, static_cast<int>(count), 1};
}

/// Division by a number that is known at the launch: a multiplication and a shift, for dividends from 0 to 2^31 - 1.
/// See Granlund and Montgomery, Division by Invariant Integers using Multiplication, 1994.
struct Divisor {
  unsigned multiplier, shift;

  __device__ __forceinline__ int quotient(int a) const {
    return static_cast<int>(static_cast<unsigned>(a) * static_cast<unsigned long long>(multiplier) >> shift);
  }
};

/// d < 2^31; an extent of 0 divides nothing.
inline Divisor divisor(index_t d) {
  if (d < 1) d = 1;
  unsigned shift = 31;
  while (index_t{1} << (shift - 31) < d) ++shift;
  return {static_cast<unsigned>(((index_t{1} << shift) + d - 1) / d), shift};
}

inline constexpr int warp = 32;
inline constexpr unsigned whole_warp = ~0U;
inline constexpr int block_threads = 256;

__device__ __forceinline__ int thread_x() { return static_cast<int>(threadIdx.x); }
__device__ __forceinline__ int threads_x() { return static_cast<int>(blockDim.x); }
__device__ __forceinline__ int block_x() { return static_cast<int>(blockIdx.x); }

inline unsigned ceil_div(index_t a, index_t b) { return static_cast<unsigned>((a + b - 1) / b); }

/// Threads for `count` neighbours: whole warps, at most block_threads.
inline unsigned threads_for(index_t count) {
  const unsigned warps = ceil_div(count, warp);
  constexpr unsigned most = block_threads / warp;
  return (warps < most ? warps : most) * warp;
}

/// A thread for each of `count` numbers; count > 0.
inline Grid flat_grid(index_t count) {
  const unsigned threads = threads_for(count);
  return {{ceil_div(count, threads)}, {threads}};
}

/// A thread for each pixel, blocks within a channel; the shape is not empty.
inline Grid pixel_grid(const Shape& s) {
  const unsigned threads = threads_for(s.h * s.w);
  return {{ceil_div(s.h * s.w, threads) * static_cast<unsigned>(s.n * s.c)}, {threads}};
}

struct Pixel {
  int n, c, h, w;
  bool inside;  ///< some threads of the last block of a channel have nothing to do
};

/// The pixel of this thread in block `block` of a pixel_grid for maps of this shape.
template <class T>
__device__ __forceinline__ Pixel pixel_of(const Map<T>& map, int block) {
  const int pixels = map.h * map.w, tiles = (pixels + threads_x() - 1) / threads_x();
  const int plane = block / tiles, pixel = (block - plane * tiles) * threads_x() + thread_x();
  const int n = plane / map.c, h = pixel / map.w;
  return {n, plane - n * map.c, h, pixel - h * map.w, pixel < pixels};
}
template <class T>
__device__ __forceinline__ Pixel pixel_of(const Map<T>& map) {
  return pixel_of(map, block_x());
}

/// The position of this thread of a flat_grid.
__device__ __forceinline__ index_t flat_index() { return static_cast<index_t>(block_x()) * threads_x() + thread_x(); }

inline bool is_empty(const Shape& s) { return s.n == 0 || s.c == 0 || s.h == 0 || s.w == 0; }

__device__ __forceinline__ void put(float& to, float value, Write write) {
  to = write == Write::add ? to + value : value;
}

}  // namespace slimneck::kernels::cuda
