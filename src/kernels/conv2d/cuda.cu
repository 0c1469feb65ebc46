// Dense convolution, forward and the adjoint in the data, any stride, padding, dilation and groups; C = c/groups:
//
//   y [n,o,i,j] = finish(sum_{c,u,v} w[o,c,u,v] x[n, gC+c, is-ph+ud, js-pw+vd])
//   dx[n,gC+c,h,k] = sum_{o,u,v} w[o,c,u,v] dy[n,o,i,j]      over is-ph+ud = h and js-pw+vd = k
//
// Both are one matrix product: rows are channels of the result, columns its pixels, and the sum goes over terms
// (channel, u, v). Weights are packed first, so that a slice of terms is a block of rows side by side; with them goes a
// table that says where each term lies from a pixel's first one, so that no index is divided in the loop. Both come
// into shared memory by asynchronous copies, two slices in turns. Where channels fill whole slices, terms are (u, v,
// channel), and a pixel is inside of the picture for all of a slice or for none; where the pixels of a plane lie side
// by side and a pixel is one term of each channel, they are copied four at a time. The data gradient of stride s is
// s x s such products, one for each remainder that a pixel can have, over the taps that reach it.
//
// Small maps with many channels make few blocks. Their terms are cut into slices, which a second kernel adds in order;
// or, where one kernel shall do, into quarters within a block.
#include "kernels/conv2d/cuda_product.hpp"

namespace slimneck::kernels::cuda {

namespace {

/// Where a term lies from the first one of a pixel: in floats, and in rows and columns.
struct alignas(16) Term {
  int offset, row, column;
};

/// One product: what is read, which pixels are written, and how many terms there are.
struct Product {
  Map<const float> x;
  const float* weights;  ///< packed
  const Term* terms;
  int rows, groups, packed_rows, packed_terms, last;  ///< terms end at `last`
  int grid_h, grid_w;                                 ///< pixels of an image that are written
  int step, first_h, first_w;  ///< pixel (i, j) reads from (i step + first_h, j step + first_w) on
  int out_step, out_h, out_w;  ///< and is written to (i out_step + out_h, ...)
  int slices, slice_terms;
  float* parts;  ///< of sums, where there are several slices: slice by slice, rows x columns

  [[nodiscard]] __host__ __device__ int columns() const { return x.n * grid_h * grid_w; }
};

using Small = Blocking<64, 16, 4, 0, 4>;
using Large = Blocking<128, 8, 8, 0, 2>;
using Quartered = Quarters<16, 4>;
using SmallTensors = Tensors<64, 32, 3>;
using LargeTensors = Tensors<128, 16, 2>;

// ---- Packing

/// Taps u of one direction that reach pixels of one remainder: u d = remainder modulo the stride. Forward: all of them.
struct Taps {
  int count, first, step;  ///< u = first + i step
  int at, distance;        ///< of the i-th: at + i distance
};

/// What is packed: rows are channels of the result, terms are (channel, i, j) or (i, j, channel).
struct Packing {
  Map<const float> w;
  int rows, channels, groups;
  bool transposed;  ///< rows are the input channels of w
  bool by_taps;     ///< as many channels as fill whole slices, one tap after the other
  Taps h, v;
  int packed_rows, packed_terms, last;  ///< terms up to `last` count
  index_t sc, sh, sw;                   ///< strides of what is read
};

/// One term of one group per block row; threads go along the rows of the product.
template <class T>
__global__ void __launch_bounds__(block_threads) pack(Packing p, float* weights, Term* terms) {
  const int across = (p.packed_rows + threads_x() - 1) / threads_x(), line = block_x() / across;
  const int group = line / p.packed_terms, term = line - group * p.packed_terms;
  const int row = (block_x() - line * across) * threads_x() + thread_x();
  const int taps = p.h.count * p.v.count, channel = p.by_taps ? term % p.channels : term / taps;
  const int tap = p.by_taps ? term / p.channels : term - channel * taps;
  const int i = tap / p.v.count, j = tap - i * p.v.count;
  const bool inside = channel < p.channels && tap < taps;
  if (row < p.packed_rows) {
    float value = 0;
    if (inside && row < p.rows) {
      const int u = p.h.first + i * p.h.step, v = p.v.first + j * p.v.step;
      value = p.transposed ? p.w(group * p.channels + channel, row, u, v) : p.w(group * p.rows + row, channel, u, v);
    }
    weights[T::packed_at(line, row, p.packed_rows)] = T::packed(value);
  }
  if (group > 0 || row > 0) return;
  // Terms past the last lie outside of every picture.
  const int h = p.h.at + i * p.h.distance, w = p.v.at + j * p.v.distance;
  const int offset = static_cast<int>(channel * p.sc + h * p.sh + w * p.sw);
  terms[term] = inside ? Term{offset, h, w} : Term{0, nowhere, 0};
}

// ---- The product

/// A pixel of the result: its image, and its place among those that are written.
struct Place2d {
  int n, i, j;
};

__device__ __forceinline__ Place2d place_of(const Product& p, int pixel) {
  const int pixels = p.grid_h * p.grid_w, n = pixel / pixels, at = pixel - n * pixels, i = at / p.grid_w;
  return {n, i, at - i * p.grid_w};
}

/// Channel 0 of a group of image n.
__device__ __forceinline__ const float* image_of(const Product& p, int n, int group) {
  return p.x.data + n * p.x.sn + group * (p.x.c / p.groups) * p.x.sc;
}

/// A thread copies one column of every slice of terms, each block_threads / columns-th term.
template <class T>
struct ByPixels {
  static constexpr int step = block_threads / T::columns;
  const float* first;
  int h, w;

  __device__ static __forceinline__ int at() { return thread_x() % T::columns; }
  __device__ static __forceinline__ int term() { return thread_x() / T::columns; }

  __device__ __forceinline__ ByPixels(const Product& p, int group) {
    const Place2d place = place_of(p, block_x() * T::columns + at());
    const bool inside = place.n < p.x.n;
    const int i = place.i * p.step + p.first_h;
    w = place.j * p.step + p.first_w;
    h = inside ? i : nowhere;
    first = image_of(p, inside ? place.n : 0, group) + offset(p.x, i, w);
  }

  __device__ __forceinline__ void begin(const Product& p, int begin, int buffer, typename T::Slices& s) const {
#pragma unroll
    for (int k = 0; k < T::depth; k += step) {
      const Term t = p.terms[begin + term() + k];
      begin_copy(&s.x(buffer, term() + k, at()), first + t.offset, is_inside(p.x, h + t.row, w + t.column));
    }
  }
};

/// The same where terms are channels of one tap, and of the next one only where a slice has more than are rounded to.
template <class T>
struct ByTaps : ByPixels<T> {
  using ByPixels<T>::at, ByPixels<T>::term, ByPixels<T>::step;
  static constexpr int of_tap = T::depth < term_multiple ? T::depth : term_multiple;

  using ByPixels<T>::ByPixels;

  __device__ __forceinline__ void begin(const Product& p, int begin, int buffer, typename T::Slices& s) const {
    const int channel = static_cast<int>(p.x.sc);
#pragma unroll
    for (int tap = 0; tap < T::depth; tap += of_tap) {
      const Term t = p.terms[begin + tap];
      const bool there = is_inside(p.x, this->h + t.row, this->w + t.column);
      const float* const from = this->first + (t.offset + term() * channel);
#pragma unroll
      for (int k = 0; k < of_tap; k += step)
        begin_copy(&s.x(buffer, tap + term() + k, at()), from + k * channel, there);
    }
  }
};

/// The same for four pixels at a time: they lie side by side in one image, as their terms do.
template <class T>
struct ByVectors {
  static constexpr int vectors = T::columns / vector, step = block_threads / vectors;
  static_assert(T::depth % step == 0);
  const float* first;

  __device__ static __forceinline__ int at() { return thread_x() % vectors * vector; }
  __device__ static __forceinline__ int term() { return thread_x() / vectors; }

  __device__ __forceinline__ ByVectors(const Product& p, int group) {
    const int pixels = p.grid_h * p.grid_w, pixel = block_x() * T::columns + at(), n = pixel / pixels;
    first = n < p.x.n ? image_of(p, n, group) + (pixel - n * pixels) : nullptr;
  }

  __device__ __forceinline__ void begin(const Product& p, int begin, int buffer, typename T::Slices& s) const {
#pragma unroll
    for (int k = 0; k < T::depth; k += step) {
      const Term t = p.terms[begin + term() + k];
      const bool there = first && t.row == 0;
      begin_copy(reinterpret_cast<float4*>(&s.x(buffer, term() + k, at())),
                 reinterpret_cast<const float4*>(there ? first + t.offset : p.x.data), there);
    }
  }
};

/// The moments of results that lie in shared memory; a row is some neighbours' in a warp.
template <class T>
__device__ __forceinline__ void leave_moments(ProductMemory<T>& memory, const Product& p, int group, int pass,
                                              const Moments& moments) {
  constexpr int lanes = block_threads / T::seats;
  static_assert(warp % lanes == 0);
  const int seat = thread_x() / lanes, lane = thread_x() % lanes;
  const int count = min(T::columns, p.columns() - block_x() * T::columns);
  const auto sum_over_row = [&](float sum) {
#pragma unroll
    for (int apart = lanes / 2; apart > 0; apart /= 2) sum += __shfl_xor_sync(whole_warp, sum, apart);
    return sum;
  };
  float sum = 0, squares = 0;
  for (int at = lane; at < count; at += lanes) sum += T::result(memory.results, seat, at);
  const float mean = sum_over_row(sum) / static_cast<float>(count);
  for (int at = lane; at < count; at += lanes) {
    const float difference = T::result(memory.results, seat, at) - mean;
    squares = multiply_add(difference, difference, squares);
  }
  squares = sum_over_row(squares);
  const int row = static_cast<int>(blockIdx.y) * T::rows + T::row(seat, pass);
  if (lane == 0 && row < p.rows)
    set_moments(moments, group * p.rows + row, block_x(), static_cast<float>(count), mean, squares);
}

template <class T, template <class> class Copier>
__global__ void __launch_bounds__(block_threads, T::blocks) product(Product p, Output out, Moments moments) {
  auto& memory = shared<ProductMemory<T>>();
  typename T::Slices& s = memory.slices;
  static_assert(!T::sliced || slice_multiple % T::depth == 0);
  // Large tiles are never sliced, and have no register for it.
  const int z = static_cast<int>(blockIdx.z), group = T::sliced ? z / p.slices : z;
  const int slice = T::sliced ? z - group * p.slices : 0, first = slice * p.slice_terms;
  const int last = T::sliced ? min(p.last, first + p.slice_terms) : p.last;
  const int first_row = static_cast<int>(blockIdx.y) * T::rows;
  const Copier<T> copies(p, group);
  typename T::Sums sums = {};

  const auto begin = [&](int term, int buffer) {
    T::begin_weights(p.weights, group * p.packed_terms + term, p.packed_rows, first_row, buffer, s);
    copies.begin(p, term, buffer, s);
    close_copies();
  };
  begin(first, 0);
  for (int term = first, buffer = 0; term < last; term += T::depth, buffer ^= 1) {
    wait_for_copies<0>();
    __syncthreads();  // this slice is there for all, and nobody reads the one before any more
    if (term + T::depth < last) begin(term + T::depth, buffer ^ 1);
    T::multiply(s, buffer, sums);
  }

  // Rows of the result go through shared memory: neighbours then write neighbours, and the activation is there once.
  const int own_column = thread_x() % T::columns, pixel = block_x() * T::columns + own_column;
  const Place2d at = place_of(p, pixel);
#pragma unroll 1
  for (int pass = 0; pass < T::passes; ++pass) {
    __syncthreads();
    T::put(memory.results, pass, sums);
    __syncthreads();
    if (moments.data) leave_moments<T>(memory, p, group, pass, moments);
    if (at.n >= p.x.n) continue;
#pragma unroll 1
    for (int seat = thread_x() / T::columns; seat < T::seats; seat += block_threads / T::columns) {
      const int row = first_row + T::row(seat, pass);
      if (row >= p.rows) continue;
      const float sum = T::result(memory.results, seat, own_column);
      if (T::sliced && p.parts)
        p.parts[(static_cast<index_t>(slice * p.groups + group) * p.rows + row) * p.columns() + pixel] = sum;
      else
        out.set(sum, at.n, group * p.rows + row, at.i * p.out_step + p.out_h, at.j * p.out_step + p.out_w);
    }
  }
}

/// The sum of the slices, in order, and what becomes of it. Block rows are rows of all groups.
__global__ void __launch_bounds__(block_threads) add_parts(Product p, Output out) {
  const int columns = p.columns(), pixel = static_cast<int>(flat_index()), row = static_cast<int>(blockIdx.y);
  if (pixel >= columns) return;
  const index_t of_slice = static_cast<index_t>(p.groups) * p.rows * columns;
  const float* own = p.parts + static_cast<index_t>(row) * columns + pixel;
  float sum = 0;
  for (int i = 0; i < p.slices; ++i) sum += own[i * of_slice];
  const Place2d at = place_of(p, pixel);
  out.set(sum, at.n, row, at.i * p.out_step + p.out_h, at.j * p.out_step + p.out_w);
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
  p.by_taps = p.channels > 0 && p.channels % term_multiple == 0;
  p.h = h;
  p.v = v;
  if (h.count * v.count == 0) {  // no tap reaches these pixels: zeros
    p.channels = 0;
    p.by_taps = false;
    p.h = p.v = Taps{1, 0, 0, 0, 0};
  }
  p.packed_rows = round_up(p.rows, row_multiple);
  const int terms = p.channels * p.h.count * p.v.count;
  p.last = round_up(terms > 0 ? terms : 1, term_multiple);
  p.packed_terms = round_up(p.last, depth_multiple);
  p.sc = read.sc;
  p.sh = read.sh;
  p.sw = read.sw;
  return p;
}

/// How a product is cut, by extents alone.
struct Cut {
  bool large;
  int slices, slice_terms;
};

/// Large tiles where they make enough blocks for two in each multiprocessor of large devices; slices where small ones
/// make fewer than half as many, unless the whole sums are wanted.
Cut cut_of(const Packing& p, index_t columns, bool whole) {
  constexpr index_t enough = 264, least_terms = 128, most = 16;
  const auto blocks = [&](int rows, int width) {
    return static_cast<index_t>(ceil_div(columns, width)) * ceil_div(p.rows, rows) * p.groups;
  };
  if (p.rows > Small::rows && blocks(Large::rows, Large::columns) >= enough) return {true, 1, p.last};
  const index_t small = blocks(Small::rows, Small::columns), pieces = p.last / least_terms;
  if (whole || small == 0 || 2 * small > enough || pieces < 2) return {false, 1, p.last};
  index_t slices = enough / small;
  slices = slices < pieces ? slices : pieces;
  slices = slices < most ? slices : most;
  const int terms = round_up(ceil_div(p.last, slices), slice_multiple);
  return {false, static_cast<int>(ceil_div(p.last, terms)), terms};
}

/// Room for the parts of sums.
index_t parts_floats(const Packing& p, index_t columns) {
  const index_t slices = cut_of(p, columns, false).slices;
  return slices > 1 ? slices * p.groups * p.rows * columns : 0;
}

Term* terms_of(const Packing& p, float* packed) {
  return reinterpret_cast<Term*>(packed + static_cast<index_t>(p.groups) * p.packed_terms * p.packed_rows);
}

void run_pack(Stream& stream, const char* name, const Packing& p, float* packed) noexcept {
  const unsigned threads = threads_for(p.packed_rows);
  const unsigned lines = static_cast<unsigned>(p.groups) * static_cast<unsigned>(p.packed_terms);
  const auto kernel = stream.tf32() ? pack<LargeTensors> : pack<Large>;
  launch(stream, name, kernel, Grid{{lines * ceil_div(p.packed_rows, threads)}, {threads}}, p, packed,
         terms_of(p, packed));
}

/// Are a pixel's terms one of each channel, at its own place, and may its neighbours be read with it?
bool suits_vectors(const Packing& packing, const Product& p) {
  const auto alone = [](const Taps& t) { return t.count == 1 && t.at == 0; };
  const auto whole = [](index_t stride) { return stride % vector == 0; };
  return packing.channels > 0 && alone(packing.h) && alone(packing.v) && p.step == 1 && p.first_h == 0 &&
         p.first_w == 0 && p.grid_h == p.x.h && p.grid_w == p.x.w && p.x.sw == 1 && p.x.sh == p.x.w &&
         p.x.h * p.x.w % vector == 0 && whole(p.x.sc) && whole(p.x.sn) &&
         reinterpret_cast<std::uintptr_t>(p.x.data) % sizeof(float4) == 0;
}

/// How columns are copied.
enum class Copies { pixels, taps, vectors };

template <class T>
void run_product(Stream& stream, const char* name, Copies copies, const Product& p, const Output& out,
                 const Moments& moments) noexcept {
  const Grid grid{
      {ceil_div(p.columns(), T::columns), ceil_div(p.rows, T::rows), static_cast<unsigned>(p.groups * p.slices)},
      {block_threads}};
  const auto kernel = copies == Copies::vectors ? product<T, ByVectors>
                      : copies == Copies::taps  ? product<T, ByTaps>
                                                : product<T, ByPixels>;
  launch(stream, name, kernel, grid, p, out, moments);
}

/// Multiplies by what was packed. parts: room for parts of sums; without it there are none.
void run(Stream& stream, const char* name, const Packing& packing, Product p, const float* packed, const Output& out,
         float* parts, const Moments& moments) noexcept {
  const Cut cut = cut_of(packing, p.columns(), moments.data || !parts);
  p.weights = packed;
  p.terms = terms_of(packing, const_cast<float*>(packed));
  p.rows = packing.rows;
  p.groups = packing.groups;
  p.packed_rows = packing.packed_rows;
  p.packed_terms = packing.packed_terms;
  p.last = packing.last;
  p.slices = cut.slices;
  p.slice_terms = cut.slice_terms;
  p.parts = cut.slices > 1 ? parts : nullptr;
  const Copies copies = suits_vectors(packing, p) ? Copies::vectors : packing.by_taps ? Copies::taps : Copies::pixels;
  const auto with = [&]<class T>() { run_product<T>(stream, name, copies, p, out, moments); };
  // What wants slices and has no room for them.
  const bool quarters = !parts && !moments.data && cut_of(packing, p.columns(), false).slices > 1;
  if (stream.tf32())
    cut.large ? with.template operator()<LargeTensors>() : with.template operator()<SmallTensors>();
  else if (quarters)
    with.template operator()<Quartered>();
  else
    cut.large ? with.template operator()<Large>() : with.template operator()<Small>();
  if (!p.parts) return;
  const Grid grid = flat_grid(p.columns());
  launch(stream, name, add_parts, Grid{{grid.blocks.x, static_cast<unsigned>(p.groups * p.rows)}, grid.threads}, p,
         out);
}

Packing forward_packing(const View<const float>& x, const View<const float>& w, const Conv2d& g) {
  const auto taps = [&](index_t kernel) {
    return Taps{static_cast<int>(kernel), 0, 1, 0, static_cast<int>(g.dilation)};
  };
  return packing_of(w, g.groups, false, taps(w.shape.h), taps(w.shape.w), x);
}

Product forward_product(const View<const float>& x, const Shape& y, const Conv2d& g) {
  Product p{};
  p.x = map_of(x);
  p.grid_h = static_cast<int>(y.h);
  p.grid_w = static_cast<int>(y.w);
  p.step = static_cast<int>(g.stride);
  p.first_h = static_cast<int>(-g.pad_h);
  p.first_w = static_cast<int>(-g.pad_w);
  p.out_step = 1;
  return p;
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

/// f(packing, product) for every remainder of the data gradient that has pixels; views may be without data.
template <class F>
void for_each_remainder(const View<const float>& dy, const View<const float>& w, const Shape& dx, const Conv2d& g,
                        const F& f) {
  const int stride = static_cast<int>(g.stride), dilation = static_cast<int>(g.dilation);
  const int kernel_h = static_cast<int>(w.shape.h), kernel_w = static_cast<int>(w.shape.w);
  for (int h = 0; h < stride; ++h)
    for (int v = 0; v < stride; ++v) {
      const Pixels rows = pixels_of(static_cast<int>(dx.h), stride, static_cast<int>(g.pad_h), h);
      const Pixels columns = pixels_of(static_cast<int>(dx.w), stride, static_cast<int>(g.pad_w), v);
      if (rows.count == 0 || columns.count == 0) continue;
      Product p{};
      p.x = map_of(dy);
      p.grid_h = rows.count;
      p.grid_w = columns.count;
      p.step = 1;
      p.first_h = rows.read;
      p.first_w = columns.read;
      p.out_step = stride;
      p.out_h = rows.first;
      p.out_w = columns.first;
      f(packing_of(w, g.groups, true, backward_taps(kernel_h, stride, dilation, h),
                   backward_taps(kernel_w, stride, dilation, v), dy),
        p);
    }
}

constexpr auto forward_name = "conv2d_fwd";

/// Room of the data gradient: packed weights of all remainders, and parts of sums of one of them.
struct Room {
  index_t packed, parts;
};

Room backward_room(const Shape& x, const Shape& w, const Shape& y, const Conv2d& g) {
  Room room{};
  for_each_remainder({nullptr, y}, {nullptr, w}, x, g, [&](const Packing& packing, const Product& p) {
    room.packed += packed_floats(packing);
    room.parts = larger(room.parts, parts_floats(packing, p.columns()));
  });
  return room;
}

void forward(Stream& stream, const View<const float>& x, const View<const float>& w, const float* packed,
             const Half<float>& y, const Conv2d& g, const fast::Finish& finish, float* parts, Write write,
             const Moments& moments) noexcept {
  if (is_empty(y.view.shape)) return;
  run(stream, forward_name, forward_packing(x, w, g), forward_product(x, y.view.shape, g), packed,
      output_of(y, finish, write), parts, moments);
}

}  // namespace

index_t conv2d_packed_size(const Shape& w, const Conv2d& g) noexcept {
  return packed_floats(forward_packing({}, {nullptr, w}, g));
}

void conv2d_pack(Stream& stream, View<const float> x, View<const float> w, const Conv2d& g, float* packed) noexcept {
  run_pack(stream, "conv2d_pack", forward_packing(x, w, g), packed);
}

void conv2d_fwd_packed(Stream& stream, View<const float> x, View<const float> w, View<float> y, const Conv2d& g,
                       const fast::Finish& finish, const float* packed, float* workspace, Write write) noexcept {
  forward(stream, x, w, packed, y, g, finish, workspace, write, {});
}

index_t conv2d_packed_workspace(const Shape& w, const Shape& y, const Conv2d& g) noexcept {
  return parts_floats(forward_packing({}, {nullptr, w}, g), y.n * y.h * y.w);
}

void conv2d_fwd_moments(Stream& stream, View<const float> x, View<const float> w, const Half<float>& y, const Conv2d& g,
                        const fast::Finish& finish, float* workspace, Write write, const Moments& moments) noexcept {
  if (is_empty(y.view.shape)) return;
  run_pack(stream, forward_name, forward_packing(x, w, g), workspace);
  forward(stream, x, w, workspace, y, g, finish, workspace + conv2d_packed_size(w.shape, g), write, moments);
}

int conv2d_moments(const Shape& w, const Shape& y, const Conv2d& g) noexcept {
  const index_t columns = y.n * y.h * y.w;
  const Cut cut = cut_of(forward_packing({}, {nullptr, w}, g), columns, true);
  return static_cast<int>(ceil_div(columns, cut.large ? Large::columns : Small::columns));
}

void conv2d_fwd(Stream& stream, View<const float> x, View<const float> w, View<float> y, const Conv2d& g,
                const fast::Finish& finish, float* workspace, Write write) noexcept {
  conv2d_fwd_moments(stream, x, w, y, g, finish, workspace, write, {});
}

void conv2d_bwd_x(Stream& stream, View<const float> dy, View<const float> w, View<float> dx, const Conv2d& g,
                  float* workspace, Write write) noexcept {
  constexpr auto name = "conv2d_bwd_x";
  if (is_empty(dx.shape)) return;
  float* const parts = workspace + backward_room(dx.shape, w.shape, dy.shape, g).packed;
  for_each_remainder(dy, w, dx.shape, g, [&](const Packing& packing, const Product& p) {
    run_pack(stream, name, packing, workspace);
    run(stream, name, packing, p, workspace, output_of(dx, {}, write), parts, {});
    workspace += packed_floats(packing);
  });
}

index_t conv2d_workspace(const Shape& x, const Shape& w, const Shape& y, const Conv2d& g) noexcept {
  const Room back = backward_room(x, w, y, g);
  return larger(conv2d_bwd_w_workspace(w, y, g),
                larger(conv2d_packed_size(w, g) + conv2d_packed_workspace(w, y, g), back.packed + back.parts));
}

}  // namespace slimneck::kernels::cuda
