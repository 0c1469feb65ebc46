// The first layer of a network by Winograd's algorithm: 6x6 taps, stride 2 and a padding of 2 over a plain NCHW picture
// of up to 3 channels. By the parity of rows and columns the picture falls into four phases, and y is a 3x3 convolution
// of stride 1 of their 4 c channels, by F(4x4, 3x3):
//
//   y[o,i,j] = sum over c, phases (a, b), u, v of w[o,c,2u+a,2v+b] x[c, 2(i-1+u)+a, 2(j-1+v)+b]
//   y        = A^T [ sum over channels of U[channel] * (B^T x[channel] B) ] A,       channel = (c, a, b)
//
// B^T goes down the columns of the picture as it lies, a vector of pixels at a time; then pairs of pixels (b = 0, 1) go
// to the channels that they are, and B along the rows takes vectors of channels.
#pragma once

#include "kernels/conv2d/winograd_tiles.hpp"

namespace {
namespace simd {
namespace stem {

/// What both directions ask of a form; see winograd_tiles.hpp.
struct Form : Stride1<4> {
  static constexpr slimneck::kernels::WinogradForm form = slimneck::kernels::winograd4_stem;
  /// The 12 channels lie in as few blocks as there may be, each of which has as many of them.
  static constexpr int blocks = slimneck::kernels::winograd_stem_blocks(lanes), channels = 12 / blocks;
};

/// Where tap t of the nine of a channel is in WeightOrder::planes, from the first tap of a block of y on.
SN_INLINE index_t tap_at(index_t channel, index_t t) {
  constexpr index_t row = 6 * lanes;
  return (channel / 4 * 6 + channel / 2 % 2 + t / 3 * 2) * row + (channel % 2 + t % 3 * 2) * lanes;
}

/// The rows of one plane and parity that a row of tiles reads, above each other; those outside are zeros.
struct Rows {
  const float* at[6];

  template <class Args>
  Rows(const Args& a, const float* plane, index_t first, const float* zeros) {
    for (index_t i = 0; i < 6; ++i) {
      const index_t row = first + 2 * i;
      at[i] = row >= 0 && row < a.h ? plane + row * a.xh : zeros;
    }
  }
  /// B^T of a vector of columns: six numbers that lie `step` apart.
  SN_INLINE void whole(index_t column, float* to, index_t step) const {
    columns(to, step, [&](int i) SN_INLINE_BODY { return load(at[i] + column); });
  }
  /// The same of the first `count` columns, which may be none; the others are zero.
  void part(index_t column, index_t count, float* to, index_t step) const {
    columns(to, step, [&](int i) SN_INLINE_BODY {
      alignas(64) float pixels[lanes] = {};
      for (index_t j = 0; j < count; ++j) pixels[j] = at[i][column + j];
      return load(pixels);
    });
  }

 private:
  template <class Load>
  static SN_INLINE void columns(float* to, index_t step, Load load_row) {
    Vec d[6], t[6];
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) d[i] = load_row(i);
    input_row(d, t);
#pragma GCC unroll 6
    for (int i = 0; i < 6; ++i) store(to + i * step, t[i]);
  }
};

/// The channels of block b of `pixels` pixels, of one row of B^T: its lines of pairs lie `line` apart.
template <class Args>
SN_INLINE void mix(const Args& a, index_t b, const float* lines, index_t line, index_t pixels, float* to) {
  constexpr index_t pairs = Form::channels / 2, together = lanes / 2;
  for (index_t x = 0; x < pixels; x += together) {
    Vec r[together];
#pragma GCC unroll 8
    for (index_t k = 0; k < together; ++k)
      r[k] = k < pairs && b * pairs + k < 2 * a.planes ? load(lines + (b * pairs + k) * line + 2 * x) : zero();
    transpose_pairs(r);
#pragma GCC unroll 8
    for (index_t k = 0; k < together; ++k) store(to + (x + k) * lanes, r[k]);
  }
}

/// V of a row of tiles, whose first pixel in y is (row, 0) of image n; its blocks lie `block` apart, its planes
/// `plane`. memory: of the plan, from `input` on.
template <class Args>
void transform_row(const Args& a, index_t n, index_t row, index_t tiles, float* memory, float* v, index_t block,
                   index_t plane) {
  constexpr index_t lines = 6;  // of pairs in a row of B^T
  const index_t line = slimneck::kernels::winograd_stem_line(tiles, lanes);
  const index_t pixels = slimneck::kernels::winograd_stem_pixels(tiles, lanes);
  float* mixed = memory + 6 * lines * line;
  for (index_t x = 0; x < a.w; ++x) mixed[x] = 0;
  // A line begins with a vector of zeros, of which the last two are the border, and has zeros behind the picture, too.
  for (index_t q = 0; q < 2 * a.planes; ++q) {
    const Rows rows(a, a.x + n * a.xn + q / 2 * a.xb, 2 * row - 2 + q % 2, mixed);
    float* to = memory + q * line + lanes;
    index_t x = 0;
    rows.part(0, 0, to - lanes, lines * line);
    for (; x + lanes <= least(a.w, line - lanes); x += lanes) rows.whole(x, to + x, lines * line);
    for (; x < line - lanes; x += lanes) rows.part(x, a.w - x, to + x, lines * line);
  }
  for (index_t p = 0; p < 6; ++p)
    for (index_t b = 0; b < Form::blocks; ++b) {
      mix(a, b, memory + p * lines * line + lanes - 2, line, pixels, mixed);
      for (index_t t = 0; t < tiles; ++t) {
        float* to = v + b * block + t * lanes + p * 6 * plane;
        Vec d[6], out[6];
#pragma GCC unroll 6
        for (int j = 0; j < 6; ++j) d[j] = load(mixed + (t * Form::m + j) * lanes);
        input_row(d, out);
#pragma GCC unroll 6
        for (int j = 0; j < 6; ++j) store(to + j * plane, out[j]);
      }
    }
}

}  // namespace stem
}  // namespace simd
}  // namespace
