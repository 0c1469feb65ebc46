// Gradient of the weights of a 3x3 convolution of stride 1 by Winograd's algorithm F(MxM, 3x3), M = 4 or 2:
//
//   dw = G^T [ sum over tiles of (A dY A^T) * (B^T x B) ] G
//
// At each of the (M + 2)^2 points the sum is an outer product over tiles of V channels of y and of x. Tiles come in
// batches that a cache holds; a sum over one batch is made in registers and added to dU[point][o][c block][V of c][V of
// o] of that point, which also keeps the chains of additions short. See winograd.hpp for the two ways to share the
// work.
#include "core/threads.hpp"
#include "kernels/conv2d/tile.hpp"
#include "kernels/conv2d/winograd.hpp"
#include "kernels/conv2d/winograd_tiles.hpp"
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
  float *v, *g;  ///< of x and of dy: [point][block][tile][V]
};

Batch batch_of(const WinogradGradPlan& p, index_t b, float* transformed) {
  const index_t first = p.tiles * b / p.batches;
  return {first, p.tiles * (b + 1) / p.batches - first, transformed, transformed + p.points * p.v_plane};
}

/// Block b of x, or block b - x_blocks of dy.
template <int M>
void transform(const ConvGradArgs& a, const WinogradGradPlan& p, const Batch& batch, index_t b) {
  const index_t image = p.rows * p.columns;
  index_t n = batch.first / image, row = batch.first % image / p.columns, column = batch.first % p.columns;
  for (index_t t = 0; t < batch.count; ++t) {
    if (b < a.x_blocks) {
      simd::input_at<M>(a.x + n * a.xn + b * a.xb, a.xh, a.h, a.w, row * M - a.pad_h, column * M - a.pad_w,
                        batch.v + (b * batch.count + t) * lanes, p.v_plane);
    } else {
      const index_t o = b - a.x_blocks;
      const float* y = a.dy + n * a.yn + o * a.yb + row * M * a.yh + column * M * lanes;
      float* to = batch.g + (o * batch.count + t) * lanes;
      if (row * M + M <= a.oh && column * M + M <= a.ow)
        simd::gradient_tile<M>(y, a.yh, M, M, to, p.g_plane);
      else
        simd::gradient_tile<M>(y, a.yh, a.oh - row * M, a.ow - column * M, to, p.g_plane);
    }
    if (++column == p.columns) {
      column = 0;
      if (++row == p.rows) {
        row = 0;
        ++n;
      }
    }
  }
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

/// At one point: blocks o, o + 1 of y (those that are there) and block c of x.
void multiply(const WinogradGradPlan& p, const Batch& batch, index_t point, index_t o, index_t outs, index_t c,
              float* du, index_t du_block, bool fresh) {
  const float* v = batch.v + point * p.v_plane + c * batch.count * lanes;
  const float* g = batch.g + point * p.g_plane + o * batch.count * lanes;
  if (outs == 2)
    outer_product<2, simd::outer_channels>(v, g, batch.count, du, du_block, fresh);
  else
    outer_product<1, static_cast<int>(lanes)>(v, g, batch.count, du, du_block, fresh);
}

/// Few channels: each part of the batches is summed by one thread, then the parts are added in their order.
template <int M>
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
        for (index_t k = 0; k < a.x_blocks + a.y_blocks; ++k) transform<M>(a, p, batch, k);
        for (index_t point = 0; point < p.points; ++point)
          for (index_t o = 0; o < a.y_blocks; o += 2)
            for (index_t c = 0; c < a.x_blocks; ++c)
              multiply(p, batch, point, o, least(2, a.y_blocks - o), c,
                       du + point * p.du_plane + (o * a.x_blocks + c) * square, du_block, b == first);
      }
    }
#pragma omp for schedule(static)
    for (index_t row = 0; row < blocks * lanes; ++row)
      simd::tap_tile<M>(a.workspace + row * lanes, p.du_plane, p.parts, p.du,
                        a.dw + row / lanes * 9 * square + row % lanes * lanes, square);
  }
}

/// Many channels: all threads transform a batch, then share out the pairs of blocks of y times the blocks of x. The
/// sums of a task over all points are transformed back while they are in its cache.
template <int M>
void in_blocks(const ConvGradArgs& a, const WinogradGradPlan& p) {
  const index_t pairs = (a.y_blocks + 1) / 2;
#pragma omp parallel
  for (index_t b = 0; b < p.batches; ++b) {
    const Batch batch = batch_of(p, b, a.workspace);
#pragma omp for schedule(static)
    for (index_t k = 0; k < a.x_blocks + a.y_blocks; ++k) transform<M>(a, p, batch, k);
#pragma omp for schedule(static)
    for (index_t task = 0; task < pairs * a.x_blocks; ++task) {
      const index_t o = task / a.x_blocks * 2, c = task % a.x_blocks, outs = least(2, a.y_blocks - o);
      float* du = a.workspace + p.sums + (p.batches == 1 ? core::thread_index() : task) * p.du;
      for (index_t point = 0; point < p.points; ++point)
        multiply(p, batch, point, o, outs, c, du + point * p.du_plane, square, b == 0);
      if (b + 1 < p.batches) continue;
      for (index_t k = 0; k < outs; ++k)
        for (index_t i = 0; i < lanes; ++i)
          simd::tap_tile<M>(du + k * square + i * lanes, p.du_plane, 1, 0,
                            a.dw + ((o + k) * a.x_blocks + c) * 9 * square + i * lanes, square);
    }
  }
}

template <int M>
void gradient(const ConvGradArgs& a) {
  const WinogradGradPlan p = winograd_grad_plan(a, lanes, M);
  if (p.batches == 0) {
    for (index_t i = 0; i < a.x_blocks * a.y_blocks * 9 * square; ++i) a.dw[i] = 0;
    return;
  }
  p.parts > 0 ? in_parts<M>(a, p) : in_blocks<M>(a, p);
}

}  // namespace

void winograd4_bwd_w(const ConvGradArgs& a) noexcept { gradient<4>(a); }
void winograd2_bwd_w(const ConvGradArgs& a) noexcept { gradient<2>(a); }

}  // namespace slimneck::kernels::SN_ISA
