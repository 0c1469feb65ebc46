// Gradient of the weights of a 3x3 convolution by Winograd's algorithms, F(MxM, 3x3) for stride 1 and F(MxM, 2x2) of
// the phases of x for stride 2, M = 4 or 2:
//
//   dw = G^T [ sum over tiles of (A dY A^T) * (B^T x B) ] G
//
// For each slice, which is a point of stride 1 and a point of a phase of stride 2, the sum is an outer product over
// tiles of V channels of y and of x. Tiles come in batches that a cache holds; a sum over one batch is made in
// registers and added to dU[slice][o][c block][V of c][V of o], which also keeps the chains of additions short. See
// winograd.hpp for the two ways to share the work.
#include "core/threads.hpp"
#include "kernels/conv2d/tile.hpp"
#include "kernels/conv2d/winograd_phases.hpp"
#include "kernels/declare.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using simd::lanes;
using simd::least;
using simd::Vec;

constexpr index_t square = lanes * lanes;

/// Tiles [first, first + count) of all images and where their transforms go.
struct Batch {
  index_t first, count;
  float *v, *g;  ///< of x and of dy: [plane][block][tile][V]
};

Batch batch_of(const WinogradGradPlan& p, index_t b, float* transformed) {
  const index_t first = p.tiles * b / p.batches;
  return {first, p.tiles * (b + 1) / p.batches - first, transformed, transformed + p.g};
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

/// Block b of x, or block b - x_blocks of dy.
template <class Form>
void transform(const ConvGradArgs& a, const WinogradGradPlan& p, const Batch& batch, index_t b) {
  if (b < a.x_blocks)
    transform_x<Form>(a, p, batch, b);
  else
    transform_dy<Form>(a, p, batch, b - a.x_blocks);
}

/// du (+)= sum over tiles of g x v, for O blocks of y, I channels of x at a time.
template <int O, int I>
SN_INLINE void outer_product(const float* v, const float* g, index_t count, float* du, index_t du_block, bool fresh) {
  for (index_t i = 0; i < lanes; i += I) {
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
  if (outs == 2)
    outer_product<2, simd::outer_channels>(v, g, batch.count, du, du_block, fresh);
  else
    outer_product<1, static_cast<int>(lanes)>(v, g, batch.count, du, du_block, fresh);
}

/// Few channels: each part of the batches is summed by one thread, then the parts are added in their order.
template <class Form>
void in_parts(const ConvGradArgs& a, const WinogradGradPlan& p) {
  const index_t du_block = a.x_blocks * square, blocks = a.y_blocks * a.x_blocks;
#pragma omp parallel
  {
    float* transformed = a.workspace + p.parts * p.du + core::thread_index() * p.scratch;
#pragma omp for schedule(static)
    for (index_t part = 0; part < p.parts; ++part) {
      float* du = a.workspace + part * p.du;
      const index_t first = p.batches * part / p.parts;
      for (index_t b = first; b < p.batches * (part + 1) / p.parts; ++b) {
        const Batch batch = batch_of(p, b, transformed);
        for (index_t k = 0; k < a.x_blocks + a.y_blocks; ++k) transform<Form>(a, p, batch, k);
        for (index_t slice = 0; slice < Form::form.slices; ++slice)
          for (index_t o = 0; o < a.y_blocks; o += 2)
            for (index_t c = 0; c < a.x_blocks; ++c)
              multiply<Form>(p, batch, slice, o, least(2, a.y_blocks - o), c,
                             du + slice * p.du_plane + (o * a.x_blocks + c) * square, du_block, b == first);
      }
    }
#pragma omp for schedule(static)
    for (index_t row = 0; row < blocks * lanes; ++row)
      Form::taps(a.workspace + row * lanes, p.du_plane, p.parts, p.du,
                 a.dw + row / lanes * 9 * square + row % lanes * lanes, square);
  }
}

/// A pair of blocks of y and a block of x, with the sums of all their slices.
struct Task {
  index_t o, outs, c;
  float* du;
};

/// Many channels: all threads transform a batch, then each takes a run of the pairs of blocks of y times the blocks of
/// x, slice by slice, so that what it reads of a slice is used for all of them. Where one batch is all, it goes task by
/// task and transforms the sums of each back while they are in its cache.
template <class Form>
void in_blocks(const ConvGradArgs& a, const WinogradGradPlan& p) {
  const index_t tasks = (a.y_blocks + 1) / 2 * a.x_blocks, threads = core::max_threads();
  const index_t together = p.batches == 1 ? 1 : tasks;
  const auto task_of = [&](index_t task, index_t thread) {
    const index_t o = task / a.x_blocks * 2;
    return Task{o, least(2, a.y_blocks - o), task % a.x_blocks,
                a.workspace + p.sums + (p.batches == 1 ? thread : task) * p.du};
  };
#pragma omp parallel
  for (index_t b = 0; b < p.batches; ++b) {
    const Batch batch = batch_of(p, b, a.workspace);
#pragma omp for schedule(static)
    for (index_t k = 0; k < a.x_blocks + a.y_blocks; ++k) transform<Form>(a, p, batch, k);
#pragma omp for schedule(static)
    for (index_t thread = 0; thread < threads; ++thread) {
      const index_t end = tasks * (thread + 1) / threads;
      for (index_t from = tasks * thread / threads; from < end; from += together) {
        const index_t to = least(end, from + together);
        for (index_t slice = 0; slice < Form::form.slices; ++slice)
          for (index_t k = from; k < to; ++k) {
            const Task t = task_of(k, thread);
            multiply<Form>(p, batch, slice, t.o, t.outs, t.c, t.du + slice * p.du_plane, square, b == 0);
          }
        if (b + 1 < p.batches) continue;
        for (index_t k = from; k < to; ++k) {
          const Task t = task_of(k, thread);
          for (index_t row = 0; row < t.outs * lanes; ++row)
            Form::taps(t.du + row * lanes, p.du_plane, 1, 0,
                       a.dw + ((t.o + row / lanes) * a.x_blocks + t.c) * 9 * square + row % lanes * lanes, square);
        }
      }
    }
  }
}

template <class Form>
void gradient(const ConvGradArgs& a) {
  const WinogradGradPlan p = winograd_grad_plan(Form::form, a, lanes);
  if (p.batches == 0) {
    for (index_t i = 0; i < a.x_blocks * a.y_blocks * 9 * square; ++i) a.dw[i] = 0;
    return;
  }
  p.parts > 0 ? in_parts<Form>(a, p) : in_blocks<Form>(a, p);
}

}  // namespace

void winograd4_bwd_w(const ConvGradArgs& a) noexcept { gradient<simd::Stride1<4>>(a); }
void winograd2_bwd_w(const ConvGradArgs& a) noexcept { gradient<simd::Stride1<2>>(a); }
void winograd4s2_bwd_w(const ConvGradArgs& a) noexcept { gradient<simd::Stride2<4>>(a); }
void winograd2s2_bwd_w(const ConvGradArgs& a) noexcept { gradient<simd::Stride2<2>>(a); }

}  // namespace slimneck::kernels::SN_ISA
