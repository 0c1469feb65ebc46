// 1x1 convolution of stride 1, and its data gradient with transposed weights:
//
//   y[o,p] = sum over c of w[o,c] x[c,p],   p the pixels of a strip of rows, one after the other where memory is dense
//
// A tile of 2 output blocks x 14 pixels stays in registers for all input blocks; with 128 channels and fewer, where the
// stores are a large part of the work, one of 2 x 8. The strip stays in L2 while the output blocks go by.
#include "kernels/conv2d/widths.hpp"
#include "kernels/declare.hpp"
#include "kernels/epilogue.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

struct Job {
  const float* x;
  index_t x_block, blocks;
  const float* w;
  index_t w_out;
  float* y;
  index_t y_block;
  bool add;  ///< to what y holds
};

template <int O, int P>
void tile(const Job& j, const TileEnd& end) {
  Vec acc[O][P];
  if (j.add)
    load_tile<O, P>(acc, j.y, j.y_block);
  else
    clear<O, P>(acc);
  const float *x = j.x, *w = j.w;
  for (index_t b = 0; b < j.blocks; ++b, x += j.x_block, w += lanes * lanes) {
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) prefetch(x + (P + p) * lanes);
    taps<O, P, 1, 0, P>(acc, x, w, j.w_out);
  }
  end_tile<O, P>(acc, j.y, j.y_block, end);
}

using Tile = void (*)(const Job&, const TileEnd&);
template <int O, int P>
struct Make {
  static constexpr Tile fn = tile<O, P>;
};
constexpr Table<Tile> table = table_of_widths<Tile, Make>();

/// One run of neighbouring pixels for one group of output blocks.
void run_pixels(Job job, int out, index_t count, TileEnd& end) {
  const Cut c = cut(count, (job.blocks * lanes <= 128 ? narrow : widest)[out]);
  for (index_t t = 0; t < c.tiles; ++t) {
    const index_t width = c.width(t);
    table.fn[out][width](job, end);
    end.fresh = false;
    job.x += width * lanes;
    job.y += width * lanes;
    if (end.residual) end.residual += width * lanes;
  }
}

void run_strip(const ConvArgs& a, index_t n, index_t strip, index_t ob, int out) {
  const index_t strips = (a.oh + a.strip - 1) / a.strip;
  const index_t from = strip * a.strip, to = least(a.oh, from + a.strip);
  const bool dense = a.xh == a.w * lanes && a.yh == a.ow * lanes && (!a.epilogue.residual || a.epilogue.rh == a.yh);
  const index_t rows = dense ? to - from : 1;
  for (index_t row = from; row < to; row += rows) {
    TileEnd end = tile_end(a.epilogue, a.y_blocks, n, ob, row, 0, n * strips + strip, row == from);
    const Job job{a.x + n * a.xn + row * a.xh,
                  a.xb,
                  a.x_blocks,
                  a.weights + ob * a.x_blocks * lanes * lanes,
                  a.x_blocks * lanes * lanes,
                  a.y + n * a.yn + ob * a.yb + row * a.yh,
                  a.yb,
                  a.epilogue.add};
    run_pixels(job, out, rows * a.ow, end);
  }
}

}  // namespace

void conv_k1(const ConvArgs& a) noexcept {
  for_each_task(
      a, [&](index_t n, index_t strip, index_t block, int out) SN_INLINE_BODY { run_strip(a, n, strip, block, out); });
}

}  // namespace slimneck::kernels::SN_ISA
