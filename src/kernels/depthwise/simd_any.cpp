// Depthwise convolution with any kernel, stride, padding and dilation:
//
//   y[n,c,i,j] = sum over u, v of w[c,u,v] * x[n,c, i*s - ph + u*d, j*s - pw + v*d]
//
// and its gradients. One vector is one pixel of V channels; taps outside of the map are not touched. These are the
// fallback of the kernels for the sizes that networks use, so they are simple before they are fast.
#include "kernels/declare.hpp"
#include "kernels/depthwise/parts.hpp"
#include "kernels/epilogue.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder
using simd::add;       // and not the reference kernel of that name

/// Taps [first, last) of an axis that stay inside of `extent` when tap t reads position start + t * step.
struct Range {
  index_t first, last;
};

Range inside(index_t start, index_t step, index_t taps, index_t extent) {
  Range r{0, taps};
  while (r.first < taps && start + r.first * step < 0) ++r.first;
  while (r.last > r.first && start + (r.last - 1) * step >= extent) --r.last;
  return r;
}

Vec gather(const DepthwiseArgs& a, const float* x, const float* w, index_t row, index_t column, Vec acc) {
  const index_t top = row * a.stride - a.pad_h, left = column * a.stride - a.pad_w;
  const Range u = inside(top, a.dilation, a.kh, a.h), v = inside(left, a.dilation, a.kw, a.w);
  for (index_t i = u.first; i < u.last; ++i)
    for (index_t j = v.first; j < v.last; ++j)
      acc = fma(load(x + (top + i * a.dilation) * a.xh + (left + j * a.dilation) * lanes),
                load(w + (i * a.kw + j) * lanes), acc);
  return acc;
}

/// The transpose: from the pixels of the forward's output that this pixel of its input took part in.
Vec scatter(const DepthwiseArgs& a, const float* dy, const float* w, index_t row, index_t column, Vec acc) {
  for (index_t i = 0; i < a.kh; ++i) {
    const index_t r = row + a.pad_h - i * a.dilation;
    if (r < 0 || r % a.stride != 0 || r / a.stride >= a.h) continue;
    for (index_t j = 0; j < a.kw; ++j) {
      const index_t c = column + a.pad_w - j * a.dilation;
      if (c < 0 || c % a.stride != 0 || c / a.stride >= a.w) continue;
      acc = fma(load(dy + r / a.stride * a.xh + c / a.stride * lanes), load(w + (i * a.kw + j) * lanes), acc);
    }
  }
  return acc;
}

using Pixel = Vec (*)(const DepthwiseArgs&, const float*, const float*, index_t, index_t, Vec);

void map_pixels(const DepthwiseArgs& a, Pixel pixel) {
  const index_t strip = most(a.strip, 1), strips = (a.oh + strip - 1) / strip;
#pragma omp parallel for schedule(static)
  for (index_t task = 0; task < a.n * a.blocks * strips; ++task) {
    const index_t s = task % strips, b = task / strips % a.blocks, n = task / strips / a.blocks;
    const float *x = a.x + n * a.xn + b * a.xb, *w = a.weights + b * a.kh * a.kw * lanes;
    for (index_t i = s * strip; i < least(a.oh, (s + 1) * strip); ++i)
      for (index_t j = 0; j < a.ow; ++j) {
        float* y = a.y + n * a.yn + b * a.yb + i * a.yh + j * lanes;
        Vec acc[1][1] = {{pixel(a, x, w, i, j, a.epilogue.add ? load(y) : zero())}};
        const bool fresh = i == s * strip && j == 0;
        end_tile<1, 1>(acc, y, 0, tile_end(a.epilogue, a.blocks, n, b, i, j, n * strips + s, fresh));
      }
  }
}

/// One tap of one plane. Rows are summed apart: a chain of h + w terms instead of h * w.
Vec correlate(const DepthwiseGradArgs& a, const float* x, const float* dy, index_t u, index_t v) {
  Vec sum = zero();
  for (index_t i = 0; i < a.oh; ++i) {
    const index_t row = i * a.stride - a.pad_h + u * a.dilation;
    if (row < 0 || row >= a.h) continue;
    const Range j = inside(v * a.dilation - a.pad_w, a.stride, a.ow, a.w);
    const float *xr = x + row * a.xh + (v * a.dilation - a.pad_w + j.first * a.stride) * lanes, *g = dy + i * a.yh;
    Vec part = zero();
    for (index_t k = j.first; k < j.last; ++k)
      part = fma(load(xr + (k - j.first) * a.stride * lanes), load(g + k * lanes), part);
    sum = add(sum, part);
  }
  return sum;
}

}  // namespace

void depthwise_any(const DepthwiseArgs& a) noexcept { map_pixels(a, gather); }

void depthwise_bwd_x_any(const DepthwiseArgs& a) noexcept { map_pixels(a, scatter); }

void depthwise_bwd_w_any(const DepthwiseGradArgs& a) noexcept {
  const index_t taps = a.kh * a.kw;
#pragma omp parallel for schedule(static)
  for (index_t task = 0; task < a.n * a.blocks; ++task) {
    const index_t n = task / a.blocks, b = task % a.blocks;
    for (index_t t = 0; t < taps; ++t)
      store(a.workspace + (task * taps + t) * lanes,
            correlate(a, a.x + n * a.xn + b * a.xb, a.dy + n * a.yn + b * a.yb, t / a.kw, t % a.kw));
  }
  sum_parts(a.workspace, a.n, a.blocks * taps * lanes, a.dw);
}

}  // namespace slimneck::kernels::SN_ISA
