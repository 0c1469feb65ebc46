// Gradient of the weights of a dense convolution of any geometry, on blocked maps:
//
//   dw[o,c,u,v] = sum over n, i, j of dy[n,o,i,j] x[n,c, i*s - ph + u*d, j*s - pw + v*d]
//
// For every tap an outer product of 2 output blocks x 8 (4) input channels over the pixels of a strip of rows, added to
// dw once per strip; the first strip of a part sets dw. A border only shortens the rows and columns that a tap meets.
#include "kernels/conv2d/parts.hpp"
#include "kernels/conv2d/tile.hpp"
#include "kernels/declare.hpp"
#include "kernels/epilogue.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

/// Pixels between those that are fetched into L1 and those at work. Short vectors have no load slot to spare for dy,
/// which other input blocks have fetched before.
constexpr index_t ahead = 64;

/// i in [first, last): those with 0 <= i*stride + offset < extent, of [from, to).
struct Range {
  index_t first, last;
};
Range meets(index_t from, index_t to, index_t stride, index_t offset, index_t extent) {
  while (from < to && from * stride + offset < 0) ++from;
  while (from < to && (to - 1) * stride + offset >= extent) --to;
  return {from, to};
}

/// dw[o][i] += sum over `rows` rows of n pixels (fresh: =).
template <int O>
void add_outer(const ConvGradArgs& a, const float* x, const float* dy, float* dw, index_t w_out, index_t rows,
               index_t n, bool fresh) {
  const index_t step = a.stride * lanes;
  for (index_t i0 = 0; i0 < lanes; i0 += outer_channels) {
    Vec acc[O][outer_channels];
    if (fresh)
      clear<O, outer_channels>(acc);
    else
      load_tile<O, outer_channels>(acc, dw + i0 * lanes, w_out);
    for (index_t r = 0; r < rows; ++r) {
      const float* at = x + r * a.stride * a.xh + i0;
      const float* gradient = dy + r * a.yh;
      for (index_t p = 0; p < n; ++p, at += step, gradient += lanes) {
        prefetch(at + ahead * lanes);
        Vec g[O];
#pragma GCC unroll 8
        for (int o = 0; o < O; ++o) {
          if constexpr (lanes == 16) prefetch(gradient + o * a.yb + ahead * lanes);
          g[o] = load(gradient + o * a.yb);
        }
#pragma GCC unroll 16
        for (int i = 0; i < outer_channels; ++i) {
          const Vec b = splat(at[i]);
#pragma GCC unroll 8
          for (int o = 0; o < O; ++o) acc[o][i] = fma(b, g[o], acc[o][i]);
        }
      }
    }
    store_tile<O, outer_channels>(acc, dw + i0 * lanes, w_out);
  }
}

/// All taps of one pair of blocks over one strip, output rows [from, to) of image n.
void add_strip(const ConvGradArgs& a, index_t n, index_t from, index_t to, index_t ob, index_t ib, float* dw,
               bool fresh) {
  const index_t square = lanes * lanes, taps = a.kh * a.kw;
  for (index_t u = 0; u < a.kh; ++u) {
    const index_t row_offset = u * a.dilation - a.pad_h;
    const Range rows = meets(from, to, a.stride, row_offset, a.h);
    for (index_t v = 0; v < a.kw; ++v) {
      const index_t column_offset = v * a.dilation - a.pad_w;
      const Range columns = meets(0, a.ow, a.stride, column_offset, a.w);
      const bool met = rows.first < rows.last && columns.first < columns.last;
      if (!met && !fresh) continue;
      const float* x = a.x + n * a.xn + ib * a.xb + (rows.first * a.stride + row_offset) * a.xh +
                       (columns.first * a.stride + column_offset) * lanes;
      const float* dy = a.dy + n * a.yn + ob * a.yb + rows.first * a.yh + columns.first * lanes;
      float* to_tap = dw + ((ob * a.x_blocks + ib) * taps + u * a.kw + v) * square;
      (ob + 1 < a.y_blocks ? add_outer<2> : add_outer<1>)(a, x, dy, to_tap, a.x_blocks * taps * square,
                                                          met ? rows.last - rows.first : 0,
                                                          columns.last - columns.first, fresh);
    }
  }
}

void fill_zero(float* p, index_t size) {
  for (index_t i = 0; i < size; i += lanes) store(p + i, zero());
}

}  // namespace

void conv_bwd_w_any(const ConvGradArgs& a) noexcept {
  const index_t size = grad_size(a, lanes), parts = grad_parts(a, lanes);
  const index_t rows = grad_strip_rows(a, lanes), per_image = (a.oh + rows - 1) / rows, strips = a.n * per_image;
  const index_t pairs = (a.y_blocks + 1) / 2;
  if (strips == 0) return fill_zero(a.dw, size);
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t part = 0; part < parts; ++part)
    for (index_t pair = 0; pair < pairs; ++pair) {
      float* dw = part == 0 ? a.dw : a.workspace + (part - 1) * size;
      const index_t first = part * strips / parts, last = (part + 1) * strips / parts;
      for (index_t s = first; s < last; ++s) {
        const index_t n = s / per_image, from = s % per_image * rows, to = least(a.oh, from + rows);
        for (index_t ib = 0; ib < a.x_blocks; ++ib) add_strip(a, n, from, to, 2 * pair, ib, dw, s == first);
      }
    }
  add_parts(a.dw, a.workspace, size, parts);
}

}  // namespace slimneck::kernels::SN_ISA
