// The gradient of depthwise weights, for .cu files: dw[c,u,v] = sum_{n,i,j} dy[n,c,i,j] x[n,c, is-ph+u, js-pw+v]. A
// band is what one block sums, with a sum for every tap in the registers of each thread: some tiles of the planes of
// one channel, one after the other. A second kernel adds the bands in order.
#pragma once

#include "kernels/cuda/strips.hpp"

namespace slimneck::kernels::cuda {

/// The sums of the block's band: band number `block_x() % bands` of channel `block_x() / bands`.
template <int kernel, int stride, class Source, class Gradient>
__device__ __forceinline__ void sum_band(const Source& x, const Gradient& dy, const Geometry& g, const StripTile& tile,
                                         int bands, float* parts) {
  constexpr int taps = kernel * kernel;
  auto& s = shared<Array<float, StripMemory<kernel, stride>::most>>();
  auto& shared_sums = shared<SumsOfWarps<taps>>();
  const Map<const float>& map = dy.shape();
  const int c = block_x() / bands, band = block_x() - c * bands;
  const int all = map.n * tile.in_plane(), share = tiles(all, bands), last = min(all, (band + 1) * share);
  const int rows = read_rows<kernel, stride>(tile), columns = read_columns<kernel, stride>(tile);
  const Seat seat = seat_of_thread(tile);
  float sums[taps] = {};
  for (int number = band * share; number < last; ++number) {
    const int n = number / tile.in_plane(), place = number - n * tile.in_plane(), down = place / tile.across;
    const int row = down * tile.height(), column = (place - down * tile.across) * tile.width, j = column + seat.column;
    begin_tile(x, n * map.c + c, 1, row * stride - g.pad_h, column * stride - g.pad_w, rows, columns, s);
    const auto plane = dy.plane(n, c);
    float gradient[strip];
#pragma unroll
    for (int o = 0; o < strip; ++o) {
      const int i = row + seat.row + o;
      gradient[o] = seat.plane == 0 && i < map.h && j < map.w ? plane.value(i, j) : 0.F;
    }
    wait_for_copies<0>();
    __syncthreads();
    if (seat.plane == 0) {
      const int first = seat.row * stride * columns + seat.column * stride;
#pragma unroll
      for (int r = 0; r < (strip - 1) * stride + kernel; ++r) {
        float line[kernel];
#pragma unroll
        for (int v = 0; v < kernel; ++v) line[v] = s(first + r * columns + v);
#pragma unroll
        for (int o = 0; o < strip; ++o) {
          const int u = r - o * stride;
          if (u < 0 || u >= kernel) continue;
#pragma unroll
          for (int v = 0; v < kernel; ++v)
            sums[u * kernel + v] = multiply_add(gradient[o], line[v], sums[u * kernel + v]);
        }
      }
    }
    __syncthreads();  // before the next tile comes
  }
  sum_over_warps(sums, shared_sums);
  for (int tap = thread_x(); tap < taps; tap += threads_x())
    parts[static_cast<index_t>(block_x()) * taps + tap] = sum_of_warps<taps>(shared_sums, tap);
}

/// dw[c,u,v] = the sum of its bands, in order.
static __global__ void __launch_bounds__(block_threads)
    add_bands(const float* parts, int count, Map<float> dw, Write write) {
  const int taps = dw.h * dw.w, i = static_cast<int>(flat_index()), c = i / taps, tap = i - c * taps;
  if (c >= dw.n) return;
  float sum = 0;
  for (int p = 0; p < count; ++p) sum += parts[(static_cast<index_t>(c) * count + p) * taps + tap];
  put(dw(c, 0, tap / dw.w, tap % dw.w), sum, write);
}

/// How the sums of maps of one shape are cut: enough bands for a thousand blocks, where there are so many tiles.
template <int kernel, int stride>
struct Bands {
  StripTile tile{};
  int count = 0;  ///< of each channel

  explicit Bands(const Shape& y) {
    if (is_empty(y)) return;
    constexpr index_t blocks = 1024;
    tile = strip_tile<kernel, stride>(1, static_cast<int>(y.h), static_cast<int>(y.w));
    const index_t all = y.n * tile.in_plane(), wanted = blocks / y.c + 1;
    count = static_cast<int>(wanted < all ? wanted : all);
  }
  [[nodiscard]] Grid grid(const Shape& y) const {
    return {{static_cast<unsigned>(y.c * count)}, {strip_threads(tile)}};
  }
  [[nodiscard]] index_t workspace(const Shape& y) const { return y.c * count * kernel * kernel; }
  /// The second stage.
  void add(Stream& stream, const char* name, const Shape& y, const float* parts, const View<float>& dw,
           Write write) const noexcept {
    launch(stream, name, add_bands, flat_grid(dw.shape.n * kernel * kernel), parts, is_empty(y) ? 0 : count, map_of(dw),
           write);
  }
};

}  // namespace slimneck::kernels::cuda
