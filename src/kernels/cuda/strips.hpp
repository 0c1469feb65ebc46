// Depthwise convolution by strips, for .cu files: a tile of a plane with its halo, or tiles of several small planes,
// lie in shared memory, and a thread walks down a column: each row that it reads feeds all outputs of its strip that
// the kernel reaches. What is put into the tile, and what becomes of the sums, is the kernel's own.
#pragma once

#include "kernels/cuda/norm.hpp"
#include "kernels/cuda/ptx.hpp"

namespace slimneck::kernels::cuda {

struct Geometry {
  int stride, pad_h, pad_w, dilation;
};

inline Geometry geometry_of(const Conv2d& g) {
  return {static_cast<int>(g.stride), static_cast<int>(g.pad_h), static_cast<int>(g.pad_w),
          static_cast<int>(g.dilation)};
}

inline constexpr int strip = 4;  ///< outputs of a thread, one below the other
inline constexpr int most_planes = 32;

inline __host__ __device__ int tiles(int extent, int tile) { return (extent + tile - 1) / tile; }

/// Outputs of a block: `planes` planes of `width` columns and `strips` strips, a thread for each strip.
struct StripTile {
  int width, strips, planes;
  int across, down;  ///< tiles of a plane

  [[nodiscard]] __host__ __device__ int seats() const { return width * strips * planes; }
  [[nodiscard]] __host__ __device__ int height() const { return strips * strip; }
  [[nodiscard]] __host__ __device__ int in_plane() const { return across * down; }
};

/// What a kernel x kernel convolution has of shared memory.
template <int kernel, int stride>
struct StripMemory {
  static constexpr int taps = kernel * kernel, most = stride == 1 ? 2048 : 4608;

  Array<float, most> x;
  Array<float, most_planes * taps> w;
};

/// Rows and columns that a tile reads.
template <int kernel, int stride>
__host__ __device__ int read_rows(const StripTile& t) {
  return (t.height() - 1) * stride + kernel;
}
template <int kernel, int stride>
__host__ __device__ int read_columns(const StripTile& t) {
  return (t.width - 1) * stride + kernel;
}

/// The tile for `planes` planes of h x w outputs that takes the fewest instructions, nearly: threads without an output
/// and the halo are what is lost.
template <int kernel, int stride>
StripTile strip_tile(int planes, int h, int w) {
  constexpr int of_output = kernel * kernel + 24, of_element = 12, narrow = 8;
  const auto elements = [](const StripTile& t) {
    return t.planes * read_rows<kernel, stride>(t) * read_columns<kernel, stride>(t);
  };
  StripTile best{};
  double least = 0;
  for (int across = tiles(w, block_threads); across == tiles(w, block_threads) || tiles(w, across) >= narrow; ++across)
    for (int down = 1; down <= tiles(h, strip); ++down) {
      StripTile t{tiles(w, across), tiles(tiles(h, strip), down), 1, across, down};
      t.across = tiles(w, t.width);
      t.down = tiles(tiles(h, strip), t.strips);
      if (t.down != down || t.seats() > block_threads || elements(t) > StripMemory<kernel, stride>::most) continue;
      while (t.planes < planes && t.planes < most_planes) {
        ++t.planes;
        if (t.seats() <= block_threads && elements(t) <= StripMemory<kernel, stride>::most) continue;
        --t.planes;
        break;
      }
      const int threads = tiles(t.seats(), warp) * warp;
      const double cost =
          static_cast<double>(t.in_plane()) * (threads * strip * of_output + elements(t) * of_element) / t.planes;
      if (best.width > 0 && cost >= least) continue;
      best = t;
      least = cost;
    }
  return best;
}

inline unsigned strip_threads(const StripTile& t) { return static_cast<unsigned>(tiles(t.seats(), warp) * warp); }

inline Grid strip_grid(const StripTile& t, int planes) {
  return {{static_cast<unsigned>(t.in_plane() * tiles(planes, t.planes))}, {strip_threads(t)}};
}

/// Which tile of which planes: planes are the c channels of image 0, then those of image 1, ...
struct TilePlace {
  int plane, number, row, column;  ///< number of the tile in its plane
};

__device__ __forceinline__ TilePlace tile_place(const StripTile& t) {
  const int group = block_x() / t.in_plane(), number = block_x() - group * t.in_plane(), row = number / t.across;
  return {group * t.planes, number, row * t.height(), (number - row * t.across) * t.width};
}

/// The strip of a thread.
struct Seat {
  int plane, row, column;  ///< in the tile; row is the first of the strip
};

__device__ __forceinline__ Seat seat_of_thread(const StripTile& t) {
  const int strips = thread_x() / t.width, plane = strips / t.strips;
  return {plane, (strips - plane * t.strips) * strip, thread_x() - strips * t.width};
}

/// Its outputs: pixels (h ... h + rows - 1, w) of a plane; some threads have none.
struct Outputs {
  int n, c, h, w, rows;
};

template <class T>
__device__ __forceinline__ Outputs outputs_of(const StripTile& t, const TilePlace& at, const Seat& seat,
                                              const Map<T>& y) {
  const int plane = at.plane + seat.plane, n = plane / y.c, h = at.row + seat.row, w = at.column + seat.column;
  const bool any = seat.plane < t.planes && n < y.n && w < y.w;
  return {n, plane - n * y.c, h, w, any ? max(0, min(strip, y.h - h)) : 0};
}

// ---- What a tile is filled with. A source has maps of n x c planes; of a plane it makes something that puts one pixel
// into shared memory, where pixels outside of the map are zero.

/// Where a pixel lies in its plane, which spans fewer than 2^31 numbers.
template <class T>
__device__ __forceinline__ int in_plane(const Map<T>& map, int h, int w, Place place = Place::here()) {
  check_index(h, map.h, place);
  check_index(w, map.w, place);
  return h * static_cast<int>(map.sh) + w * static_cast<int>(map.sw);
}

/// The pixels of a map.
struct Copied {
  PlacedMap<const float> x;

  struct Plane {
    const Map<const float>& map;
    const float* data;
    [[nodiscard]] __device__ __forceinline__ float value(int h, int w) const { return data[in_plane(map, h, w)]; }
    __device__ __forceinline__ void load(float* to, bool inside, int h, int w) const {
      begin_copy(to, inside ? data + in_plane(map, h, w) : data, inside);
    }
  };
  [[nodiscard]] __device__ __forceinline__ Plane plane(int n, int c) const { return {x, &x(n, c, 0, 0)}; }
  [[nodiscard]] __device__ __forceinline__ const Map<const float>& shape() const { return x; }
};

/// act(norm z): the padding is zero after the activation.
struct Activated {
  Map<const float> z;
  DeviceNorm norm;
  DeviceActivation act;

  struct Plane {
    const Activated& all;
    const float* data;
    Channel channel;
    [[nodiscard]] __device__ __forceinline__ float value(int h, int w) const {
      return act_value(all.act, channel.norm(data[in_plane(all.z, h, w)]));
    }
    __device__ __forceinline__ void load(float* to, bool inside, int h, int w) const {
      *to = inside ? value(h, w) : 0.F;
    }
  };
  [[nodiscard]] __device__ __forceinline__ Plane plane(int n, int c) const {
    return {*this, &z(n, c, 0, 0), channel_of(norm, c)};
  }
  [[nodiscard]] __device__ __forceinline__ const Map<const float>& shape() const { return z; }
};

/// The gradient of z, where dy is that of act(norm z).
struct NormGradient {
  PlacedMap<const float> dy;
  Map<const float> z;
  DeviceNorm norm;
  DeviceActivation act;
  Vector<const float> terms;

  struct Plane {
    const NormGradient& all;
    const float *dy, *z;
    Channel channel;
    GradientTerms terms;
    [[nodiscard]] __device__ __forceinline__ float value(int h, int w) const {
      const float x = z[in_plane(all.z, h, w)], g = dy[in_plane(all.dy, h, w)] * act_slope(all.act, channel.norm(x));
      return norm_gradient(channel, terms, g, x);
    }
    __device__ __forceinline__ void load(float* to, bool inside, int h, int w) const {
      *to = inside ? value(h, w) : 0.F;
    }
  };
  [[nodiscard]] __device__ __forceinline__ Plane plane(int n, int c) const {
    return {*this, &dy(n, c, 0, 0), &z(n, c, 0, 0), channel_of(norm, c), gradient_terms(terms, c)};
  }
  [[nodiscard]] __device__ __forceinline__ const Map<const float>& shape() const { return z; }
};

/// Rows and columns from (row, column) of the planes from `plane` on.
template <class Source, int most>
__device__ __forceinline__ void begin_tile(const Source& source, int plane, int planes, int row, int column, int rows,
                                           int columns, Array<float, most>& to) {
  const Map<const float>& map = source.shape();
  const int down = threads_x() / columns, right = threads_x() - down * columns;
  for (int p = 0; p < planes; ++p) {
    const int n = (plane + p) / map.c;
    if (n >= map.n) break;
    const auto from = source.plane(n, plane + p - n * map.c);
    int r = thread_x() / columns, c = thread_x() - r * columns;
    while (r < rows) {
      const int h = row + r, w = column + c;
      from.load(&to((p * rows + r) * columns + c), is_inside(map, h, w), h, w);
      r += down;
      c += right;
      if (c >= columns) {
        c -= columns;
        ++r;
      }
    }
  }
  close_copies();
}

/// Taps row by row, of the same planes; turned: from the last to the first.
template <int kernel, int most>
__device__ __forceinline__ void load_taps(const Map<const float>& w, int plane, int planes, bool turned,
                                          Array<float, most>& to) {
  constexpr int taps = kernel * kernel;
  for (int i = thread_x(); i < planes * taps; i += threads_x()) {
    const int p = i / taps, tap = i - p * taps, from = turned ? taps - 1 - tap : tap;
    to(i) = w((plane + p) % w.n, 0, from / kernel, from % kernel);
  }
}

/// The sums of a strip whose first row of pixels begins at x(first); of stride 1 also the pixel in the middle of each.
template <int kernel, int stride, int most, int most_taps>
__device__ __forceinline__ void strip_sums(Array<float, most>& x, int first, int columns, Array<float, most_taps>& w,
                                           int first_tap, float (&sums)[strip], float (&middles)[strip]) {
  float taps[kernel * kernel];
#pragma unroll
  for (int i = 0; i < kernel * kernel; ++i) taps[i] = w(first_tap + i);
#pragma unroll
  for (int r = 0; r < (strip - 1) * stride + kernel; ++r) {
    float row[kernel];
#pragma unroll
    for (int v = 0; v < kernel; ++v) row[v] = x(first + r * columns + v);
#pragma unroll
    for (int o = 0; o < strip; ++o) {
      const int u = r - o * stride;
      if (u < 0 || u >= kernel) continue;
      if (u == kernel / 2) middles[o] = row[kernel / 2];
#pragma unroll
      for (int v = 0; v < kernel; ++v) sums[o] = multiply_add(row[v], taps[u * kernel + v], sums[o]);
    }
  }
}

// ---- Sums over the outputs of a plane

template <int count>
struct PlaneSums {
  Array<float, count, block_threads> values;
  Array<float, count, most_planes> sums;
};

/// The numbers of the threads of a plane summed in one order, for each of them. Planes need not be whole warps, so the
/// numbers go through shared memory.
template <int count>
__device__ __forceinline__ void sum_over_planes(float (&values)[count], const StripTile& t, const Seat& seat,
                                                PlaneSums<count>& s) {
#pragma unroll
  for (int i = 0; i < count; ++i) s.values(i, thread_x()) = values[i];
  __syncthreads();
  const int seats = t.width * t.strips, lane = thread_x() % warp, warps = threads_x() / warp;
  for (int job = thread_x() / warp; job < t.planes * count; job += warps) {
    const int plane = job / count, i = job - plane * count;
    float sum = 0;
    for (int k = lane; k < seats; k += warp) sum += s.values(i, plane * seats + k);
#pragma unroll
    for (int lanes = warp / 2; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(whole_warp, sum, lanes);
    if (lane == 0) s.sums(i, plane) = sum;
  }
  __syncthreads();
  if (seat.plane < t.planes) {
#pragma unroll
    for (int i = 0; i < count; ++i) values[i] = s.sums(i, seat.plane);
  }
  __syncthreads();  // the memory may be used again
}

/// Which part of its channel a tile is.
__device__ __forceinline__ int part_of_tile(const StripTile& t, const TilePlace& at, int n) {
  return n * t.in_plane() + at.number;
}

inline __host__ int parts_of_channel(const StripTile& t, int images) { return images * t.in_plane(); }

/// Leaves the moments of what the block has made, of each of its planes.
template <class T>
__device__ __forceinline__ void leave_moments(const float (&values)[strip], const StripTile& t, const TilePlace& at,
                                              const Seat& seat, const Outputs& own, const Map<T>& y,
                                              const Moments& moments) {
  auto& memory = shared<PlaneSums<1>>();
  float sum[1] = {}, squares[1] = {};
#pragma unroll
  for (int o = 0; o < strip; ++o)
    if (o < own.rows) sum[0] += values[o];
  sum_over_planes(sum, t, seat, memory);
  const float count = static_cast<float>(min(t.height(), y.h - at.row) * min(t.width, y.w - at.column));
  const float mean = sum[0] / count;
#pragma unroll
  for (int o = 0; o < strip; ++o)
    if (o < own.rows) squares[0] += (values[o] - mean) * (values[o] - mean);
  sum_over_planes(squares, t, seat, memory);
  if (seat.row == 0 && seat.column == 0 && own.rows > 0)
    set_moments(moments, own.c, part_of_tile(t, at, own.n), count, mean, squares[0]);
}

}  // namespace slimneck::kernels::cuda
