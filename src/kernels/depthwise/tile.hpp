// The micro-kernel of depthwise convolutions, for kernel bodies: PX neighbouring pixels of one row of y.
//
//   acc[p] += x[column] * w[tap]  for every column of the window and every tap of one kernel row, where
//   gathering (forward, and the data gradient of stride 1 with its taps turned): column = p * S + tap - K/2,
//   spreading (the data gradient of stride 2):                                   p = column * 2 + tap - K/2.
//
// Register budget: PX accumulators, the K taps of a kernel row, one loaded column, which serves up to K accumulators.
// Columns outside of the map are left out at compile time: a tile knows whether it lies at the left or right border.
#pragma once

#include "kernels/simd.hpp"

namespace {
namespace simd {

/// Widest tile for a kernel of K columns. With 32 registers 8, 12 and 20 pixels were measured for 5x5: 20 wins by 6 %.
/// Half of it is no less than K/2: only the outermost tiles of a row leave columns out.
template <int K>
inline constexpr int widest =
#if defined(__AVX512F__) || (defined(__ARM_NEON) && !defined(SN_PORTABLE))
    K >= 7 ? 14 : 20;
#elif defined(__FMA__)
    K >= 7   ? 8
    : K == 5 ? 10
             : 12;
#else  // a product needs a register of its own
    K >= 5 ? 8 : 10;
#endif

template <int K_, int S_>
struct Gather {
  static constexpr int K = K_, S = S_, pad = K / 2;
  static constexpr bool spreads = false;
  /// Columns [first, last) of the window, counted from the one under the tile's first pixel.
  static constexpr int first(bool left) { return left ? 0 : -pad; }
  /// right: 0 inside of the map; at its right border 1, or 2 where S = 2 and the width is odd.
  static constexpr int last(int px, int right) {
    const int off = right == 0 ? 0 : S == 1 || right == 2 ? pad : pad - 1;
    return (px - 1) * S + K - pad - off;
  }
  /// The pixel to which the tap takes the column, -1 for none.
  static constexpr int pixel(int column, int tap) {
    const int t = column + pad - tap;
    return t >= 0 && t % S == 0 ? t / S : -1;
  }
};

/// Tiles begin at even pixels; column 0 of the window is then half of the tile's first pixel.
template <int K_>
struct Spread {
  static constexpr int K = K_, S = 2, pad = K / 2;
  static constexpr bool spreads = true;
  static constexpr int first(bool left) { return left ? 0 : -(pad / 2); }
  static constexpr int last(int px, int right) {
    return (px - 1 + pad) / 2 + 1 - (right != 0 && (K == 5 || px % 2 == 0) ? 1 : 0);
  }
  static constexpr int pixel(int column, int tap) { return column * 2 + tap - pad; }
};

/// Where a tile reads and writes: `rows` rows of the kernel that meet rows of x.
struct TapRows {
  const float* x;  ///< first such row, column 0 of the window
  index_t x_step;  ///< to the row under the next kernel row
  const float* w;
  index_t w_step, w_tap;  ///< to the next kernel row, to the next tap of a row: negative when the taps are turned
  index_t rows;
  const float* bias;   ///< what sums begin with; null for zero
  const float* ahead;  ///< the row that the next row of y reads for the first time; null where it is near anyway
};

template <class W, int PX, bool L, int R>
SN_INLINE void tap_row(Vec (&acc)[PX], const float* x, const float* w, index_t w_tap) {
  constexpr int begin = W::first(L), end = W::last(PX, R);
  Vec taps[W::K];
#pragma GCC unroll 16
  for (int k = 0; k < W::K; ++k) taps[k] = load(w + k * w_tap);
#pragma GCC unroll 64
  for (int i = begin; i < end; ++i) {
    Vec v = load(x + i * lanes);
    // Else GCC folds the load into each multiply-add, which makes the loop bound by loads: 3x3 falls from 84 to 63 % of
    // peak.
    pin(v);
#pragma GCC unroll 16
    for (int k = 0; k < W::K; ++k) {
      const int p = W::pixel(i, k);
      if (p >= 0 && p < PX) acc[p] = fma(v, taps[k], acc[p]);
    }
  }
}

template <class W, int PX, bool L, int R>
void tap_tile(const TapRows& t, float* y, bool add) {
  static_assert((widest<W::K> + 1) / 2 >= W::pad);
  Vec acc[PX];
  if (add) {
#pragma GCC unroll 32
    for (int p = 0; p < PX; ++p) acc[p] = load(y + p * lanes);
  } else {
    const Vec start = t.bias ? load(t.bias) : zero();
#pragma GCC unroll 32
    for (int p = 0; p < PX; ++p) acc[p] = start;
  }
  // A few lines ahead with each kernel row, not all at once: the cache can wait for so many only.
  constexpr int columns = W::spreads ? (PX + 1) / 2 : PX * W::S, each = (columns + W::K - 1) / W::K;
  const float *x = t.x, *w = t.w, *ahead = t.ahead;
  for (index_t u = 0; u < t.rows; ++u, x += t.x_step, w += t.w_step) {
    if (ahead) {
#pragma GCC unroll 16
      for (int p = 0; p < each; ++p) prefetch(ahead + p * lanes);
      if (!W::spreads && W::S == 2) {
#pragma GCC unroll 16
        for (int p = 0; p < each; ++p) prefetch(ahead + t.x_step + p * lanes);
      }
      ahead += each * lanes;
    }
    tap_row<W, PX, L, R>(acc, x, w, t.w_tap);
  }
#pragma GCC unroll 32
  for (int p = 0; p < PX; ++p) store(y + p * lanes, acc[p]);
}

using TapTile = void (*)(const TapRows&, float*, bool);

/// Tiles of every width and border.
template <class W>
struct TapTiles {
  static constexpr int most_pixels = widest<W::K>;
  TapTile of[most_pixels][2][3];

  constexpr TapTiles() : of() { fill<most_pixels>(); }
  template <int PX>
  constexpr void fill() {
    constexpr int odd = W::S == 1 ? 1 : 2;
    of[PX - 1][0][0] = tap_tile<W, PX, false, 0>;
    of[PX - 1][1][0] = tap_tile<W, PX, true, 0>;
    of[PX - 1][0][1] = tap_tile<W, PX, false, 1>;
    of[PX - 1][1][1] = tap_tile<W, PX, true, 1>;
    of[PX - 1][0][2] = tap_tile<W, PX, false, odd>;
    of[PX - 1][1][2] = tap_tile<W, PX, true, odd>;
    if constexpr (PX > 1) fill<PX - 1>();
  }
};

template <class W>
inline constexpr TapTiles<W> tap_tiles;

/// A row of y cut into tiles of nearly equal width, never a short one at the end; of an even width when W spreads.
template <class W>
struct RowCut {
  index_t width, unit, count, base, wider;

  explicit RowCut(index_t w) : width(w), unit(W::spreads ? 2 : 1) {
    const index_t units = (w + unit - 1) / unit, limit = widest<W::K> / unit;
    count = (units + limit - 1) / limit;
    base = units / most(count, 1);
    wider = units % most(count, 1);
  }
  [[nodiscard]] index_t begin(index_t tile) const { return least(width, (tile * base + least(tile, wider)) * unit); }
};

}  // namespace simd
}  // namespace
