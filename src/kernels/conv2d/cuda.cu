// Dense convolution, forward and both adjoints, any stride, padding, dilation and groups; C = c/groups:
//
//   y [n,o,i,j] = finish(sum_{c,u,v} w[o,c,u,v] x[n, gC+c, is-ph+ud, js-pw+vd])
//   dx[n,gC+c,h,k] = sum_{o,u,v} w[o,c,u,v] dy[n,o,i,j]      over is-ph+ud = h and js-pw+vd = k
//   dw[o,c,u,v] = sum_{n,i,j} dy[n,o,i,j] x[n, gC+c, is-ph+ud, js-pw+vd]
//
// Forward and data gradient are one matrix product: rows are channels of the result, columns its pixels, and the sum
// goes over terms (channel, u, v). Weights are packed first, so that a slice of terms is a block of rows side by side;
// with them goes a table that says where each term lies from a pixel's first one, so that no index is divided in the
// loop. Both come into shared memory by asynchronous copies, two slices in turns. The data gradient of stride s is s x
// s such products, one for each remainder that a pixel can have, over the taps that reach it.
//
// The gradient of the weights has the pixels as terms. They are cut into slices, which a second kernel adds in order.
#include "kernels/cuda/finish.hpp"
#include "kernels/cuda/fused.hpp"
#include "kernels/cuda/ptx.hpp"

namespace slimneck::kernels::cuda {

namespace {

constexpr int vector = 4;
/// Packed weights have whole tiles of both sizes, and whole slices.
constexpr int row_multiple = 128, term_multiple = 16;

int round_up(index_t a, int to) { return static_cast<int>((a + to - 1) / to * to); }

/// A row or column that no picture has; the sum of two is none either.
constexpr int nowhere = -(1 << 30);

/// Where a term lies from the first one of a pixel: in floats, and in rows and columns.
struct alignas(16) Term {
  int offset, row, column;
};

/// One product: what is read, which pixels are written, and how many terms there are.
struct Product {
  Map<const float> x;
  const float* weights;  ///< packed
  const Term* terms;
  int rows, groups, packed_rows, packed_terms;
  int grid_h, grid_w;          ///< pixels of an image that are written
  int step, first_h, first_w;  ///< pixel (i, j) reads from (i step + first_h, j step + first_w) on
  int out_step, out_h, out_w;  ///< and is written to (i out_step + out_h, ...)
};

// ---- Packing

/// Taps u of one direction that reach pixels of one remainder: u d = remainder modulo the stride. Forward: all of them.
struct Taps {
  int count, first, step;  ///< u = first + i step
  int at, distance;        ///< of the i-th: at + i distance
};

/// What is packed: rows are channels of the result, terms are (channel, i, j).
struct Packing {
  Map<const float> w;
  int rows, channels, groups;
  bool transposed;  ///< rows are the input channels of w
  Taps h, v;
  int packed_rows, packed_terms;
  index_t sc, sh, sw;  ///< strides of what is read
};

/// One term of one group per block row; threads go along the rows of the product.
__global__ void __launch_bounds__(block_threads) pack(Packing p, float* weights, Term* terms) {
  const int across = (p.packed_rows + threads_x() - 1) / threads_x(), line = block_x() / across;
  const int group = line / p.packed_terms, term = line - group * p.packed_terms;
  const int row = (block_x() - line * across) * threads_x() + thread_x();
  const int taps = p.h.count * p.v.count, channel = term / taps, tap = term - channel * taps;
  const int i = tap / p.v.count, j = tap - i * p.v.count;
  const bool inside = channel < p.channels;
  if (row < p.packed_rows) {
    float value = 0;
    if (inside && row < p.rows) {
      const int u = p.h.first + i * p.h.step, v = p.v.first + j * p.v.step;
      value = p.transposed ? p.w(group * p.channels + channel, row, u, v) : p.w(group * p.rows + row, channel, u, v);
    }
    weights[static_cast<index_t>(line) * p.packed_rows + row] = value;
  }
  if (group > 0 || row > 0) return;
  // Terms past the last lie outside of every picture.
  const int h = p.h.at + i * p.h.distance, w = p.v.at + j * p.v.distance;
  const int offset = static_cast<int>(channel * p.sc + h * p.sh + w * p.sw);
  terms[term] = inside ? Term{offset, h, w} : Term{0, nowhere, 0};
}

// ---- The product

/// A square of `side` x `side` results per block, `own` x `own` of them per thread, `depth` terms at a time; rows of
/// shared memory have `gap` floats more than they need; so many blocks shall fit into a multiprocessor.
template <int side, int depth_, int own, int gap_, int blocks_>
struct Blocking {
  static constexpr int rows = side, columns = side, depth = depth_, per_row = own, per_column = own, gap = gap_;
  static constexpr int blocks = blocks_;
  static_assert(rows / per_row * (columns / per_column) == block_threads);

  /// A thread's numbers are groups of four, as far apart as the threads of a group reach: neighbours read neighbours.
  static constexpr int row_threads = rows / per_row, column_threads = columns / per_column;
  __device__ static constexpr int row(int seat, int i) {
    return i / vector * row_threads * vector + seat * vector + i % vector;
  }
  __device__ static constexpr int column(int seat, int j) {
    return j / vector * column_threads * vector + seat * vector + j % vector;
  }
};

using Small = Blocking<64, 16, 4, 0, 4>;
using Large = Blocking<128, 8, 8, 0, 2>;
/// Of the gradient of weights, where neighbours copy to different rows: the gap spreads them over the banks.
using Gradient = Blocking<64, 16, 4, 4, 3>;

template <class B>
struct Slices {
  Array<float, 2, B::depth, B::rows + B::gap> w;
  Array<float, 2, B::depth, B::columns + B::gap> x;
};

/// One row of results for each thread row, on their way out.
template <class B>
union Memory {
  Slices<B> slices;
  Array<float, B::row_threads, B::columns> results;
};

/// sums += the product of a slice.
template <class B>
__device__ __forceinline__ void multiply(Slices<B>& s, int buffer, int row_seat, int column_seat,
                                         float (&sums)[B::per_row][B::per_column]) {
#pragma unroll 4  // all of it at once takes more registers than two blocks have on sm_120
  for (int k = 0; k < B::depth; ++k) {
    float w[B::per_row], x[B::per_column];
#pragma unroll
    for (int i = 0; i < B::per_row; i += vector)
      *reinterpret_cast<float4*>(w + i) = *reinterpret_cast<const float4*>(&s.w(buffer, k, B::row(row_seat, i)));
#pragma unroll
    for (int j = 0; j < B::per_column; j += vector)
      *reinterpret_cast<float4*>(x + j) = *reinterpret_cast<const float4*>(&s.x(buffer, k, B::column(column_seat, j)));
#pragma unroll
    for (int i = 0; i < B::per_row; ++i)
#pragma unroll
      for (int j = 0; j < B::per_column; ++j) sums[i][j] = multiply_add(w[i], x[j], sums[i][j]);
  }
}

/// A pixel of the result: its image, and its place among those that are written.
struct Place2d {
  int n, i, j;
};

__device__ __forceinline__ Place2d place_of(const Product& p, int pixel) {
  const int pixels = p.grid_h * p.grid_w, n = pixel / pixels, at = pixel - n * pixels, i = at / p.grid_w;
  return {n, i, at - i * p.grid_w};
}

/// What a thread copies of x: one column of every slice of terms, each block_threads / columns-th term.
template <class B>
struct Column {
  static constexpr int step = block_threads / B::columns;
  const float* first;
  int h, w;

  /// Its pixel among all columns of the product, and the first of its terms in a slice.
  __device__ static __forceinline__ int pixel() { return static_cast<int>(blockIdx.x) * B::columns + at(); }
  __device__ static __forceinline__ int at() { return thread_x() % B::columns; }
  __device__ static __forceinline__ int term() { return thread_x() / B::columns; }

  __device__ __forceinline__ Column(const Product& p, int group) {
    const Place2d place = place_of(p, pixel());
    const bool inside = place.n < p.x.n;
    w = place.j * p.step + p.first_w;
    h = inside ? place.i * p.step + p.first_h : nowhere;
    first =
        inside ? p.x.data + place.n * p.x.sn + group * (p.x.c / p.groups) * p.x.sc + h * p.x.sh + w * p.x.sw : nullptr;
  }

  __device__ __forceinline__ void begin(const Product& p, int begin, int buffer, Slices<B>& s) const {
#pragma unroll
    for (int k = 0; k < B::depth; k += step) {
      const Term t = p.terms[begin + term() + k];
      const bool there = static_cast<unsigned>(h + t.row) < static_cast<unsigned>(p.x.h) &&
                         static_cast<unsigned>(w + t.column) < static_cast<unsigned>(p.x.w);
      begin_copy(&s.x(buffer, term() + k, at()), there ? first + t.offset : p.x.data, there);
    }
  }
};

/// Packed weights lie as the slices do: vectors of four, all there.
template <class B>
__device__ __forceinline__ void begin_weights(const Product& p, int begin, int buffer, Slices<B>& s) {
  constexpr int vectors = B::rows / vector, step = block_threads / vectors;
  static_assert(B::depth % step == 0);
  const int row = thread_x() % vectors * vector, first = thread_x() / vectors;
  const int line = static_cast<int>(blockIdx.z) * p.packed_terms + begin + first;
#pragma unroll
  for (int k = 0; k < B::depth; k += step)
    begin_copy(reinterpret_cast<float4*>(&s.w(buffer, first + k, row)),
               reinterpret_cast<const float4*>(p.weights + static_cast<index_t>(line + k) * p.packed_rows +
                                               static_cast<int>(blockIdx.y) * B::rows + row),
               true);
}

/// The moments of rows `i` of the thread rows, as they lie in shared memory; a row is some neighbours' in a warp.
template <class B>
__device__ __forceinline__ void leave_moments(Memory<B>& memory, const Product& p, int group, int i,
                                              const Moments& moments) {
  constexpr int lanes = block_threads / B::row_threads;
  static_assert(warp % lanes == 0);
  const int seat = thread_x() / lanes, lane = thread_x() % lanes;
  const int all = p.x.n * p.grid_h * p.grid_w, count = min(B::columns, all - block_x() * B::columns);
  const auto sum_over_row = [&](float sum) {
#pragma unroll
    for (int apart = lanes / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(whole_warp, sum, apart);
    return sum;
  };
  float sum = 0, squares = 0;
  for (int at = lane; at < count; at += lanes) sum += memory.results(seat, at);
  const float mean = sum_over_row(sum) / static_cast<float>(count);
  for (int at = lane; at < count; at += lanes) {
    const float difference = memory.results(seat, at) - mean;
    squares = multiply_add(difference, difference, squares);
  }
  squares = sum_over_row(squares);
  const int row = static_cast<int>(blockIdx.y) * B::rows + B::row(seat, i);
  if (lane == 0 && row < p.rows)
    set_moments(moments, group * p.rows + row, block_x(), static_cast<float>(count), mean, squares);
}

template <class B>
__global__ void __launch_bounds__(block_threads, B::blocks) product(Product p, Output out, Moments moments) {
  auto& memory = shared<Memory<B>>();
  Slices<B>& s = memory.slices;
  const int group = static_cast<int>(blockIdx.z), row_seat = thread_x() / B::column_threads;
  const int column_seat = thread_x() % B::column_threads;
  const Column<B> column(p, group);
  float sums[B::per_row][B::per_column] = {};

  const auto begin = [&](int term, int buffer) {
    begin_weights(p, term, buffer, s);
    column.begin(p, term, buffer, s);
    close_copies();
  };
  begin(0, 0);
  for (int term = 0, buffer = 0; term < p.packed_terms; term += B::depth, buffer ^= 1) {
    wait_for_copies<0>();
    __syncthreads();  // this slice is there for all, and nobody reads the one before any more
    if (term + B::depth < p.packed_terms) begin(term + B::depth, buffer ^ 1);
    multiply<B>(s, buffer, row_seat, column_seat, sums);
  }

  // Rows of the result go through shared memory: neighbours then write neighbours, and the activation is there once.
  const Place2d at = place_of(p, Column<B>::pixel());
#pragma unroll 1
  for (int i = 0; i < B::per_row; ++i) {
    __syncthreads();
#pragma unroll
    for (int k = 0; k < B::per_row; ++k)
      if (k == i)
#pragma unroll
        for (int j = 0; j < B::per_column; ++j) memory.results(row_seat, B::column(column_seat, j)) = sums[k][j];
    __syncthreads();
    if (moments.data) leave_moments<B>(memory, p, group, i, moments);
    if (at.n >= p.x.n) continue;
#pragma unroll 1
    for (int seat = Column<B>::term(); seat < B::row_threads; seat += Column<B>::step) {
      const int row = static_cast<int>(blockIdx.y) * B::rows + B::row(seat, i);
      if (row < p.rows)
        out.set(memory.results(seat, Column<B>::at()), at.n, group * p.rows + row, at.i * p.out_step + p.out_h,
                at.j * p.out_step + p.out_w);
    }
  }
}

// ---- Gradient of the weights

/// Rows are output channels, columns (c, u, v), terms pixels of all images.
struct GradientProduct {
  Map<const float> x, dy;
  int rows, columns, groups, kh, kw;
  int stride, pad_h, pad_w, dilation;
  int slices, slice_terms;
};

/// What a thread copies: one pixel of every `depth`, and each sixteenth row and column.
struct PixelCopies {
  static constexpr int lines = block_threads / Gradient::depth, count = Gradient::rows / lines;
  int pixel, line;
  int rows[count], columns[count], u[count], v[count];  ///< offsets of rows and columns, -1 for none

  __device__ __forceinline__ PixelCopies(const GradientProduct& p, int group)
      : pixel(thread_x() % Gradient::depth), line(thread_x() / Gradient::depth) {
    const int taps = p.kh * p.kw, channels = p.columns / taps;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const int row = static_cast<int>(blockIdx.y) * Gradient::rows + line + i * lines;
      const int column = static_cast<int>(blockIdx.x) * Gradient::columns + line + i * lines;
      const int c = column / taps, tap = column - c * taps;
      u[i] = tap / p.kw * p.dilation;
      v[i] = tap % p.kw * p.dilation;
      rows[i] = row < p.rows ? static_cast<int>((group * p.rows + row) * p.dy.sc) : -1;
      columns[i] =
          column < p.columns ? static_cast<int>((group * channels + c) * p.x.sc + u[i] * p.x.sh + v[i] * p.x.sw) : -1;
    }
  }

  /// Terms from `term` on; `last` is the end of the slice.
  __device__ __forceinline__ void begin(const GradientProduct& p, int term, int last, int buffer,
                                        Slices<Gradient>& s) const {
    const int at = term + pixel, pixels = p.dy.h * p.dy.w, n = at / pixels, rest = at - n * pixels;
    const int i = rest / p.dy.w, j = rest - i * p.dy.w, h = i * p.stride - p.pad_h, w = j * p.stride - p.pad_w;
    const index_t first = n * p.x.sn + h * p.x.sh + w * p.x.sw, gradient = n * p.dy.sn + i * p.dy.sh + j * p.dy.sw;
#pragma unroll
    for (int k = 0; k < count; ++k) {
      const bool row = at < last && rows[k] >= 0;
      const bool column = at < last && columns[k] >= 0 &&
                          static_cast<unsigned>(h + u[k]) < static_cast<unsigned>(p.x.h) &&
                          static_cast<unsigned>(w + v[k]) < static_cast<unsigned>(p.x.w);
      begin_copy(&s.w(buffer, pixel, line + k * lines), p.dy.data + (row ? gradient + rows[k] : 0), row);
      begin_copy(&s.x(buffer, pixel, line + k * lines), p.x.data + (column ? first + columns[k] : 0), column);
    }
    close_copies();
  }
};

/// Sums of one slice, as rows x columns behind those of the slices before; groups follow each other.
__global__ void __launch_bounds__(block_threads, Gradient::blocks) sum_slices(GradientProduct p, float* parts) {
  auto& s = shared<Slices<Gradient>>();
  const int group = static_cast<int>(blockIdx.z) / p.slices, slice = static_cast<int>(blockIdx.z) - group * p.slices;
  const int terms = p.dy.n * p.dy.h * p.dy.w, first = slice * p.slice_terms, last = min(terms, first + p.slice_terms);
  const int row_seat = thread_x() / Gradient::column_threads, column_seat = thread_x() % Gradient::column_threads;
  const PixelCopies copies(p, group);
  float sums[Gradient::per_row][Gradient::per_column] = {};
  copies.begin(p, first, last, 0, s);
  for (int term = first, buffer = 0; term < last; term += Gradient::depth, buffer ^= 1) {
    wait_for_copies<0>();
    __syncthreads();  // as in product
    if (term + Gradient::depth < last) copies.begin(p, term + Gradient::depth, last, buffer ^ 1, s);
    multiply<Gradient>(s, buffer, row_seat, column_seat, sums);
  }
  parts += static_cast<index_t>(blockIdx.z) * p.rows * p.columns;
#pragma unroll
  for (int i = 0; i < Gradient::per_row; ++i)
#pragma unroll
    for (int j = 0; j < Gradient::per_column; ++j) {
      const int row = static_cast<int>(blockIdx.y) * Gradient::rows + Gradient::row(row_seat, i);
      const int column = static_cast<int>(blockIdx.x) * Gradient::columns + Gradient::column(column_seat, j);
      if (row < p.rows && column < p.columns) parts[static_cast<index_t>(row) * p.columns + column] = sums[i][j];
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

/// Room for packed weights and their terms.
index_t packed_floats(const Packing& p) {
  return static_cast<index_t>(p.groups) * p.packed_terms * p.packed_rows +
         p.packed_terms * static_cast<index_t>(sizeof(Term) / sizeof(float));
}

/// Extents of what is packed; w may be without data.
Packing packing_of(const View<const float>& w, index_t groups, bool transposed, const Taps& h, const Taps& v,
                   const View<const float>& read) {
  Packing p{};
  p.w = map_of(w);
  p.groups = static_cast<int>(groups);
  p.rows = static_cast<int>(transposed ? w.shape.c : w.shape.n / groups);
  p.channels = static_cast<int>(transposed ? w.shape.n / groups : w.shape.c);
  p.transposed = transposed;
  p.h = h;
  p.v = v;
  if (h.count * v.count == 0) {  // no tap reaches these pixels: zeros
    p.channels = 0;
    p.h = p.v = Taps{1, 0, 0, 0, 0};
  }
  p.packed_rows = round_up(p.rows, row_multiple);
  const int terms = p.channels * p.h.count * p.v.count;
  p.packed_terms = round_up(terms > 0 ? terms : 1, term_multiple);
  p.sc = read.sc;
  p.sh = read.sh;
  p.sw = read.sw;
  return p;
}

template <class B>
void run_product(Stream& stream, const char* name, const Product& p, const Output& out, const Moments& moments,
                 unsigned columns) noexcept {
  const Extent blocks{ceil_div(columns, B::columns), ceil_div(p.rows, B::rows), static_cast<unsigned>(p.groups)};
  launch(stream, name, product<B>, Grid{blocks, {block_threads}}, p, out, moments);
}

/// Large tiles where they make enough blocks for two in each multiprocessor of large devices.
bool wants_large(index_t rows, index_t columns, index_t groups) {
  constexpr index_t enough = 264;
  return rows > Small::rows && ceil_div(columns, Large::columns) * ceil_div(rows, Large::rows) * groups >= enough;
}

index_t packed_lines(const Packing& p) { return static_cast<index_t>(p.groups) * p.packed_terms; }

/// Weights, then their terms.
void run_pack(Stream& stream, const char* name, const Packing& p, float* packed) noexcept {
  const index_t lines = packed_lines(p);
  const unsigned threads = threads_for(p.packed_rows);
  const Grid grid{{static_cast<unsigned>(lines) * ceil_div(p.packed_rows, threads)}, {threads}};
  launch(stream, name, pack, grid, p, packed, reinterpret_cast<Term*>(packed + lines * p.packed_rows));
}

/// Multiplies by what was packed.
void run_packed(Stream& stream, const char* name, const Packing& packing, Product p, const Output& out,
                const Moments& moments, const float* packed) noexcept {
  p.weights = packed;
  p.terms = reinterpret_cast<const Term*>(packed + packed_lines(packing) * packing.packed_rows);
  p.rows = packing.rows;
  p.packed_rows = packing.packed_rows;
  p.packed_terms = packing.packed_terms;
  const unsigned columns = static_cast<unsigned>(p.x.n) * static_cast<unsigned>(p.grid_h * p.grid_w);
  if (wants_large(p.rows, columns, p.groups))
    run_product<Large>(stream, name, p, out, moments, columns);
  else
    run_product<Small>(stream, name, p, out, moments, columns);
}

void run(Stream& stream, const char* name, const Packing& packing, const Product& p, const Output& out,
         const Moments& moments, float* workspace) noexcept {
  run_pack(stream, name, packing, workspace);
  run_packed(stream, name, packing, p, out, moments, workspace);
}

Taps forward_taps(index_t kernel, index_t dilation) {
  return {static_cast<int>(kernel), 0, 1, 0, static_cast<int>(dilation)};
}

/// Taps that reach pixels whose place, padding counted, has this remainder modulo the stride.
Taps backward_taps(int kernel, int stride, int dilation, int remainder) {
  Taps t{};
  t.first = -1;
  for (int u = 0; u < kernel; ++u) {
    if (u * dilation % stride != remainder) continue;
    if (t.count == 0) t.first = u;
    if (t.count == 1) t.step = u - t.first;
    ++t.count;
  }
  if (t.count == 0) return {0, 0, 0, 0, 0};
  t.at = -(t.first * dilation - remainder) / stride;
  t.distance = -t.step * dilation / stride;
  return t;
}

/// Pixels of one direction that have a remainder.
struct Pixels {
  int first, count;  ///< of the result, a stride apart
  int read;          ///< where the first one reads
};

Pixels pixels_of(int extent, int stride, int pad, int remainder) {
  const int first = ((remainder - pad) % stride + stride) % stride;
  return {first, first < extent ? (extent - first + stride - 1) / stride : 0, (first + pad - remainder) / stride};
}

/// f(taps and pixels of rows, of columns) for every remainder of the data gradient that has pixels.
template <class F>
void for_each_remainder(const Shape& w, const Shape& dx, const Conv2d& g, const F& f) {
  const int stride = static_cast<int>(g.stride), dilation = static_cast<int>(g.dilation);
  for (int h = 0; h < stride; ++h)
    for (int v = 0; v < stride; ++v) {
      const Pixels rows = pixels_of(static_cast<int>(dx.h), stride, static_cast<int>(g.pad_h), h);
      const Pixels columns = pixels_of(static_cast<int>(dx.w), stride, static_cast<int>(g.pad_w), v);
      if (rows.count == 0 || columns.count == 0) continue;
      f(backward_taps(static_cast<int>(w.h), stride, dilation, h),
        backward_taps(static_cast<int>(w.w), stride, dilation, v), rows, columns);
    }
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
  p.stride = static_cast<int>(g.stride);
  p.pad_h = static_cast<int>(g.pad_h);
  p.pad_w = static_cast<int>(g.pad_w);
  p.dilation = static_cast<int>(g.dilation);
  const index_t terms = y.n * y.h * y.w;
  const unsigned blocks =
      ceil_div(p.rows, Gradient::rows) * ceil_div(p.columns, Gradient::columns) * static_cast<unsigned>(p.groups);
  const unsigned wanted = ceil_div(enough, blocks > 0 ? blocks : 1), most = ceil_div(terms, least_terms);
  const index_t slices = wanted < most ? wanted : most > 0 ? most : 1;
  p.slice_terms = round_up(ceil_div(terms, slices), Gradient::depth);
  p.slices = static_cast<int>(slices);
  return p;
}

Packing forward_packing(const View<const float>& x, const View<const float>& w, const Conv2d& g) {
  return packing_of(w, g.groups, false, forward_taps(w.shape.h, g.dilation), forward_taps(w.shape.w, g.dilation), x);
}

Product forward_product(const View<const float>& x, const Shape& y, const Conv2d& g) {
  Product p{};
  p.x = map_of(x);
  p.groups = static_cast<int>(g.groups);
  p.grid_h = static_cast<int>(y.h);
  p.grid_w = static_cast<int>(y.w);
  p.step = static_cast<int>(g.stride);
  p.first_h = static_cast<int>(-g.pad_h);
  p.first_w = static_cast<int>(-g.pad_w);
  p.out_step = 1;
  return p;
}

}  // namespace

void conv2d_fwd_moments(Stream& stream, View<const float> x, View<const float> w, const Half<float>& y, const Conv2d& g,
                        const fast::Finish& finish, float* workspace, Write write, const Moments& moments) noexcept {
  if (is_empty(y.view.shape)) return;
  run(stream, "conv2d_fwd", forward_packing(x, w, g), forward_product(x, y.view.shape, g), output_of(y, finish, write),
      moments, workspace);
}

int conv2d_moments(const Shape& w, const Shape& y, const Conv2d& g) noexcept {
  const index_t columns = y.n * y.h * y.w;
  return static_cast<int>(
      ceil_div(columns, wants_large(w.n / g.groups, columns, g.groups) ? Large::columns : Small::columns));
}

void conv2d_fwd(Stream& stream, View<const float> x, View<const float> w, View<float> y, const Conv2d& g,
                const fast::Finish& finish, float* workspace, Write write) noexcept {
  conv2d_fwd_moments(stream, x, w, y, g, finish, workspace, write, {});
}

index_t conv2d_packed_size(const Shape& w, const Conv2d& g) noexcept {
  return packed_floats(forward_packing({}, View<const float>(nullptr, w), g));
}

void conv2d_pack(Stream& stream, View<const float> x, View<const float> w, const Conv2d& g, float* packed) noexcept {
  run_pack(stream, "conv2d_pack", forward_packing(x, w, g), packed);
}

void conv2d_fwd_packed(Stream& stream, View<const float> x, View<const float> w, View<float> y, const Conv2d& g,
                       const fast::Finish& finish, const float* packed, Write write) noexcept {
  if (is_empty(y.shape)) return;
  run_packed(stream, "conv2d_fwd", forward_packing(x, w, g), forward_product(x, y.shape, g),
             output_of(y, finish, write), {}, packed);
}

void conv2d_bwd_x(Stream& stream, View<const float> dy, View<const float> w, View<float> dx, const Conv2d& g,
                  float* workspace, Write write) noexcept {
  if (is_empty(dx.shape)) return;
  for_each_remainder(w.shape, dx.shape, g,
                     [&](const Taps& h, const Taps& v, const Pixels& rows, const Pixels& columns) {
                       const Packing packing = packing_of(w, g.groups, true, h, v, dy);
                       Product p{};
                       p.x = map_of(dy);
                       p.groups = packing.groups;
                       p.grid_h = rows.count;
                       p.grid_w = columns.count;
                       p.step = 1;
                       p.first_h = rows.read;
                       p.first_w = columns.read;
                       p.out_step = static_cast<int>(g.stride);
                       p.out_h = rows.first;
                       p.out_w = columns.first;
                       run(stream, "conv2d_bwd_x", packing, p, output_of(dx, {}, write), {}, workspace);
                     });
}

void conv2d_bwd_w(Stream& stream, View<const float> x, View<const float> dy, View<float> dw, const Conv2d& g,
                  float* workspace, Write write) noexcept {
  constexpr auto name = "conv2d_bwd_w";
  if (is_empty(dw.shape)) return;
  GradientProduct p = gradient_product(dw.shape, dy.shape, g);
  p.x = map_of(x);
  p.dy = map_of(dy);
  const Extent blocks{ceil_div(p.columns, Gradient::columns), ceil_div(p.rows, Gradient::rows),
                      static_cast<unsigned>(p.groups * p.slices)};
  launch(stream, name, sum_slices, Grid{blocks, {block_threads}}, p, workspace);
  launch(stream, name, add_slices, flat_grid(dw.shape.n * p.columns), workspace, p.slices, p.rows, map_of(dw), write);
}

index_t conv2d_workspace(const Shape& x, const Shape& w, const Shape& y, const Conv2d& g) noexcept {
  const View<const float> weights(nullptr, w);
  const GradientProduct gradient = gradient_product(w, y, g);
  index_t most = static_cast<index_t>(gradient.slices) * w.n * gradient.columns;
  const auto consider = [&](bool transposed, const Taps& h, const Taps& v) {
    const index_t floats = packed_floats(packing_of(weights, g.groups, transposed, h, v, {}));
    most = floats > most ? floats : most;
  };
  consider(false, forward_taps(w.h, g.dilation), forward_taps(w.w, g.dilation));
  for_each_remainder(w, x, g,
                     [&](const Taps& h, const Taps& v, const Pixels&, const Pixels&) { consider(true, h, v); });
  return most;
}

}  // namespace slimneck::kernels::cuda
