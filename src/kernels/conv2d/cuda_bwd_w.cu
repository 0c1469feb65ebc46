// Dense convolution, the adjoint in the weights:
//
//   dw[o,c,u,v] = sum_{n,i,j} dy[n,o,i,j] x[n, gC+c, is-ph+ud, js-pw+vd]
//
// A matrix product whose terms are the pixels. They are cut into slices, which a second kernel adds in order.
#include "kernels/conv2d/cuda_product.hpp"

namespace slimneck::kernels::cuda {

namespace {

/// Neighbours copy to different rows of shared memory: the gaps spread them over the banks.
using Small = Blocking<64, 16, 4, 4, 3>;
using Large = Blocking<128, 8, 8, 4, 2>;

/// Rows are output channels, columns (c, u, v), terms pixels of all images.
struct GradientProduct {
  Map<const float> x, dy;
  Divisor pixels, width;  ///< of dy
  int rows, columns, groups, kh, kw;
  int stride, pad_h, pad_w, dilation;
  int slices, slice_terms;
};

/// What a thread copies: one pixel of every `depth`, and some rows and columns, `lines` apart. Those past the last are
/// copies of the first: nobody asks for their sums.
template <class B>
struct PixelCopies {
  static constexpr int lines = block_threads / B::depth, count = B::rows / lines;
  int pixel, line;
  int rows[count], columns[count], u[count], v[count];  ///< offsets of rows and columns, and where columns read

  __device__ __forceinline__ PixelCopies(const GradientProduct& p, int group)
      : pixel(thread_x() % B::depth), line(thread_x() / B::depth) {
    const int taps = p.kh * p.kw, channels = p.columns / taps;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const int row = static_cast<int>(blockIdx.y) * B::rows + line + i * lines;
      const int at = static_cast<int>(blockIdx.x) * B::columns + line + i * lines, column = at < p.columns ? at : 0;
      const int c = column / taps, tap = column - c * taps;
      u[i] = tap / p.kw * p.dilation;
      v[i] = tap % p.kw * p.dilation;
      rows[i] = static_cast<int>((group * p.rows + (row < p.rows ? row : 0)) * p.dy.sc);
      columns[i] = static_cast<int>((group * channels + c) * p.x.sc + u[i] * p.x.sh + v[i] * p.x.sw);
    }
  }

  /// Terms from `term` on; `last` is the end of the slice.
  __device__ __forceinline__ void begin(const GradientProduct& p, int term, int last, int buffer,
                                        typename B::Slices& s) const {
    const int at = term + pixel, n = p.pixels.quotient(at), rest = at - n * p.dy.h * p.dy.w;
    const int i = p.width.quotient(rest), j = rest - i * p.dy.w, w = j * p.stride - p.pad_w;
    const int h = at < last ? i * p.stride - p.pad_h : nowhere;
    const float* const gradient = p.dy.data + n * p.dy.sn + offset(p.dy, i, j);
    const float* const first = p.x.data + n * p.x.sn + offset(p.x, i * p.stride - p.pad_h, w);
#pragma unroll
    for (int k = 0; k < count; ++k) {
      begin_copy(&s.w(buffer, pixel, line + k * lines), gradient + rows[k], at < last);
      begin_copy(&s.x(buffer, pixel, line + k * lines), first + columns[k], is_inside(p.x, h + u[k], w + v[k]));
    }
    close_copies();
  }
};

/// Sums of one slice, as rows x columns behind those of the slices before; groups follow each other.
template <class B>
__global__ void __launch_bounds__(block_threads, B::blocks) sum_slices(GradientProduct p, float* parts) {
  auto& s = shared<typename B::Slices>();
  const int group = static_cast<int>(blockIdx.z) / p.slices, slice = static_cast<int>(blockIdx.z) - group * p.slices;
  const int terms = p.dy.n * p.dy.h * p.dy.w, first = slice * p.slice_terms, last = min(terms, first + p.slice_terms);
  const PixelCopies<B> copies(p, group);
  typename B::Sums sums = {};
  copies.begin(p, first, last, 0, s);
  for (int term = first, buffer = 0; term < last; term += B::depth, buffer ^= 1) {
    wait_for_copies<0>();
    __syncthreads();  // this slice is there for all, and nobody reads the one before any more
    if (term + B::depth < last) copies.begin(p, term + B::depth, last, buffer ^ 1, s);
    B::multiply(s, buffer, sums);
  }
  parts += static_cast<index_t>(blockIdx.z) * p.rows * p.columns;
#pragma unroll
  for (int i = 0; i < B::passes; ++i) {
    const int row = static_cast<int>(blockIdx.y) * B::rows + B::row(B::row_seat(), i);
    if (row >= p.rows) continue;
#pragma unroll
    for (int j = 0; j < B::passes; ++j) {
      const int column = block_x() * B::columns + B::place(B::column_seat(), j);
      if (column < p.columns) parts[static_cast<index_t>(row) * p.columns + column] = sums[i][j];
    }
  }
}

/// dw = the sum of the slices, in order.
__global__ void __launch_bounds__(block_threads)
    add_slices(const float* parts, int slices, int rows, Map<float> dw, Write write) {
  const index_t columns = static_cast<index_t>(dw.c) * dw.h * dw.w, at = flat_index();
  const int o = static_cast<int>(at / columns), column = static_cast<int>(at - o * columns);
  if (o >= dw.n) return;
  const int group = o / rows, taps = dw.h * dw.w, c = column / taps, tap = column - c * taps;
  const float* own = parts + (static_cast<index_t>(group) * slices * rows + o - group * rows) * columns + column;
  float sum = 0;
  for (int i = 0; i < slices; ++i) sum += own[i * rows * columns];
  put(dw(o, c, tap / dw.w, tap % dw.w), sum, write);
}

// ---- Host

index_t tiles_of(const GradientProduct& p, int side) {
  return static_cast<index_t>(ceil_div(p.rows, side)) * ceil_div(p.columns, side);
}

/// Large tiles unless much of them would be empty.
bool wants_large(const GradientProduct& p) {
  constexpr index_t small_ones = 4, slack = 8;  // in a large one; an eighth more is as good
  return slack * small_ones * tiles_of(p, Large::rows) <= (slack + 1) * tiles_of(p, Small::rows);
}

/// Slices of the gradient of weights: enough blocks for four in each multiprocessor of large devices, if there are so
/// many pixels.
GradientProduct gradient_product(const Shape& w, const Shape& y, const Conv2d& g) {
  constexpr unsigned enough = 528;
  constexpr index_t least_terms = 64;
  GradientProduct p{};
  p.groups = static_cast<int>(g.groups);
  p.rows = static_cast<int>(w.n / g.groups);
  p.columns = static_cast<int>(w.c * w.h * w.w);
  p.kh = static_cast<int>(w.h);
  p.kw = static_cast<int>(w.w);
  p.pixels = divisor(y.h * y.w);
  p.width = divisor(y.w);
  p.stride = static_cast<int>(g.stride);
  p.pad_h = static_cast<int>(g.pad_h);
  p.pad_w = static_cast<int>(g.pad_w);
  p.dilation = static_cast<int>(g.dilation);
  const index_t terms = y.n * y.h * y.w;
  const index_t blocks = tiles_of(p, wants_large(p) ? Large::rows : Small::rows) * p.groups;
  const unsigned wanted = ceil_div(enough, blocks > 0 ? blocks : 1), most = ceil_div(terms, least_terms);
  const index_t slices = wanted < most ? wanted : most > 0 ? most : 1;
  p.slice_terms = round_up(ceil_div(terms, slices), term_multiple);
  p.slices = static_cast<int>(slices);
  return p;
}

}  // namespace

void conv2d_bwd_w(Stream& stream, View<const float> x, View<const float> dy, View<float> dw, const Conv2d& g,
                  float* workspace, Write write) noexcept {
  constexpr auto name = "conv2d_bwd_w";
  if (is_empty(dw.shape)) return;
  GradientProduct p = gradient_product(dw.shape, dy.shape, g);
  p.x = map_of(x);
  p.dy = map_of(dy);
  const bool large = wants_large(p);
  const int side = large ? Large::rows : Small::rows;
  const Extent blocks{ceil_div(p.columns, side), ceil_div(p.rows, side), static_cast<unsigned>(p.groups * p.slices)};
  launch(stream, name, large ? sum_slices<Large> : sum_slices<Small>, Grid{blocks, {block_threads}}, p, workspace);
  launch(stream, name, add_slices, flat_grid(dw.shape.n * p.columns), workspace, p.slices, p.rows, map_of(dw), write);
}

index_t conv2d_bwd_w_workspace(const Shape& w, const Shape& y, const Conv2d& g) noexcept {
  const GradientProduct p = gradient_product(w, y, g);
  return static_cast<index_t>(p.slices) * w.n * p.columns;
}

}  // namespace slimneck::kernels::cuda
