// Gradient of the weights of a 3x3 convolution by Winograd's algorithms, F(MxM, 3x3) for stride 1 and F(MxM, 2x2) of
// the phases of x for stride 2, M = 4 or 2:
//
//   dw = G^T [ sum over tiles of (A dY A^T) * (B^T x B) ] G
//
// For each slice, which is a point of stride 1 and a point of a phase of stride 2, the sum is an outer product over
// tiles of V channels of y and of x. Tiles come in batches that a cache holds; a sum over one batch is made in
// registers and added to dU[task][slice][o of the pair][V of c][V of o], which also keeps the chains of additions
// short. A task is a pair of blocks of y and a block of x; see winograd.hpp for how they are shared out. The phases of
// a plain picture (winograd_stem.hpp) are transformed by rows of tiles, and its taps lie in another order.
#include "core/threads.hpp"
#include "kernels/conv2d/parts.hpp"
#include "kernels/conv2d/tile.hpp"
#include "kernels/conv2d/winograd_phases.hpp"
#include "kernels/conv2d/winograd_stem.hpp"
#include "kernels/declare.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using simd::lanes;
using simd::least;
using simd::Vec;

constexpr index_t square = lanes * lanes;

template <class Form>
constexpr bool is_stem = false;
template <>
constexpr bool is_stem<simd::stem::Form> = true;

/// Tiles [first, first + count) of all images and where their transforms go.
struct Batch {
  index_t first, count;
  float *v, *g;  ///< of x and of dy: [plane][block][tile][V]
};

Batch batch_of(const WinogradGradPlan& p, index_t b, float* transformed) {
  const index_t runs = p.tiles / p.run, first = runs * b / p.batches;
  return {first * p.run, (runs * (b + 1) / p.batches - first) * p.run, transformed, transformed + p.g};
}

/// run(image, row, column, place in the batch) for the tiles of a batch.
template <class Run>
SN_INLINE void for_each_tile(const WinogradGradPlan& p, const Batch& batch, Run run) {
  const index_t image = p.rows * p.columns;
  index_t n = batch.first / image, row = batch.first % image / p.columns, column = batch.first % p.columns;
  for (index_t t = 0; t < batch.count; ++t) {
    run(n, row, column, t);
    if (++column < p.columns) continue;
    column = 0;
    if (++row < p.rows) continue;
    row = 0;
    ++n;
  }
}

/// Block b of x, phase by phase as in winograd_frame.hpp.
template <class Form, int Phase = 0>
void transform_x(const ConvGradArgs& a, const WinogradGradPlan& p, const Batch& batch, index_t b) {
  constexpr int m = Form::m;
  for_each_tile(p, batch, [&](index_t n, index_t row, index_t column, index_t t) SN_INLINE_BODY {
    Form::template input<Phase>(a, a.x + n * a.xn + b * a.xb, row * m, column * m,
                                batch.v + (b * batch.count + t) * lanes, p.v_plane);
  });
  if constexpr (Phase + 1 < Form::phases) transform_x<Form, Phase + 1>(a, p, batch, b);
}

/// All blocks of the phases of a plain picture.
void transform_planes(const ConvGradArgs& a, const WinogradGradPlan& p, const Batch& batch) {
  constexpr int m = simd::stem::Form::m;
  for_each_tile(p, batch, [&](index_t n, index_t row, index_t column, index_t t) {
    if (column == 0)
      simd::stem::transform_row(a, n, row * m, p.columns, batch.v + p.input, batch.v + t * lanes, batch.count * lanes,
                                p.v_plane);
  });
}

template <class Form>
void transform_dy(const ConvGradArgs& a, const WinogradGradPlan& p, const Batch& batch, index_t b) {
  constexpr int m = Form::m;
  for_each_tile(p, batch, [&](index_t n, index_t row, index_t column, index_t t) SN_INLINE_BODY {
    const float* y = a.dy + n * a.yn + b * a.yb + row * m * a.yh + column * m * lanes;
    float* to = batch.g + (b * batch.count + t) * lanes;
    if (row * m + m <= a.oh && column * m + m <= a.ow)
      simd::gradient_tile<m, Form::n>(y, a.yh, m, m, to, p.g_plane);
    else
      simd::gradient_tile<m, Form::n>(y, a.yh, a.oh - row * m, a.ow - column * m, to, p.g_plane);
  });
}

/// du (+)= sum over tiles of g x v, for O blocks of y and C channels of x, I at a time.
template <int O, int I, int C>
SN_INLINE void outer_product(const float* v, const float* g, index_t count, float* du, index_t du_block, bool fresh) {
  for (index_t i = 0; i < C; i += I) {
    Vec acc[O][I];
    simd::clear(acc);
    simd::outer<O, I, 1>(acc, v + i, g, count * lanes, count);
#pragma GCC unroll 2
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 16
      for (int k = 0; k < I; ++k) {
        float* to = du + o * du_block + (i + k) * lanes;
        simd::store(to, fresh ? acc[o][k] : simd::add(simd::load(to), acc[o][k]));
      }
  }
}

/// One slice: blocks o, o + 1 of y (those that are there) and block c of x.
template <class Form>
void multiply(const WinogradGradPlan& p, const Batch& batch, index_t slice, index_t o, index_t outs, index_t c,
              float* du, index_t du_block, bool fresh) {
  const float* v = batch.v + slice * p.v_plane + c * batch.count * lanes;
  const float* g = batch.g + Form::sum_of(slice) * p.g_plane + o * batch.count * lanes;
  constexpr int channels = Form::channels,
                together = channels % simd::outer_channels == 0 ? simd::outer_channels : channels;
  if (outs == 2)
    outer_product<2, together, channels>(v, g, batch.count, du, du_block, fresh);
  else
    outer_product<1, channels, channels>(v, g, batch.count, du, du_block, fresh);
}

/// Tasks [first, last) of a part: pairs of blocks of y times blocks of x, x going first.
struct Run {
  index_t part, first, last;
};

/// Transforms what the tasks of a run read: blocks of x go round and round, once for each pair of blocks of y. Threads
/// that share a pair or a block of x transform it each for itself: a transform is a seventh of the work, and lines that
/// two cores write in turns cost more.
template <class Form>
void transform(const ConvGradArgs& a, const WinogradGradPlan& p, const Batch& batch, const Run& run) {
  if constexpr (is_stem<Form>)
    transform_planes(a, p, batch);
  else
    for (index_t c = 0; c < a.x_blocks; ++c)
      if ((c - run.first % a.x_blocks + a.x_blocks) % a.x_blocks < run.last - run.first)
        transform_x<Form>(a, p, batch, c);
  const index_t end = least(a.y_blocks, ((run.last - 1) / a.x_blocks + 1) * 2);
  for (index_t o = run.first / a.x_blocks * 2; o < end; ++o) transform_dy<Form>(a, p, batch, o);
}

/// Channel i of block c of a plain picture's phases, for block o of y.
void finish_planes(const ConvGradArgs& a, const WinogradGradPlan& p, index_t o, index_t c, index_t i, const float* du) {
  using simd::stem::Form;
  const index_t channel = c * Form::channels + i;
  if (i >= Form::channels || channel >= 4 * a.planes) return;
  alignas(64) float taps[9 * lanes];
  Form::taps(du, p.du_plane, p.parts, p.tasks * p.du, taps, lanes);
  for (index_t t = 0; t < 9; ++t)
    simd::store(a.dw + o * a.planes * 36 * lanes + simd::stem::tap_at(channel, t), simd::load(taps + t * lanes));
}

/// dw of a task, from the sums of all parts.
template <class Form>
void finish(const ConvGradArgs& a, const WinogradGradPlan& p, index_t task, const float* du) {
  const index_t o = task / a.x_blocks * 2, c = task % a.x_blocks, outs = least(2, a.y_blocks - o);
  for (index_t row = 0; row < outs * lanes; ++row)
    if constexpr (is_stem<Form>)
      finish_planes(a, p, o + row / lanes, c, row % lanes, du + row * lanes);
    else
      Form::taps(du + row * lanes, p.du_plane, p.parts, p.tasks * p.du,
                 a.dw + ((o + row / lanes) * a.x_blocks + c) * 9 * square + row % lanes * lanes, square);
}

/// The sums of a run, batch by batch and slice by slice, so that what is read of a slice is used for all tasks. Where
/// one batch is all, it goes task by task, and the sums of each become dw while they are in the cache.
template <class Form>
void sum(const ConvGradArgs& a, const WinogradGradPlan& p, const Run& run, float* scratch) {
  const index_t begin = p.batches * run.part / p.parts, end = p.batches * (run.part + 1) / p.parts;
  const index_t together = p.sums == 0 ? 1 : run.last - run.first;
  const auto du_of = [&](index_t task) {
    return p.sums == 0 ? scratch + p.transformed : a.workspace + (run.part * p.tasks + task) * p.du;
  };
  for (index_t b = begin; b < end; ++b) {
    const Batch batch = batch_of(p, b, scratch);
    transform<Form>(a, p, batch, run);
    for (index_t from = run.first; from < run.last; from += together) {
      for (index_t slice = 0; slice < Form::form.slices; ++slice)
        for (index_t task = from; task < from + together; ++task) {
          const index_t o = task / a.x_blocks * 2;
          multiply<Form>(p, batch, slice, o, least(2, a.y_blocks - o), task % a.x_blocks,
                         du_of(task) + slice * p.du_plane, square, b == begin);
        }
      if (p.parts == 1 && b + 1 == end)
        for (index_t task = from; task < from + together; ++task) finish<Form>(a, p, task, du_of(task));
    }
  }
}

/// Each thread takes a run of the tasks of all parts; then the parts are added in their order.
template <class Form>
void gradient(const ConvGradArgs& a) {
  const WinogradGradPlan p = winograd_grad_plan(Form::form, a, lanes);
  if (p.batches == 0) {
    const index_t size = is_stem<Form> ? grad_stem_size(a, lanes) : grad_size(a, lanes);
    for (index_t i = 0; i < size; ++i) a.dw[i] = 0;
    return;
  }
  const index_t units = p.parts * p.tasks, threads = core::max_threads();
#pragma omp parallel for schedule(static)
  for (index_t thread = 0; thread < threads; ++thread) {
    const index_t last = units * (thread + 1) / threads;
    for (index_t unit = units * thread / threads; unit < last;) {
      const index_t part = unit / p.tasks, from = part * p.tasks, to = least(last, from + p.tasks);
      sum<Form>(a, p, {part, unit - from, to - from}, a.workspace + p.sums + thread * p.scratch);
      unit = to;
    }
  }
  if (p.parts == 1) return;
#pragma omp parallel for schedule(static)
  for (index_t task = 0; task < p.tasks; ++task) finish<Form>(a, p, task, a.workspace + task * p.du);
}

}  // namespace

void winograd4_bwd_w(const ConvGradArgs& a) noexcept { gradient<simd::Stride1<4>>(a); }
void winograd2_bwd_w(const ConvGradArgs& a) noexcept { gradient<simd::Stride1<2>>(a); }
void winograd4s2_bwd_w(const ConvGradArgs& a) noexcept { gradient<simd::Stride2<4>>(a); }
void winograd2s2_bwd_w(const ConvGradArgs& a) noexcept { gradient<simd::Stride2<2>>(a); }
void winograd4_stem_bwd_w(const ConvGradArgs& args) noexcept {
  ConvGradArgs a = args;
  a.x_blocks = simd::stem::Form::blocks;
  gradient<simd::stem::Form>(a);
}

}  // namespace slimneck::kernels::SN_ISA
