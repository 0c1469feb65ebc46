// Depthwise convolution, forward and both adjoints:
//
//   y [n,c,i,j] = finish(sum_{u,v} w[c,u,v] x[n,c, is-ph+ud, js-pw+vd])
//   dx[n,c,h,k] = sum_{u,v} w[c,u,v] dy[n,c,i,j]      over is-ph+ud = h and js-pw+vd = k
//   dw[c,u,v] = sum_{n,i,j} dy[n,c,i,j] x[n,c, is-ph+ud, js-pw+vd]
//
// 3x3 and 5x5 of stride 1 and 2 go by strips (strips.hpp). The gradient of the data of stride 1 is such a convolution
// with turned weights. The gradient of the weights (bands.hpp) keeps a sum for every tap in registers, over a band of
// tiles, and has two stages. What is left goes one output per thread.
#include "kernels/cuda/bands.hpp"
#include "kernels/cuda/finish.hpp"
#include "kernels/cuda/fused.hpp"

namespace slimneck::kernels::cuda {

namespace {

/// Taps row by row; turned: from the last to the first. moments: none where they are without data.
template <int kernel, int stride>
__global__ void __launch_bounds__(block_threads)
    by_strips(Copied x, Map<const float> w, Geometry g, bool turned, StripTile tile, Output out, Moments moments) {
  auto& s = shared<StripMemory<kernel, stride>>();
  const TilePlace at = tile_place(tile);
  const Seat seat = seat_of_thread(tile);
  const Outputs own = outputs_of(tile, at, seat, out.y);
  const int rows = read_rows<kernel, stride>(tile), columns = read_columns<kernel, stride>(tile);
  begin_tile(x, at.plane, tile.planes, at.row * stride - g.pad_h, at.column * stride - g.pad_w, rows, columns, s.x);
  load_taps<kernel>(w, at.plane, tile.planes, turned, s.w);
  wait_for_copies<0>();
  __syncthreads();

  float sums[strip] = {}, middles[strip];
  if (own.rows > 0) {
    const int first = (seat.plane * rows + seat.row * stride) * columns + seat.column * stride;
    strip_sums<kernel, stride>(s.x, first, columns, s.w, seat.plane * kernel * kernel, sums, middles);
#pragma unroll
    for (int o = 0; o < strip; ++o)
      if (o < own.rows) out.set(sums[o], own.n, own.c, own.h + o, own.w);
  }
  if (moments.data) leave_moments(sums, tile, at, seat, own, out.y, moments);
}

__global__ void __launch_bounds__(block_threads)
    forward_any(PlacedMap<const float> x, Map<const float> w, Geometry g, Output out) {
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

template <int kernel, int stride>
__global__ void __launch_bounds__(block_threads)
    sum_bands(Copied x, Copied dy, Geometry g, StripTile tile, int bands, float* parts) {
  sum_band<kernel, stride>(x, dy, g, tile, bands, parts);
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

template <int kernel, int stride>
StripTile tile_of(const Shape& y) {
  return strip_tile<kernel, stride>(static_cast<int>(y.n * y.c), static_cast<int>(y.h), static_cast<int>(y.w));
}

template <int kernel, int stride>
void run_strips(Stream& stream, const char* name, const Half<const float>& x, const View<const float>& w,
                const Geometry& g, bool turned, const Shape& y, const Output& out, const Moments& moments) noexcept {
  const StripTile tile = tile_of<kernel, stride>(y);
  launch(stream, name, by_strips<kernel, stride>, strip_grid(tile, static_cast<int>(y.n * y.c)),
         Copied{placed_map_of(x)}, map_of(w), g, turned, tile, out, moments);
}

void depthwise(Stream& stream, const char* name, const Half<const float>& x, const View<const float>& w,
               const Half<float>& y, const Conv2d& geometry, const fast::Finish& finish, Write write,
               const Moments& moments) noexcept {
  const Output out = output_of(y, finish, write);
  const Shape shape{out.y.n, out.y.c, out.y.h, out.y.w};
  if (is_empty(shape)) return;
  const Geometry g = geometry_of(geometry);
  const bool done = !is_empty(x.view.shape) && with_square_kernel(w.shape, geometry, [&]<int kernel, int stride>() {
    run_strips<kernel, stride>(stream, name, x, w, g, false, shape, out, moments);
  });
  if (!done) launch(stream, name, forward_any, pixel_grid(shape), placed_map_of(x), map_of(w), g, out);
}

}  // namespace

void depthwise_fwd_moments(Stream& stream, const Half<const float>& x, View<const float> w, const Half<float>& y,
                           const Conv2d& geometry, const fast::Finish& finish, const Moments& moments) noexcept {
  depthwise(stream, "depthwise_fwd", x, w, y, geometry, finish, Write::set, moments);
}

int depthwise_moments(const Shape& w, const Shape& y, const Conv2d& geometry) noexcept {
  int parts = 0;
  with_square_kernel(w, geometry, [&]<int kernel, int stride>() {
    parts = parts_of_channel(tile_of<kernel, stride>(y), static_cast<int>(y.n));
  });
  return parts;
}

void depthwise_fwd(Stream& stream, View<const float> x, View<const float> w, View<float> y, const Conv2d& geometry,
                   const fast::Finish& finish, Write write) noexcept {
  depthwise(stream, "depthwise_fwd", x, w, y, geometry, finish, write, {});
}

void depthwise_bwd_x(Stream& stream, View<const float> dy, View<const float> w, View<float> dx, const Conv2d& geometry,
                     Write write) noexcept {
  constexpr auto name = "depthwise_bwd_x";
  if (is_empty(dx.shape)) return;
  const Geometry g = geometry_of(geometry);
  const bool done = geometry.stride == 1 && !is_empty(dy.shape) &&
                    with_square_kernel(w.shape, geometry, [&]<int kernel, int stride>() {
                      const Geometry back{1, kernel - 1 - g.pad_h, kernel - 1 - g.pad_w, 1};
                      if constexpr (stride == 1)
                        run_strips<kernel, 1>(stream, name, dy, w, back, true, dx.shape, output_of(dx, {}, write), {});
                    });
  if (!done) launch(stream, name, backward_any, pixel_grid(dx.shape), map_of(dy), map_of(w), g, map_of(dx), write);
}

void depthwise_bwd_w(Stream& stream, View<const float> x, View<const float> dy, View<float> dw, const Conv2d& geometry,
                     float* workspace, Write write) noexcept {
  constexpr auto name = "depthwise_bwd_w";
  if (dw.shape.n * dw.shape.h * dw.shape.w == 0) return;
  const Geometry g = geometry_of(geometry);
  const bool done = !is_empty(x.shape) && with_square_kernel(dw.shape, geometry, [&]<int kernel, int stride>() {
    const Bands<kernel, stride> bands(dy.shape);
    if (!is_empty(dy.shape))
      launch(stream, name, sum_bands<kernel, stride>, bands.grid(dy.shape), Copied{placed_map_of(x)},
             Copied{placed_map_of(dy)}, g, bands.tile, bands.count, workspace);
    bands.add(stream, name, dy.shape, workspace, dw, write);
  });
  if (!done)
    launch(stream, name, weights_any,
           Grid{{static_cast<unsigned>(dw.shape.n * dw.shape.h * dw.shape.w)}, {block_threads}}, map_of(x), map_of(dy),
           g, map_of(dw), write);
}

index_t depthwise_workspace(const Shape& w, const Shape& y) noexcept {
  // The stride is not known here; the largest of the four is little.
  index_t most = 0;
  const auto consider = [&](const auto& bands) {
    const index_t floats = bands.workspace(y);
    most = floats > most ? floats : most;
  };
  if (w.h == 3) consider(Bands<3, 1>(y)), consider(Bands<3, 2>(y));
  if (w.h == 5) consider(Bands<5, 1>(y)), consider(Bands<5, 2>(y));
  return most;
}

}  // namespace slimneck::kernels::cuda
