// The transforms of 3x3 convolutions of stride 2 by F(MxM, 2x2), for kernel bodies.
//
// Counted from the first tap of a tile, even rows of x meet the taps u = 0 and 2, each row in two neighbouring rows of
// y, and odd rows meet u = 1; columns likewise. So y is the sum of four convolutions of stride 1, of the phases of x
// with 2x2, 2x1, 1x2 and 1x1 taps, and all are transformed to the same points: N = M + 1 in a dimension with two taps,
// the first M of these where there is one. Together these are (2M + 1)^2 products for M x M pixels instead of 9 M^2.
//
// A slice is a point of a phase. Those of one point follow each other. OneRow and OneColumn say whether the phase has
// one tap in that dimension.
#pragma once

#include "kernels/conv2d/winograd_tiles.hpp"

namespace {
namespace simd {

/// Slices before those of point (i, j) of N x N.
template <int M>
constexpr int slices_before(int i, int j) {
  return 2 * (2 * M + 1) * i + 2 * (i < M ? 2 : 1) * j;
}
template <int M, bool OneRow, bool OneColumn>
constexpr int slice(int i, int j) {
  return slices_before<M>(i, j) + (OneRow ? (j < M ? 2 : 1) : 0) + (OneColumn ? 1 : 0);
}
/// The point of a slice.
template <int M>
constexpr index_t point_of(index_t slice) {
  constexpr int N = M + 1;
  int point = N * N - 1;
  while (slices_before<M>(point / N, point % N) > slice) --point;
  return point;
}
/// Points of a phase in a dimension, and its taps.
template <int M>
constexpr int points(bool one) {
  return one ? M : M + 1;
}
constexpr int taps_of(bool one) { return one ? 1 : 2; }
constexpr int tap_of(bool one, int i) { return one ? 1 : 2 * i; }

/// B^T d B of R x C pixels: those of a phase to its slices, or all of dy.
template <int R, int C, class Store>
SN_INLINE void phase_input(const float* d, index_t step, index_t pixel, Store to) {
  both_ways<R, R, C, C>([=](int i, int j) SN_INLINE_BODY { return load(d + i * step + j * pixel); },
                        [](const auto& in, auto& out) SN_INLINE_BODY { phase_row(in, out); }, to);
}

/// A^T m A of the slices of a phase: M x M pixels.
template <int M, bool OneRow, bool OneColumn, class Store>
SN_INLINE void phase_output(const float* m, index_t plane, Store to) {
  both_ways<points<M>(OneRow), M, points<M>(OneColumn), M>(
      [=](int i, int j) SN_INLINE_BODY { return load(m + slice<M, OneRow, OneColumn>(i, j) * plane); },
      [](const auto& in, auto& out) SN_INLINE_BODY { output_row(in, out); }, to);
}

/// G g G^T of the taps of a phase: to(slice, u).
template <int M, bool OneRow, bool OneColumn, class Store>
SN_INLINE void phase_weights(const float* g, index_t tap, Store to) {
  both_ways<taps_of(OneRow), points<M>(OneRow), taps_of(OneColumn), points<M>(OneColumn)>(
      [=](int i, int j) SN_INLINE_BODY { return load(g + (tap_of(OneRow, i) * 3 + tap_of(OneColumn, j)) * tap); },
      [](const auto& in, auto& out) SN_INLINE_BODY { weight_row(in, out); },
      [=](int i, int j, Vec u) SN_INLINE_BODY { to(slice<M, OneRow, OneColumn>(i, j), u); });
}

/// The same for all phases of 3 x 3 taps that lie `tap` apart.
template <int M, class Store>
SN_INLINE void phases_weights(const float* g, index_t tap, Store to) {
  phase_weights<M, false, false>(g, tap, to);
  phase_weights<M, false, true>(g, tap, to);
  phase_weights<M, true, false>(g, tap, to);
  phase_weights<M, true, true>(g, tap, to);
}

/// G^T dU G of a phase.
template <int M, bool OneRow, bool OneColumn>
SN_INLINE void phase_taps(const float* u, index_t plane, index_t parts, index_t part, float* g, index_t tap) {
  both_ways<points<M>(OneRow), taps_of(OneRow), points<M>(OneColumn), taps_of(OneColumn)>(
      [=](int i, int j)
          SN_INLINE_BODY { return sum_parts(u + slice<M, OneRow, OneColumn>(i, j) * plane, parts, part); },
      [](const auto& in, auto& out) SN_INLINE_BODY { tap_row(in, out); },
      [=](int i, int j, Vec t) SN_INLINE_BODY { store(g + (tap_of(OneRow, i) * 3 + tap_of(OneColumn, j)) * tap, t); });
}

/// F(MxM, 2x2) of the phases, forward and for the gradient of the weights: as Stride1.
template <int M>
struct Stride2 {
  static constexpr int m = M, n = M + 1, phases = 4, channels = lanes;
  static constexpr slimneck::kernels::WinogradForm form =
      M == 4 ? slimneck::kernels::winograd4s2 : slimneck::kernels::winograd2s2;
  static constexpr index_t first(index_t sum) {
    return least(form.slices, slices_before<M>(static_cast<int>(sum) / n, static_cast<int>(sum) % n));
  }
  static constexpr index_t plane(index_t sum) { return first(sum); }
  static constexpr index_t sum_of(index_t slice) { return point_of<M>(slice); }

  template <int Phase, class Args>
  static SN_INLINE void input(const Args& a, const float* x, index_t row, index_t column, float* v, index_t plane) {
    constexpr bool one_row = Phase / 2 == 1, one_column = Phase % 2 == 1;
    constexpr int R = points<M>(one_row), C = points<M>(one_column);
    input_at<R, C, 2>(x, a.xh, a.h, a.w, 2 * row - a.pad_h + one_row, 2 * column - a.pad_w + one_column,
                      [=](const float* d, index_t step, index_t pixel) SN_INLINE_BODY {
                        phase_input<R, C>(d, step, pixel, [=](int i, int j, Vec t) SN_INLINE_BODY {
                          store(v + slice<M, one_row, one_column>(i, j) * plane, t);
                        });
                      });
  }
  template <class Store>
  static SN_INLINE void weights(const float* g, index_t tap, Store to) {
    phases_weights<M>(g, tap, [=](int slice, Vec u) SN_INLINE_BODY {
      const index_t sum = sum_of(slice);
      to(sum, slice - first(sum), u);
    });
  }
  static SN_INLINE void taps(const float* u, index_t plane, index_t parts, index_t part, float* g, index_t tap) {
    phase_taps<M, false, false>(u, plane, parts, part, g, tap);
    phase_taps<M, false, true>(u, plane, parts, part, g, tap);
    phase_taps<M, true, false>(u, plane, parts, part, g, tap);
    phase_taps<M, true, true>(u, plane, parts, part, g, tap);
  }
};

}  // namespace simd
}  // namespace
