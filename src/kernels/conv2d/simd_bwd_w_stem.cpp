// Gradient of the weights of a convolution that reads a plain NCHW picture:
//
//   dw[o,c,u,v] = sum over n, i, j of dy[n,o,i,j] x[n,c, i*s - ph + u*d, j*s - pw + v*d]   in WeightOrder::planes
//
// A row of taps is a pair (c, u). 4 rows of 6 taps for one output block, or 2 for two, stay in registers (24; half as
// many where there are 16 registers) while a strip of rows of dy goes by; a pixel is O loads and 6 broadcasts for each
// row of taps. Pixels near the border test each tap.
#include "kernels/conv2d/parts.hpp"
#include "kernels/conv2d/widths.hpp"
#include "kernels/declare.hpp"
#include "kernels/epilogue.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

/// Rows of taps together, for two output blocks.
constexpr int rows_of_two = tile_pixels == 14 ? 2 : 1;

struct Job {
  const float* x[2 * rows_of_two];  ///< for each row of taps: its row of x, at tap 0 of column 0 (which may be outside)
  index_t tap, pixel;               ///< strides in x, floats
  const float* dy;
  index_t dy_block;
  index_t columns, whole_from, whole_to;  ///< columns of dy, those whose taps are all inside
  index_t start, extent;                  ///< tap v of column j is inside when 0 <= start + j*pixel + v*tap < extent
};

template <int O, int R, int K>
SN_INLINE void border(Vec (&acc)[O][R * K], const Job& j, index_t from, index_t to) {
  for (index_t p = from; p < to; ++p)
#pragma GCC unroll 8
    for (int v = 0; v < K; ++v) {
      const index_t at = j.start + p * j.pixel + v * j.tap;
      if (at < 0 || at >= j.extent) continue;
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const Vec b = splat(j.x[r][p * j.pixel + v * j.tap]);
#pragma GCC unroll 8
        for (int o = 0; o < O; ++o)
          acc[o][r * K + v] = fma(b, load(j.dy + o * j.dy_block + p * lanes), acc[o][r * K + v]);
      }
    }
}

/// One row of dy; taps D apart (0: job.tap).
template <int O, int R, int K, int D>
SN_INLINE void add_row(Vec (&acc)[O][R * K], const Job& j) {
  border<O, R, K>(acc, j, 0, j.whole_from);
  const float* x[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) x[r] = j.x[r] + j.whole_from * j.pixel;
  const float* dy = j.dy + j.whole_from * lanes;
  for (index_t p = j.whole_from; p < j.whole_to; ++p, dy += lanes) {
    Vec g[O];
#pragma GCC unroll 8
    for (int o = 0; o < O; ++o) g[o] = load(dy + o * j.dy_block);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < K; ++v) {
        const Vec b = splat(x[r][v * (D > 0 ? D : j.tap)]);
#pragma GCC unroll 8
        for (int o = 0; o < O; ++o) acc[o][r * K + v] = fma(b, g[o], acc[o][r * K + v]);
      }
      x[r] += j.pixel;
    }
  }
  border<O, R, K>(acc, j, j.whole_to, j.columns);
}

/// Rows [from, to) of image n, in all of which the R rows of taps from number q on are inside; taps [v0, v0 + K).
struct Place {
  index_t n, from, to, ob, q, v0;
  float* dw;
};

template <int O, int R, int K, int D>
void add_strip(const ConvGradArgs& a, const Place& p) {
  const index_t w_row = a.kw * lanes, w_out = a.planes * a.kh * w_row;
  float* dw = p.dw + p.ob * w_out + p.q * w_row + p.v0 * lanes;
  Vec acc[O][R * K];
#pragma GCC unroll 8
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < K; ++v) acc[o][r * K + v] = load(dw + o * w_out + r * w_row + v * lanes);
  Job j{};
  j.tap = a.dilation;
  j.pixel = a.stride;
  j.dy_block = a.yb;
  j.columns = a.ow;
  j.start = p.v0 * a.dilation - a.pad_w;
  j.extent = a.w;
  index_t from = 0, to = a.ow;
  while (from < to && j.start + from * a.stride < 0) ++from;
  while (from < to && j.start + (to - 1) * a.stride + (K - 1) * a.dilation >= a.w) --to;
  j.whole_from = from;
  j.whole_to = to;
  for (index_t row = p.from; row < p.to; ++row) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const index_t c = (p.q + r) / a.kh, h = row * a.stride - a.pad_h + (p.q + r) % a.kh * a.dilation;
      j.x[r] = a.x + p.n * a.xn + c * a.xb + h * a.xh + j.start;
    }
    j.dy = a.dy + p.n * a.yn + p.ob * a.yb + row * a.yh;
    add_row<O, R, K, D>(acc, j);
  }
#pragma GCC unroll 8
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < K; ++v) store(dw + o * w_out + r * w_row + v * lanes, acc[o][r * K + v]);
}

/// The rows of [from, to) for which all of the R rows of taps from q on are inside.
template <int R>
SN_INLINE void shared_rows(const ConvGradArgs& a, const Place& p, index_t& from, index_t& to) {
  from = p.from;
  to = p.to;
  for (int r = 0; r < R; ++r) {
    const index_t offset = (p.q + r) % a.kh * a.dilation - a.pad_h;
    while (from < to && from * a.stride + offset < 0) ++from;
    while (from < to && (to - 1) * a.stride + offset >= a.h) --to;
  }
}

/// The same for any rows [from, to).
template <int O, int R, int K, int D>
void add_rows(const ConvGradArgs& a, const Place& place) {
  Place p = place;
  shared_rows<R>(a, place, p.from, p.to);
  if (p.from < p.to) add_strip<O, R, K, D>(a, p);
  if constexpr (R > 1) {
    // Near the upper and lower border some of the rows of taps are outside: one by one.
    const index_t above = p.from, below = p.to;
    for (int r = 0; r < R; ++r, ++p.q) {
      p.from = place.from;
      p.to = above;
      add_rows<O, 1, K, D>(a, p);
      p.from = below;
      p.to = place.to;
      add_rows<O, 1, K, D>(a, p);
    }
  }
}

/// K taps of one row of taps, or of as many rows as fit the registers.
template <int O, int K, int D>
void add_taps(const ConvGradArgs& a, const Place& p, bool one_row) {
  (one_row ? add_rows<O, 1, K, D> : add_rows<O, 2 * rows_of_two / O, K, D>)(a, p);
}

/// How many of `rest` taps of a row come next: 4 where that leaves no single one, whose sums would wait for each other.
constexpr index_t next_taps(index_t rest) { return rest <= 4 ? rest : rest <= 6 ? 3 : 4; }

/// All taps of one group of output blocks for one strip.
template <int O>
void add_group(const ConvGradArgs& a, Place p) {
  constexpr void (*of[5])(const ConvGradArgs&, const Place&, bool) = {nullptr, add_taps<O, 1, 0>, add_taps<O, 2, 0>,
                                                                      add_taps<O, 3, 0>, add_taps<O, 4, 0>};
  constexpr index_t together = 2 * rows_of_two / O;
  const index_t rows = a.planes * a.kh;
  for (p.q = 0; p.q < rows;) {
    const bool one_row = rows - p.q < together;
    p.v0 = 0;
    if (a.kw == 6 && a.dilation == 1) {
      add_taps<O, 6, 1>(a, p, one_row);
    } else {
      for (index_t k = 0; p.v0 < a.kw; p.v0 += k) {
        k = next_taps(a.kw - p.v0);
        of[k](a, p, one_row);
      }
    }
    p.q += one_row ? 1 : together;
  }
}

}  // namespace

void conv_bwd_w_stem(const ConvGradArgs& a) noexcept {
  const index_t size = grad_stem_size(a, lanes), parts = grad_stem_parts(a), rows = grad_stem_strip;
  const index_t per_image = (a.oh + rows - 1) / rows, strips = a.n * per_image, pairs = (a.y_blocks + 1) / 2;
  const index_t w_out = a.planes * a.kh * a.kw * lanes;
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t part = 0; part < parts; ++part)
    for (index_t pair = 0; pair < pairs; ++pair) {
      Place p{};
      p.dw = part == 0 ? a.dw : a.workspace + (part - 1) * size;
      p.ob = 2 * pair;
      const bool two = p.ob + 1 < a.y_blocks;
      for (index_t i = 0; i < (two ? 2 : 1) * w_out; i += lanes) store(p.dw + p.ob * w_out + i, zero());
      for (index_t s = part * strips / parts; s < (part + 1) * strips / parts; ++s) {
        p.n = s / per_image;
        p.from = s % per_image * rows;
        p.to = least(a.oh, p.from + rows);
        (two ? add_group<2> : add_group<1>)(a, p);
      }
    }
  add_parts(a.dw, a.workspace, size, parts);
}

}  // namespace slimneck::kernels::SN_ISA
