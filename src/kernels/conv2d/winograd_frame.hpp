// The frame of Winograd's convolutions, for kernel bodies. A form says how tiles are transformed:
//
//   static constexpr WinogradForm form;
//   first(sum)   slices before those of a sum: [first(sum), first(sum + 1)) belong to it
//   plane(sum)   plane of V of the first of them; the others follow
//   input<Phase>(a, x, row, column, v, plane)    a block of a tile of x to its planes of V, of one of `phases`
//   output<Phase>(a, place, block, m, plane)     a block of a tile of sums to pixels of y, one of `output_phases`
//   weights(w, tap, to)                          3 x 3 taps to slices: to(sum, slice of the sum, vector)
//   channels                                     of a block of x
//
// For a batch of tiles: V[plane][c block][tile][V]; then for each pair of blocks of y the sums M[sum][block][tile][V]
// of U[slice] V[plane], all slices and all of c in registers; then y from M of that pair. U is packed [sum][pair][slice
// of the sum][c block][o of the pair][V of c][V of o]. See winograd.hpp for the cut into tasks.
#pragma once

#include "core/threads.hpp"
#include "kernels/conv2d/tile.hpp"
#include "kernels/conv2d/winograd_tiles.hpp"
#include "kernels/epilogue.hpp"

namespace {
namespace simd {
namespace winograd {

using slimneck::kernels::ConvArgs;
using slimneck::kernels::WeightArgs;
using slimneck::kernels::WeightOrder;
using slimneck::kernels::WinogradForm;
using slimneck::kernels::WinogradPlan;

/// What a sum runs over: slices whose planes of V lie `plane` apart, in each of them blocks that lie `block` apart;
/// with each block so many floats of what comes next are fetched to the second level cache.
struct Terms {
  index_t slices, plane, blocks, block, ahead;
};

/// What comes next: the weights of the next pair, and the part of them that this call fetches.
struct Next {
  const float *u, *part;
};

/// m[o][p] = sum over slices and the C channels c of blocks of u[slice][c][o] * v[slice][p][c], for P tiles. U is
/// larger than the second level cache: it is brought there while all tiles of a batch meet the weights before, and from
/// there one block ahead.
template <int C, int O, int P>
void product(const float* v, const Terms& t, const float* u, const Next& next, float* m, index_t m_block) {
  constexpr index_t block = lanes * lanes;
  Vec acc[O][P];
  clear(acc);
  const float* part = next.part;
  for (index_t slice = 0; slice < t.slices; ++slice, v += t.plane) {
    const float* from = v;
    for (index_t b = 0; b < t.blocks; ++b, from += t.block, u += O * block) {
      const float* ahead = b + 1 < t.blocks || slice + 1 < t.slices ? u + O * block : next.u;
#pragma GCC unroll 4
      for (index_t i = 0; i < O * block; i += 16) prefetch(ahead + i);
      for (index_t i = 0; i < t.ahead; i += 16) __builtin_prefetch(part + i, 0, 2);
      part += t.ahead;
      taps<O, P, 1, 0, P, C>(acc, from, u, block);
    }
  }
  store_tile(acc, m, m_block);
}

using Product = void (*)(const float*, const Terms&, const float*, const Next&, float*, index_t);

template <int C, int O, int P = tile_pixels>
Product product_of(index_t p) {
  if constexpr (P == 1)
    return product<C, O, 1>;
  else
    return p == P ? product<C, O, P> : product_of<C, O, P - 1>(p);
}

/// A tile of a batch.
struct Place {
  index_t n, row, column;  ///< of its first pixel in y
  index_t part;            ///< of the moments
  bool fresh;              ///< first tile of its part
};

/// Batches are cut evenly; behind the last one there are no units.
SN_INLINE index_t first_unit(const WinogradPlan& p, index_t batch) {
  return batch < p.batches ? p.units * batch / p.batches : p.units;
}

/// Walks over the tiles of a batch.
class Tiles {
 public:
  Tiles(const WinogradPlan& p, index_t batch) : p_(p), unit_(first_unit(p, batch)) { enter(); }
  Place place() const {
    return {unit_ / p_.strips, row_ * p_.y_tile, column_ * p_.y_tile, unit_, column_ == 0 && row_ == first_};
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
    for (index_t u = first_unit(p, batch); u < first_unit(p, batch + 1); ++u)
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

/// V of a batch, phase by phase: the planes of one are as many pages as the first level of a TLB holds.
template <class Form, int Phase = 0>
void transform_input(const ConvArgs& a, const WinogradPlan& p, index_t batch, index_t count, float* v) {
  for (index_t b = 0; b < a.x_blocks; ++b) {
    Tiles tiles(p, batch);
    for (index_t t = 0; t < count; ++t, tiles.next()) {
      const Place at = tiles.place();
      Form::template input<Phase>(a, a.x + at.n * a.xn + b * a.xb, at.row, at.column, v + b * p.block + t * lanes,
                                  p.v_plane);
    }
  }
  if constexpr (Phase + 1 < Form::phases) transform_input<Form, Phase + 1>(a, p, batch, count, v);
}

/// Brings the rows of a batch into the second level cache, a few lines at a time: maps stream from far away, and
/// products leave room for that, transforms do not.
class Ahead {
 public:
  /// Of `blocks` blocks of a map of h rows of `width` floats, `tile` rows for one of tiles; `shift` rows below those.
  Ahead(const WinogradPlan& p, index_t tile, const float* data, index_t sn, index_t sb, index_t sh, index_t blocks,
        index_t h, index_t width, index_t batch, index_t shift)
      : p_(p), data_(data), sn_(sn), sb_(sb), sh_(sh), h_(h), width_(width), shift_(shift) {
    unit_height_ = p.unit_rows * tile;
    first_ = first_unit(p, batch) * unit_height_;
    count_ = first_unit(p, batch + 1) * unit_height_ - first_;
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

/// Where the weights of a sum begin, for a pair of blocks of y.
template <class Form>
SN_INLINE index_t weights_at(index_t sum, index_t pair, index_t out, index_t in) {
  constexpr index_t block = lanes * lanes;
  return (Form::first(sum) * out + (Form::first(sum + 1) - Form::first(sum)) * 2 * pair) * in * block + sum * 16;
}

/// The sums of the pairs [first, last) of y's blocks, one by one: what is read of V is used for all pairs.
template <class Form>
void multiply(const ConvArgs& a, const WinogradPlan& p, index_t batch, index_t count, index_t first, index_t last,
              const float* v, float* m) {
  const index_t groups = (count + tile_pixels - 1) / tile_pixels, calls = Form::form.sums * (last - first) * groups;
  Ahead y(p, Form::form.y_tile, a.y + 2 * first * a.yb, a.yn, a.yb, a.yh, least(a.y_blocks, 2 * last) - 2 * first, a.oh,
          a.ow * lanes, batch, 0);
  const index_t maps = a.planes > 0 ? a.planes : a.x_blocks, width = a.planes > 0 ? a.w : a.w * lanes;
  Ahead x(p, Form::form.x_tile, a.x, a.xn, a.xb, a.xh, last == p.pairs ? maps : 0, a.h, width, batch + 1, 1);
  const index_t y_lines = (y.lines() + calls - 1) / calls, x_lines = (x.lines() + calls - 1) / calls;
  const index_t share = p.far ? (2 * lanes * lanes / groups + 15) / 16 * 16 : 0;
  for (index_t sum = 0; sum < Form::form.sums; ++sum) {
    const Terms terms{Form::first(sum + 1) - Form::first(sum), p.v_plane, a.x_blocks, p.block, share};
    const float* v_sum = v + Form::plane(sum) * p.v_plane;
    const float* v_next = v_sum + terms.slices * p.v_plane;
    const index_t v_calls = (last - first) * groups;
    const index_t v_share = p.far ? (terms.slices * p.v_plane / 16 + v_calls - 1) / v_calls * 16 : 0;
    for (index_t q = first; q < last; ++q) {
      const float* u = a.weights + weights_at<Form>(sum, q, a.y_blocks, a.x_blocks);
      const float* next = a.weights + (q + 1 < last ? weights_at<Form>(sum, q + 1, a.y_blocks, a.x_blocks)
                                                    : weights_at<Form>(sum + 1, first, a.y_blocks, a.x_blocks));
      const index_t outs = least(2, a.y_blocks - 2 * q);
      float* to = m + sum * p.m_plane + 2 * (q - first) * p.block;
      for (index_t g = 0; g < groups; ++g) {
        const index_t from = count * g / groups, tiles = count * (g + 1) / groups - from;
        const Product run = outs == 2 ? product_of<Form::channels, 2>(tiles) : product_of<Form::channels, 1>(tiles);
        x.fetch(x_lines);
        y.fetch(y_lines);
        for (index_t i = 0; i < v_share; i += 16) __builtin_prefetch(v_next + i, 0, 2);
        v_next += v_share;
        run(v_sum + from * lanes, terms, u, {next, next + g * share * terms.slices * terms.blocks}, to + from * lanes,
            p.block);
      }
    }
  }
}

/// The sums of blocks [first, last) become pixels of y.
template <class Form, int Phase = 0>
void transform_output(const ConvArgs& a, const WinogradPlan& p, index_t batch, index_t count, index_t first,
                      index_t last, const float* m) {
  for (index_t o = first; o < last; ++o) {
    Tiles tiles(p, batch);
    for (index_t t = 0; t < count; ++t, tiles.next())
      Form::template output<Phase>(a, tiles.place(), o, m + (o - first) * p.block + t * lanes, p.m_plane);
  }
  if constexpr (Phase + 1 < Form::output_phases) transform_output<Form, Phase + 1>(a, p, batch, count, first, last, m);
}

/// Each thread takes a run of tasks; those of one batch go together, so that V is made and read once for all of them.
template <class Form, class Input>
void convolve(const ConvArgs& a, Input transform) {
  const WinogradPlan p = winograd_plan(Form::form, a, lanes);
  const index_t tasks = p.batches * p.groups, threads = slimneck::core::max_threads();
#pragma omp parallel for schedule(static)
  for (index_t thread = 0; thread < threads; ++thread) {
    float* v = a.workspace + thread * p.scratch;
    float* m = v + p.v;
    const index_t end = tasks * (thread + 1) / threads;
    for (index_t task = tasks * thread / threads, next = 0; task < end; task = next) {
      const index_t batch = task / p.groups, count = Tiles::count(p, batch);
      next = least(end, (batch + 1) * p.groups);
      const index_t first = p.pairs * (task - batch * p.groups) / p.groups;
      const index_t last = p.pairs * (next - batch * p.groups) / p.groups;
      transform(a, p, batch, count, v);
      multiply<Form>(a, p, batch, count, first, last, v, m);
      transform_output<Form>(a, p, batch, count, 2 * first, least(2 * last, a.y_blocks), m);
    }
  }
}

template <class Form>
void convolve(const ConvArgs& a) {
  convolve<Form>(a, transform_input<Form>);
}

/// Where the weights of channel i of block c of x and of block o of y go, of c_blocks and o_blocks of them.
template <class Form>
struct PreparedAt {
  float* u;
  index_t o, o_blocks, c, c_blocks, i;

  SN_INLINE void operator()(index_t sum, index_t slice, Vec vector) const {
    const index_t pair = o / 2, outs = least(2, o_blocks - 2 * pair);
    store(u + weights_at<Form>(sum, pair, o_blocks, c_blocks) +
              (((slice * c_blocks + c) * outs + o % 2) * lanes + i) * lanes,
          vector);
  }
};

/// U from packed weights; rows of blocks are those of the channels that are written.
template <class Form>
void prepare(const WeightArgs& a) {
  const bool turned = a.order == WeightOrder::turned;
  const index_t out = (turned ? a.c_physical : a.o_physical) / lanes;
  const index_t in = (turned ? a.o_physical : a.c_physical) / lanes, block = lanes * lanes;
#pragma omp parallel for schedule(static) collapse(2)
  for (index_t o = 0; o < out; ++o)
    for (index_t c = 0; c < in; ++c) {
      const float* w = a.from + (o * in + c) * 9 * block;
      for (index_t i = 0; i < lanes; ++i) Form::weights(w + i * lanes, block, PreparedAt<Form>{a.to, o, out, c, in, i});
    }
}

/// P pixels of a row of a tile are finished and stored.
template <int P>
SN_INLINE void end_row(const Vec (&row)[P], bool sum, float* y, const TileEnd& e) {
  Vec acc[1][P];
#pragma GCC unroll 4
  for (int i = 0; i < P; ++i) acc[0][i] = sum ? add(row[i], load(y + i * lanes)) : row[i];
  end_tile<1, P>(acc, y, 0, e);
}

/// A tile that reaches past the map: its rows x columns pixels one by one.
template <int M, int N>
void output_border(const ConvArgs& a, const Place& at, index_t block, const Vec (&t)[M][N], float* y) {
  alignas(64) float pixels[M * M * lanes];
#pragma GCC unroll 4
  for (int i = 0; i < M; ++i) {
    Vec row[M];
    output_row(t[i], row);
#pragma GCC unroll 4
    for (int j = 0; j < M; ++j) store(pixels + (i * M + j) * lanes, row[j]);
  }
  for (index_t i = 0; i < least(M, a.oh - at.row); ++i)
    for (index_t j = 0; j < least(M, a.ow - at.column); ++j) {
      const Vec pixel[1] = {load(pixels + (i * M + j) * lanes)};
      end_row<1>(pixel, a.epilogue.add, y + i * a.yh + j * lanes,
                 tile_end(a.epilogue, a.y_blocks, at.n, block, at.row + i, at.column + j, at.part,
                          at.fresh && i == 0 && j == 0));
    }
}

/// y = A^T m A of N x N sums, finished as the epilogue says.
template <int M, int N>
SN_INLINE void output_tile(const ConvArgs& a, const Place& at, index_t block, const float* m, index_t plane) {
  Vec t[M][N];
  output_columns<M, N>(m, plane, t);
  float* y = a.y + at.n * a.yn + block * a.yb + at.row * a.yh + at.column * lanes;
  if (at.row + M > a.oh || at.column + M > a.ow) {
    output_border<M, N>(a, at, block, t, y);
    return;
  }
#pragma GCC unroll 4
  for (int i = 0; i < M; ++i) {
    Vec row[M];
    output_row(t[i], row);
    end_row<M>(row, a.epilogue.add, y + i * a.yh,
               tile_end(a.epilogue, a.y_blocks, at.n, block, at.row + i, at.column, at.part, at.fresh && i == 0));
  }
}

}  // namespace winograd
}  // namespace simd
}  // namespace
