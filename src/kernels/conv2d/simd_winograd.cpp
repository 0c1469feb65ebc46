// Winograd convolution F(MxM, 3x3), stride 1, M = 4 or 2: y = A^T [ sum over c of U[c] * (B^T x[c] B) ] A with
// U = G w G^T prepared. Forward, and with turned weights the gradient of the data. See winograd_tiles.hpp for the
// transforms and winograd.hpp for the cut into tasks.
//
// For a batch of tiles: V[point][c block][tile][V] = B^T x B; then for each pair of blocks of y, (M + 2)^2 products
// M[point][block][tile][V] = U[point] V[point], all of c summed in registers; then y = A^T M A of that pair. U is
// packed [point][pair][c block][o of the pair][V of c][V of o].
#include "core/threads.hpp"
#include "kernels/conv2d/tile.hpp"
#include "kernels/conv2d/winograd.hpp"
#include "kernels/conv2d/winograd_tiles.hpp"
#include "kernels/declare.hpp"
#include "kernels/epilogue.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using simd::lanes;
using simd::least;
using simd::Vec;

/// m[o][p] = sum over c of u[c][o] * v[p][c], for P tiles. What is read of u next, `next` after the last block, is
/// fetched ahead: U is larger than the second level cache and comes too late without that.
template <int O, int P>
void product(const float* v, index_t v_block, const float* u, index_t blocks, const float* next, float* m,
             index_t m_block) {
  constexpr index_t block = lanes * lanes;
  Vec acc[O][P];
  simd::clear(acc);
  for (index_t b = 0; b < blocks; ++b, v += v_block, u += O * block) {
    const float* ahead = b + 1 < blocks ? u + O * block : next;
#pragma GCC unroll 4
    for (index_t i = 0; i < O * block; i += 16) simd::prefetch(ahead + i);
    simd::taps<O, P, 1, 0, P>(acc, v, u, block);
  }
  simd::store_tile(acc, m, m_block);
}

using Product = void (*)(const float*, index_t, const float*, index_t, const float*, float*, index_t);

template <int O, int P = simd::tile_pixels>
Product product_of(index_t p) {
  if constexpr (P == 1)
    return product<O, 1>;
  else
    return p == P ? product<O, P> : product_of<O, P - 1>(p);
}

/// A tile of a batch.
struct Place {
  index_t n, row, column;  ///< of its first pixel in y
  index_t part;            ///< of the moments
  bool fresh;              ///< first tile of its part
};

/// Walks over the tiles of a batch.
class Tiles {
 public:
  Tiles(const WinogradPlan& p, index_t batch) : p_(p), unit_(batch * p.batch_units) { enter(); }
  Place place() const {
    return {unit_ / p_.strips, row_ * p_.m, column_ * p_.m, unit_, column_ == 0 && row_ == first_};
  }
  void next() {
    if (++column_ < p_.columns) return;
    column_ = 0;
    if (++row_ < last_) return;
    ++unit_;
    enter();
  }
  static index_t count(const WinogradPlan& p, index_t batch) {
    index_t rows = 0;
    for (index_t u = batch * p.batch_units; u < least(p.units, (batch + 1) * p.batch_units); ++u)
      rows += least(p.rows, (u % p.strips + 1) * p.unit_rows) - u % p.strips * p.unit_rows;
    return rows * p.columns;
  }

 private:
  void enter() {
    first_ = row_ = unit_ % p_.strips * p_.unit_rows;
    last_ = least(p_.rows, first_ + p_.unit_rows);
    column_ = 0;
  }
  const WinogradPlan& p_;
  index_t unit_, row_ = 0, column_ = 0, first_ = 0, last_ = 0;
};

/// V of a batch.
template <int M>
void transform_input(const ConvArgs& a, const WinogradPlan& p, index_t batch, index_t count, float* v) {
  for (index_t b = 0; b < a.x_blocks; ++b) {
    Tiles tiles(p, batch);
    for (index_t t = 0; t < count; ++t, tiles.next()) {
      const Place at = tiles.place();
      simd::input_at<M>(a.x + at.n * a.xn + b * a.xb, a.xh, a.h, a.w, at.row - a.pad_h, at.column - a.pad_w,
                        v + (b * count + t) * lanes, p.v_plane);
    }
  }
}

/// P pixels of a row of a tile are finished and stored.
template <int P>
SN_INLINE void end_row(const Vec (&row)[P], bool sum, float* y, const simd::TileEnd& e) {
  Vec acc[1][P];
#pragma GCC unroll 4
  for (int i = 0; i < P; ++i) acc[0][i] = sum ? simd::add(row[i], simd::load(y + i * lanes)) : row[i];
  simd::end_tile<1, P>(acc, y, 0, e);
}

/// A tile that reaches past the map: its rows x columns pixels one by one.
template <int M>
void output_border(const ConvArgs& a, const Place& at, index_t block, const Vec (&t)[M][M + 2], float* y) {
  alignas(64) float pixels[M * M * lanes];
#pragma GCC unroll 4
  for (int i = 0; i < M; ++i) {
    Vec row[M];
    simd::output_row(t[i], row);
#pragma GCC unroll 4
    for (int j = 0; j < M; ++j) simd::store(pixels + (i * M + j) * lanes, row[j]);
  }
  for (index_t i = 0; i < least(M, a.oh - at.row); ++i)
    for (index_t j = 0; j < least(M, a.ow - at.column); ++j) {
      const Vec pixel[1] = {simd::load(pixels + (i * M + j) * lanes)};
      end_row<1>(pixel, a.epilogue.add, y + i * a.yh + j * lanes,
                 simd::tile_end(a.epilogue, a.y_blocks, at.n, block, at.row + i, at.column + j, at.part,
                                at.fresh && i == 0 && j == 0));
    }
}

template <int M>
SN_INLINE void output_tile(const ConvArgs& a, const WinogradPlan& p, const Place& at, index_t block, const float* m) {
  Vec t[M][M + 2];
  simd::output_columns<M>(m, p.m_plane, t);
  float* y = a.y + at.n * a.yn + block * a.yb + at.row * a.yh + at.column * lanes;
  if (at.row + M > a.oh || at.column + M > a.ow) {
    output_border<M>(a, at, block, t, y);
    return;
  }
#pragma GCC unroll 4
  for (int i = 0; i < M; ++i) {
    Vec row[M];
    simd::output_row(t[i], row);
    end_row<M>(row, a.epilogue.add, y + i * a.yh,
               simd::tile_end(a.epilogue, a.y_blocks, at.n, block, at.row + i, at.column, at.part, at.fresh && i == 0));
  }
}

/// Brings the rows of a batch into the second level cache, a few lines at a time: maps stream from far away, and
/// products leave room for that, transforms do not.
class Ahead {
 public:
  /// Of `blocks` blocks of a map of h rows of `width` floats; `shift` rows below those of the tiles.
  Ahead(const WinogradPlan& p, const float* data, index_t sn, index_t sb, index_t sh, index_t blocks, index_t h,
        index_t width, index_t batch, index_t shift)
      : p_(p), data_(data), sn_(sn), sb_(sb), sh_(sh), h_(h), width_(width), shift_(shift) {
    unit_height_ = p.unit_rows * p.m;
    first_ = batch * p.batch_units * unit_height_;
    count_ = least((batch + 1) * p.batch_units, p.units) * unit_height_ - first_;
    rows_ = count_ > 0 ? count_ * blocks : 0;
    enter();
  }
  index_t lines() const { return rows_ * ((width_ + 15) / 16); }
  void fetch(index_t lines) {
    while (lines > 0 && row_ < rows_) {
      const index_t end = least(width_, column_ + lines * 16);
      if (at_)
        for (index_t i = column_; i < end; i += 16) __builtin_prefetch(at_ + i, 0, 2);
      lines -= (end - column_ + 15) / 16;
      column_ = end;
      if (column_ < width_) continue;
      column_ = 0;
      ++row_;
      enter();
    }
  }

 private:
  void enter() {
    if (row_ >= rows_) return;
    const index_t row = first_ + row_ % count_, unit = row / unit_height_;
    const index_t y = unit % p_.strips * unit_height_ + row % unit_height_ + shift_;
    at_ = y < h_ ? data_ + unit / p_.strips * sn_ + row_ / count_ * sb_ + y * sh_ : nullptr;
  }
  const WinogradPlan& p_;
  const float* data_;
  index_t sn_, sb_, sh_, h_, width_, shift_;
  index_t unit_height_, first_, count_, rows_, row_ = 0, column_ = 0;
  const float* at_ = nullptr;
};

/// The products of the pairs [first, last) of y's blocks, point by point: what is read of V is used for all pairs.
void multiply(const ConvArgs& a, const WinogradPlan& p, index_t batch, index_t count, index_t first, index_t last,
              const float* v, float* m) {
  const index_t groups = (count + simd::tile_pixels - 1) / simd::tile_pixels;
  const index_t pair = 2 * a.x_blocks * lanes * lanes, calls = p.points * (last - first) * groups;
  Ahead y(p, a.y + 2 * first * a.yb, a.yn, a.yb, a.yh, least(a.y_blocks, 2 * last) - 2 * first, a.oh, a.ow * lanes,
          batch, 0);
  Ahead x(p, a.x, a.xn, a.xb, a.xh, last == p.pairs ? a.x_blocks : 0, a.h, a.w * lanes, batch + 1, 1);
  const index_t y_lines = (y.lines() + calls - 1) / calls, x_lines = (x.lines() + calls - 1) / calls;
  for (index_t point = 0; point < p.points; ++point)
    for (index_t q = first; q < last; ++q) {
      const float* u = a.weights + point * p.u_plane + q * pair;
      const float* next = q + 1 < last ? u + pair : a.weights + (point + 1) * p.u_plane + first * pair;
      const index_t outs = least(2, a.y_blocks - 2 * q);
      float* to = m + point * p.m_plane + 2 * (q - first) * count * lanes;
      for (index_t g = 0; g < groups; ++g) {
        const index_t from = count * g / groups, tiles = count * (g + 1) / groups - from;
        const Product run = outs == 2 ? product_of<2>(tiles) : product_of<1>(tiles);
        x.fetch(x_lines);
        y.fetch(y_lines);
        run(v + point * p.v_plane + from * lanes, count * lanes, u, a.x_blocks, next, to + from * lanes, count * lanes);
      }
    }
}

/// The products of blocks [first, last) become pixels of y.
template <int M>
void transform_output(const ConvArgs& a, const WinogradPlan& p, index_t batch, index_t count, index_t first,
                      index_t last, const float* m) {
  for (index_t o = first; o < last; ++o) {
    Tiles tiles(p, batch);
    for (index_t t = 0; t < count; ++t, tiles.next(), m += lanes) output_tile<M>(a, p, tiles.place(), o, m);
  }
}

template <int M>
void convolve(const ConvArgs& a) {
  const WinogradPlan p = winograd_plan(a, lanes, M);
  const index_t tasks = p.batches * p.groups;
#pragma omp parallel
  {
    float* v = a.workspace + core::thread_index() * p.scratch;
    float* m = v + p.points * p.v_plane;
    index_t held = -1;
#pragma omp for schedule(static)
    for (index_t task = 0; task < tasks; ++task) {
      const index_t batch = task / p.groups, count = Tiles::count(p, batch), group = task % p.groups;
      const index_t first = p.pairs * group / p.groups, last = p.pairs * (group + 1) / p.groups;
      if (batch != held) transform_input<M>(a, p, batch, count, v);
      held = batch;
      multiply(a, p, batch, count, first, last, v, m);
      transform_output<M>(a, p, batch, count, 2 * first, least(2 * last, a.y_blocks), m);
    }
  }
}

/// U from packed weights; rows of blocks are those of the channels that are written.
template <int M>
void prepare(const WeightArgs& a) {
  const bool turned = a.order == WeightOrder::turned;
  const index_t out = (turned ? a.c_physical : a.o_physical) / lanes;
  const index_t in = (turned ? a.o_physical : a.c_physical) / lanes, block = lanes * lanes;
  const index_t plane = winograd_weight_plane(out * lanes, in * lanes);
#pragma omp parallel for schedule(static) collapse(2)
  for (index_t o = 0; o < out; ++o)
    for (index_t c = 0; c < in; ++c) {
      const index_t first = o / 2 * 2, outs = least(2, out - first);
      const float* w = a.from + (o * in + c) * 9 * block;
      float* u = a.to + (first * in + c * outs + o - first) * block;
      for (index_t i = 0; i < lanes; ++i) simd::weight_tile<M>(w + i * lanes, block, u + i * lanes, plane);
    }
}

}  // namespace

void winograd4_conv(const ConvArgs& a) noexcept { convolve<4>(a); }
void winograd2_conv(const ConvArgs& a) noexcept { convolve<2>(a); }
void winograd4_prepare(const WeightArgs& a) noexcept { prepare<4>(a); }
void winograd2_prepare(const WeightArgs& a) noexcept { prepare<2>(a); }

}  // namespace slimneck::kernels::SN_ISA
