// Depthwise convolution, forward and both adjoints:
//
//   y [n,c,i,j] = finish(sum_{u,v} w[c,u,v] x[n,c, is-ph+ud, js-pw+vd])
//   dx[n,c,h,k] = sum_{u,v} w[c,u,v] dy[n,c,i,j]      over is-ph+ud = h and js-pw+vd = k
//   dw[c,u,v] = sum_{n,i,j} dy[n,c,i,j] x[n,c, is-ph+ud, js-pw+vd]
//
// 3x3 and 5x5 of stride 1 and 2: a tile of the plane with its halo lies in shared memory, and a thread walks down a
// column: each row that it reads feeds all outputs of its strip that the kernel reaches. The gradient of the data of
// stride 1 is such a convolution with turned weights. The gradient of the weights keeps a sum for every tap in
// registers, over a band of tiles, and has two stages. What is left goes one output per thread.
#include "kernels/cuda/finish.hpp"
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/ptx.hpp"
#include "kernels/cuda/reduce.hpp"

namespace slimneck::kernels::cuda {

namespace {

struct Geometry {
  int stride, pad_h, pad_w, dilation;
};

Geometry geometry_of(const Conv2d& g) {
  return {static_cast<int>(g.stride), static_cast<int>(g.pad_h), static_cast<int>(g.pad_w),
          static_cast<int>(g.dilation)};
}

constexpr int strip = 4;  // outputs of a thread, one below the other

/// Outputs of a block: planes of `width` columns; and what they read.
template <int kernel, int stride, int width, int planes>
struct Tile {
  static constexpr int strips = block_threads / width / planes, height = strips * strip;
  static constexpr int rows = (height - 1) * stride + kernel, columns = (width - 1) * stride + kernel;
  static constexpr int taps = kernel * kernel;

  Array<float, planes, rows, columns> x;
  Array<float, planes, taps> w;
};

/// The place of a thread in such a tile.
struct Seat {
  int plane, row, column;  ///< row is the first of the strip
};

template <int width, int planes>
__device__ __forceinline__ Seat seat_of_thread() {
  constexpr int strips = block_threads / width / planes;
  const int t = thread_x();
  return {t / (width * strips), t / width % strips * strip, t % width};
}

/// Which tile of which planes: planes are the c channels of image 0, then those of image 1, ...
struct TilePlace {
  int plane, row, column;
};

inline __host__ __device__ int tiles(int extent, int tile) { return (extent + tile - 1) / tile; }

__device__ __forceinline__ TilePlace tile_place(const Map<float>& y, int height, int width, int planes) {
  const int across = tiles(y.w, width), in_plane = across * tiles(y.h, height), group = block_x() / in_plane;
  const int tile = block_x() - group * in_plane, row = tile / across;
  return {group * planes, row * height, (tile - row * across) * width};
}

/// Begins to copy rows and columns from (row, column) of a plane on; what lies outside is zero.
template <int planes, int rows, int columns>
__device__ __forceinline__ void begin_tile(const Map<const float>& x, int plane, int row, int column,
                                           Array<float, planes, rows, columns>& to) {
  for (int i = thread_x(); i < planes * rows * columns; i += block_threads) {
    const int p = i / (rows * columns), r = i / columns % rows, c = i % columns;
    const int h = row + r, w = column + c, n = (plane + p) / x.c, channel = (plane + p) - n * x.c;
    const bool inside = n < x.n && h >= 0 && h < x.h && w >= 0 && w < x.w;
    begin_copy(&to(p, r, c), inside ? &x(n, channel, h, w) : x.data, inside);
  }
  close_copies();
}

/// Taps row by row; turned: from the last to the first.
template <int kernel, int stride, int width, int planes, bool turned>
__global__ void __launch_bounds__(block_threads)
    by_strips(Map<const float> x, Map<const float> w, Geometry g, Output out) {
  using T = Tile<kernel, stride, width, planes>;
  auto& s = shared<T>();
  const TilePlace at = tile_place(out.y, T::height, width, planes);
  begin_tile(x, at.plane, at.row * stride - g.pad_h, at.column * stride - g.pad_w, s.x);
  for (int i = thread_x(); i < planes * T::taps; i += block_threads) {
    const int p = i / T::taps, tap = i - p * T::taps, from = turned ? T::taps - 1 - tap : tap;
    s.w(p, tap) = w((at.plane + p) % x.c, 0, from / kernel, from % kernel);
  }
  wait_for_copies<0>();
  __syncthreads();

  const Seat seat = seat_of_thread<width, planes>();
  float sums[strip] = {}, taps[T::taps];
#pragma unroll
  for (int i = 0; i < T::taps; ++i) taps[i] = s.w(seat.plane, i);
#pragma unroll
  for (int r = 0; r < (strip - 1) * stride + kernel; ++r) {
    float row[kernel];
#pragma unroll
    for (int v = 0; v < kernel; ++v) row[v] = s.x(seat.plane, seat.row * stride + r, seat.column * stride + v);
#pragma unroll
    for (int o = 0; o < strip; ++o) {
      const int u = r - o * stride;
      if (u < 0 || u >= kernel) continue;
#pragma unroll
      for (int v = 0; v < kernel; ++v) sums[o] = multiply_add(row[v], taps[u * kernel + v], sums[o]);
    }
  }

  const int n = (at.plane + seat.plane) / out.y.c, c = at.plane + seat.plane - n * out.y.c;
  const int first = at.row + seat.row, column = at.column + seat.column;
  if (n >= out.y.n || column >= out.y.w) return;
#pragma unroll
  for (int o = 0; o < strip; ++o)
    if (first + o < out.y.h) out.set(sums[o], n, c, first + o, column);
}

__global__ void __launch_bounds__(block_threads)
    forward_any(Map<const float> x, Map<const float> w, Geometry g, Output out) {
  const Pixel p = pixel_of(out.y);
  if (!p.inside) return;
  float sum = 0;
  for (int u = 0; u < w.h; ++u)
    for (int v = 0; v < w.w; ++v) {
      const int h = p.h * g.stride - g.pad_h + u * g.dilation, k = p.w * g.stride - g.pad_w + v * g.dilation;
      if (h >= 0 && h < x.h && k >= 0 && k < x.w) sum = multiply_add(w(p.c, 0, u, v), x(p.n, p.c, h, k), sum);
    }
  out.set(sum, p.n, p.c, p.h, p.w);
}

__global__ void __launch_bounds__(block_threads)
    backward_any(Map<const float> dy, Map<const float> w, Geometry g, Map<float> dx, Write write) {
  const Pixel p = pixel_of(dx);
  if (!p.inside) return;
  float sum = 0;
  for (int u = 0; u < w.h; ++u) {
    const int h = p.h + g.pad_h - u * g.dilation, i = h / g.stride;
    if (h < 0 || h % g.stride != 0 || i >= dy.h) continue;
    for (int v = 0; v < w.w; ++v) {
      const int k = p.w + g.pad_w - v * g.dilation, j = k / g.stride;
      if (k >= 0 && k % g.stride == 0 && j < dy.w) sum = multiply_add(w(p.c, 0, u, v), dy(p.n, p.c, i, j), sum);
    }
  }
  put(dx(p.n, p.c, p.h, p.w), sum, write);
}

// ---- Gradient of the weights

/// A band is what one block sums: some tiles, one after the other, of one channel of one image.
constexpr int grad_width = 32;

/// Enough bands for a thousand blocks, where there are so many tiles.
int bands_of(const Shape& w, const Shape& y) {
  constexpr index_t blocks = 1024;
  const int all =
      tiles(static_cast<int>(y.w), grad_width) * tiles(static_cast<int>(y.h), block_threads / grad_width * strip);
  const index_t wanted = blocks / (w.n * (y.n > 0 ? y.n : 1)) + 1;
  return wanted < all ? static_cast<int>(wanted) : all;
}

template <int kernel, int stride>
__global__ void __launch_bounds__(block_threads)
    sum_bands(Map<const float> x, Map<const float> dy, Geometry g, int bands, float* parts) {
  using T = Tile<kernel, stride, grad_width, 1>;
  auto& s = shared<Array<float, 1, T::rows, T::columns>>();
  auto& shared_sums = shared<SumsOfWarps<T::taps>>();
  const int plane = block_x() / bands, band = block_x() - plane * bands;  // plane = c * images + n
  const int c = plane / dy.n, n = plane - c * dy.n, across = tiles(dy.w, grad_width);
  const int all = across * tiles(dy.h, T::height), share = tiles(all, bands);
  const int last = min(all, (band + 1) * share);
  const Seat seat = seat_of_thread<grad_width, 1>();
  float sums[T::taps] = {};
  for (int tile = band * share; tile < last; ++tile) {
    const int row = tile / across * T::height, column = tile % across * grad_width, j = column + seat.column;
    begin_tile(x, n * x.c + c, row * stride - g.pad_h, column * stride - g.pad_w, s);
    float gradient[strip];
#pragma unroll
    for (int o = 0; o < strip; ++o) {
      const int i = row + seat.row + o;
      gradient[o] = i < dy.h && j < dy.w ? dy(n, c, i, j) : 0.F;
    }
    wait_for_copies<0>();
    __syncthreads();
#pragma unroll
    for (int r = 0; r < (strip - 1) * stride + kernel; ++r) {
      float line[kernel];
#pragma unroll
      for (int v = 0; v < kernel; ++v) line[v] = s(0, seat.row * stride + r, seat.column * stride + v);
#pragma unroll
      for (int o = 0; o < strip; ++o) {
        const int u = r - o * stride;
        if (u < 0 || u >= kernel) continue;
#pragma unroll
        for (int v = 0; v < kernel; ++v)
          sums[u * kernel + v] = multiply_add(gradient[o], line[v], sums[u * kernel + v]);
      }
    }
    __syncthreads();  // before the next tile comes
  }
  sum_over_warps(sums, shared_sums);
  if (thread_x() < T::taps)
    parts[static_cast<index_t>(block_x()) * T::taps + thread_x()] = sum_of_warps<T::taps>(shared_sums, thread_x());
}

/// dw[c,u,v] = the sum of its parts, in order.
__global__ void __launch_bounds__(block_threads) add_bands(const float* parts, int count, Map<float> dw, Write write) {
  const int taps = dw.h * dw.w, i = static_cast<int>(flat_index()), c = i / taps, tap = i - c * taps;
  if (c >= dw.n) return;
  float sum = 0;
  for (int p = 0; p < count; ++p) sum += parts[(static_cast<index_t>(c) * count + p) * taps + tap];
  put(dw(c, 0, tap / dw.w, tap % dw.w), sum, write);
}

/// One tap per block.
__global__ void __launch_bounds__(block_threads)
    weights_any(Map<const float> x, Map<const float> dy, Geometry g, Map<float> dw, Write write) {
  auto& shared_sums = shared<SumsOfWarps<1>>();
  const int taps = dw.h * dw.w, c = block_x() / taps, tap = block_x() - c * taps, u = tap / dw.w, v = tap - u * dw.w;
  float sum[1] = {};
  for (int n = 0; n < dy.n; ++n)
    for (int i = thread_x(); i < dy.h * dy.w; i += threads_x()) {
      const int row = i / dy.w, column = i - row * dy.w;
      const int h = row * g.stride - g.pad_h + u * g.dilation, w = column * g.stride - g.pad_w + v * g.dilation;
      if (h >= 0 && h < x.h && w >= 0 && w < x.w) sum[0] = multiply_add(dy(n, c, row, column), x(n, c, h, w), sum[0]);
    }
  sum_over_block(sum, shared_sums);
  if (thread_x() == 0) put(dw(c, 0, u, v), sum[0], write);
}

// ---- Choices

/// Which of the kernels for squares suits.
template <class F>
bool with_square_kernel(const Shape& w, const Conv2d& g, const F& f) {
  if (w.h != w.w || g.dilation != 1) return false;
  if (w.h == 3 && g.stride == 1) return f.template operator()<3, 1>(), true;
  if (w.h == 5 && g.stride == 1) return f.template operator()<5, 1>(), true;
  if (w.h == 3 && g.stride == 2) return f.template operator()<3, 2>(), true;
  if (w.h == 5 && g.stride == 2) return f.template operator()<5, 2>(), true;
  return false;
}

template <int kernel, int stride, int width, int planes, bool turned>
void run_strips(Stream& stream, const char* name, const View<const float>& x, const View<const float>& w,
                const Geometry& g, const Output& out) noexcept {
  using T = Tile<kernel, stride, width, planes>;
  const unsigned blocks = static_cast<unsigned>(tiles(out.y.w, width)) *
                          static_cast<unsigned>(tiles(out.y.h, T::height)) * ceil_div(out.y.n * out.y.c, planes);
  launch(stream, name, by_strips<kernel, stride, width, planes, turned>, Grid{{blocks}, {block_threads}}, map_of(x),
         map_of(w), g, out);
}

/// Tiles of 32 x 32, or of 16 x 16 of four planes where fewer threads of those have nothing to do.
template <int kernel, int stride, bool turned>
void run_strips(Stream& stream, const char* name, const View<const float>& x, const View<const float>& w,
                const Geometry& g, const Output& out) noexcept {
  constexpr int wide = 32, narrow = 16, planes = 4;
  const auto area = [&](int side) { return tiles(out.y.w, side) * tiles(out.y.h, side) * side * side; };
  if (area(wide) <= area(narrow)) return run_strips<kernel, stride, wide, 1, turned>(stream, name, x, w, g, out);
  run_strips<kernel, stride, narrow, planes, turned>(stream, name, x, w, g, out);
}

}  // namespace

void depthwise_fwd(Stream& stream, View<const float> x, View<const float> w, View<float> y, const Conv2d& geometry,
                   const fast::Finish& finish, Write write) noexcept {
  constexpr auto name = "depthwise_fwd";
  if (is_empty(y.shape)) return;
  const Geometry g = geometry_of(geometry);
  const Output out = output_of(y, finish, write);
  const bool done = with_square_kernel(w.shape, geometry, [&]<int kernel, int stride>() {
    run_strips<kernel, stride, false>(stream, name, x, w, g, out);
  });
  if (!done) launch(stream, name, forward_any, pixel_grid(y.shape), map_of(x), map_of(w), g, out);
}

void depthwise_bwd_x(Stream& stream, View<const float> dy, View<const float> w, View<float> dx, const Conv2d& geometry,
                     Write write) noexcept {
  constexpr auto name = "depthwise_bwd_x";
  if (is_empty(dx.shape)) return;
  const Geometry g = geometry_of(geometry);
  const bool done = geometry.stride == 1 && with_square_kernel(w.shape, geometry, [&]<int kernel, int stride>() {
                      const Geometry turned{1, kernel - 1 - g.pad_h, kernel - 1 - g.pad_w, 1};
                      if constexpr (stride == 1)
                        run_strips<kernel, 1, true>(stream, name, dy, w, turned, output_of(dx, {}, write));
                    });
  if (!done) launch(stream, name, backward_any, pixel_grid(dx.shape), map_of(dy), map_of(w), g, map_of(dx), write);
}

void depthwise_bwd_w(Stream& stream, View<const float> x, View<const float> dy, View<float> dw, const Conv2d& geometry,
                     float* workspace, Write write) noexcept {
  constexpr auto name = "depthwise_bwd_w";
  const index_t weights = dw.shape.n * dw.shape.h * dw.shape.w;
  if (weights == 0) return;
  const Geometry g = geometry_of(geometry);
  const int bands = bands_of(dw.shape, dy.shape), parts = static_cast<int>(dy.shape.n) * bands;
  const bool done = with_square_kernel(dw.shape, geometry, [&]<int kernel, int stride>() {
    const Grid grid{{static_cast<unsigned>(dw.shape.n * parts)}, {block_threads}};
    if (parts > 0) launch(stream, name, sum_bands<kernel, stride>, grid, map_of(x), map_of(dy), g, bands, workspace);
    launch(stream, name, add_bands, flat_grid(weights), workspace, parts, map_of(dw), write);
  });
  if (!done)
    launch(stream, name, weights_any, Grid{{static_cast<unsigned>(weights)}, {block_threads}}, map_of(x), map_of(dy), g,
           map_of(dw), write);
}

index_t depthwise_workspace(const Shape& w, const Shape& y) noexcept { return w.n * w.h * w.w * y.n * bands_of(w, y); }

}  // namespace slimneck::kernels::cuda
