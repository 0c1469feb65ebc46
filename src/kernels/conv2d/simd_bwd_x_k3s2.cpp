// Data gradient of the 3x3 convolution of stride 2 with a border of one pixel:
//
//   dx[c,h,k] = sum over o, u, v of w[o,c,u,v] dy[o,i,j]   where 2i - 1 + u = h, 2j - 1 + v = k
//
// Even rows h = 2i meet only u = 1 of dy row i; odd ones, h = 2i + 1, meet u = 2 of row i and u = 0 of row i + 1;
// columns likewise. So dx falls into four phases of 1, 2, 2 and 4 taps, each a stride-1 convolution of dy whose pixels
// lie two apart in dx. Phases are outermost: the weights of a phase are few, and those of 8, 4, 4 and 2 blocks of dy
// stay in L1 (16 KiB) while their sums stay in registers.
#include "kernels/conv2d/widths.hpp"
#include "kernels/declare.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

constexpr index_t square = lanes * lanes;

struct Job {
  const float* dy;
  index_t dy_row, dy_block, blocks;
  const float* w;  ///< of the first row of taps, v = 0
  index_t w_row, w_out;
  index_t rows;  ///< of taps
  bool odd;      ///< columns
  bool right;    ///< the last odd column has no dy to its right
  bool go_on;    ///< from the sums in dx and not from zero
  float* dx;
  index_t dx_block;
  const float* dy_next;  ///< what the tile below reads first
  float* dx_next;
};

template <int O, int P>
void tile(const Job& j) {
  Vec acc[O][P];
  if (j.go_on) {
#pragma GCC unroll 8
    for (int o = 0; o < O; ++o)
#pragma GCC unroll 32
      for (int p = 0; p < P; ++p) acc[o][p] = load(j.dx + o * j.dx_block + p * 2 * lanes);
  } else {
    clear<O, P>(acc);
  }
  for (index_t b = 0; b < j.blocks; ++b) {
    const float *dy = j.dy + b * j.dy_block, *w = j.w + b * 9 * square;
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) prefetch(j.dy_next + b * j.dy_block + p * lanes);
    if (b < O) {
#pragma GCC unroll 32
      for (int p = 0; p < P; ++p) prefetch_write(j.dx_next + b * j.dx_block + p * 2 * lanes);
    }
    for (index_t u = 0; u < j.rows; ++u, dy += j.dy_row, w += j.w_row) {
      if (j.odd) {
        if (j.right)
          taps<O, P, 1, 0, P - 1>(acc, dy + lanes, w, j.w_out);
        else
          taps<O, P, 1, 0, P>(acc, dy + lanes, w, j.w_out);
        taps<O, P, 1, 0, P>(acc, dy, w + 2 * square, j.w_out);
      } else {
        taps<O, P, 1, 0, P>(acc, dy, w + square, j.w_out);
      }
    }
  }
#pragma GCC unroll 8
  for (int o = 0; o < O; ++o)
#pragma GCC unroll 32
    for (int p = 0; p < P; ++p) store(j.dx + o * j.dx_block + p * 2 * lanes, acc[o][p]);
}

using Tile = void (*)(const Job&);
template <int O, int P>
struct Make {
  static constexpr Tile fn = tile<O, P>;
};
constexpr Table<Tile> table = table_of_widths<Tile, Make>();

/// The columns of one parity in the rows of one parity of [from, to), for some blocks of dy; both pointers of `job` are
/// those of row 0.
void run_phase(const ConvArgs& a, Job job, int out, index_t from, index_t to, bool odd_rows) {
  const index_t count = job.odd ? a.ow / 2 : (a.ow + 1) / 2;
  if (count == 0) return;
  const Cut c = cut(count, widest_in_row(count, out));
  const float* dy = job.dy;
  float* dx = job.dx + (job.odd ? lanes : 0);
  index_t at = 0;
  for (index_t t = 0; t < c.tiles; ++t) {
    const index_t width = c.width(t);
    job.right = at + width >= a.w;
    for (index_t row = from + ((from & 1) != (odd_rows ? 1 : 0) ? 1 : 0); row < to; row += 2) {
      const index_t i = row / 2;
      job.rows = odd_rows && i + 1 < a.h ? 2 : 1;
      job.dy = dy + i * a.xh + at * lanes;
      job.dx = dx + row * a.yh + at * 2 * lanes;
      job.dy_next = job.dy + job.rows * a.xh;
      job.dx_next = job.dx + 2 * a.yh;
      table.fn[out][width](job);
    }
    at += width;
  }
}

void run_strip(const ConvArgs& a, index_t n, index_t strip, index_t ob, int out) {
  const index_t from = strip * a.strip, to = least(a.oh, from + a.strip);
  Job job{};
  job.dy_row = a.xh;
  job.dy_block = a.xb;
  job.w_out = a.x_blocks * 9 * square;
  job.dx_block = a.yb;
  for (int phase = 0; phase < 4; ++phase) {
    const bool odd_rows = phase >= 2;
    job.odd = (phase & 1) != 0;
    // Taps of an odd row come in the order u = 2, u = 0, because dy rows ascend.
    const index_t u = odd_rows ? 2 : 1;
    job.w_row = -6 * square;
    const index_t together = (128 / lanes) / ((odd_rows ? 2 : 1) * (job.odd ? 2 : 1));
    for (index_t b = 0; b < a.x_blocks; b += together) {
      job.blocks = least(together, a.x_blocks - b);
      job.go_on = b > 0 || a.epilogue.add;
      job.dy = a.x + n * a.xn + b * a.xb;
      job.dx = a.y + n * a.yn + ob * a.yb;
      job.w = a.weights + (ob * a.x_blocks + b) * 9 * square + u * 3 * square;
      run_phase(a, job, out, from, to, odd_rows);
    }
  }
}

}  // namespace

void conv_bwd_x_k3s2(const ConvArgs& a) noexcept {
  for_each_task(
      a, [&](index_t n, index_t strip, index_t block, int out) SN_INLINE_BODY { run_strip(a, n, strip, block, out); });
}

}  // namespace slimneck::kernels::SN_ISA
