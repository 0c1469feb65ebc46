// The transforms of Winograd's algorithms in two dimensions, for kernel bodies: along the columns, then along the rows.
//
//   Y = A^T [ (G g G^T) * (B^T d B) ] A       stride 1, d: N x N pixels of x, g: 3 x 3 taps, Y: M x M pixels, N = M + 2
//
// Rows of its B^T come in pairs that share their sums: one pair at a time is transformed along the columns and, still
// in registers, along the rows. That loads 84 instead of 36 vectors but needs no buffer for the middle step, whose 36
// stores of 512 bits cost more, and a pair fits the 16 registers of AVX2.
#pragma once

#include "kernels/conv2d/winograd.hpp"
#include "kernels/conv2d/winograd_rows.hpp"

namespace {
namespace simd {

/// Two rows of B^T and the places that they have in it.
template <int M>
struct InputPair;

template <>
struct InputPair<4> {
  static constexpr int pairs = 3;
  static constexpr int low(int k) { return k == 0 ? 1 : k == 1 ? 3 : 0; }
  static constexpr int high(int k) { return k == 0 ? 2 : k == 1 ? 4 : 5; }
};

template <>
struct InputPair<2> {
  static constexpr int pairs = 2;
  static constexpr int low(int k) { return k == 0 ? 1 : 0; }
  static constexpr int high(int k) { return k == 0 ? 2 : 3; }
};

/// Pair K of B^T d, from the N numbers d + i * step. Half of the operations are sums: they have their own units.
template <int M, int K>
SN_INLINE void input_pair(const float* d, index_t step, Vec& low, Vec& high) {
  const auto at = [ d, step ](index_t i) __attribute__((always_inline)) { return load(d + i * step); };
  if constexpr (M == 4 && K == 0) {
    const Vec even = fnma(splat(4), at(2), at(4)), odd = fnma(splat(4), at(1), at(3));
    low = add(even, odd);
    high = sub(even, odd);
  } else if constexpr (M == 4 && K == 1) {
    const Vec even = sub(at(4), at(2)), odd = sub(at(3), at(1));
    low = fma(splat(2), odd, even);
    high = fnma(splat(2), odd, even);
  } else if constexpr (M == 4) {
    const Vec d2 = at(2), d3 = at(3);
    low = fma(splat(4), sub(at(0), d2), sub(at(4), d2));
    high = fma(splat(4), sub(at(1), d3), sub(at(5), d3));
  } else if constexpr (K == 0) {
    const Vec d1 = at(1), d2 = at(2);
    low = add(d1, d2);
    high = sub(d2, d1);
  } else {
    low = sub(at(0), at(2));
    high = sub(at(1), at(3));
  }
}

template <int M, int K>
SN_INLINE void input_rows(const float* d, index_t step, float* v, index_t plane) {
  constexpr int N = M + 2;
  constexpr int low_row = InputPair<M>::low(K), high_row = InputPair<M>::high(K);
  Vec low[N], high[N], t[N];
#pragma GCC unroll 6
  for (int j = 0; j < N; ++j) input_pair<M, K>(d + j * lanes, step, low[j], high[j]);
  input_row(low, t);
#pragma GCC unroll 6
  for (int j = 0; j < N; ++j) store(v + (low_row * N + j) * plane, t[j]);
  input_row(high, t);
#pragma GCC unroll 6
  for (int j = 0; j < N; ++j) store(v + (high_row * N + j) * plane, t[j]);
}

/// B^T d B of N x N pixels whose rows lie `step` apart; the N*N points go to v, `plane` apart.
template <int M>
SN_INLINE void input_tile(const float* d, index_t step, float* v, index_t plane) {
  input_rows<M, 0>(d, step, v, plane);
  input_rows<M, 1>(d, step, v, plane);
  if constexpr (M == 4) input_rows<M, 2>(d, step, v, plane);
}

/// tile(pixels, step, pixel) for a tile that reaches past the map: what is there is copied between zeros.
template <int R, int C, int S, class Tile>
void input_border(const float* x, index_t step, index_t h, index_t w, index_t row, index_t column, Tile tile) {
  alignas(64) float d[R * C * lanes];
  for (index_t i = 0; i < R; ++i)
    for (index_t j = 0; j < C; ++j) {
      const index_t r = row + S * i, c = column + S * j;
      store(d + (i * C + j) * lanes, r >= 0 && r < h && c >= 0 && c < w ? load(x + r * step + c * lanes) : zero());
    }
  tile(d, C * lanes, lanes);
}

/// tile(pixels, step, pixel) for R x C pixels, S apart, from (row, column) on of an h x w map of padding: they may lie
/// outside. Rows lie `step` apart, pixels of a row `pixel`.
template <int R, int C, int S, class Tile>
SN_INLINE void input_at(const float* x, index_t step, index_t h, index_t w, index_t row, index_t column, Tile tile) {
  if (row >= 0 && column >= 0 && row + S * (R - 1) < h && column + S * (C - 1) < w)
    tile(x + row * step + column * lanes, S * step, S * lanes);
  else
    input_border<R, C, S>(x, step, h, w, row, column, tile);
}

/// A^T m along the columns: M x N numbers from N x N points that lie `plane` apart.
template <int M, int N>
SN_INLINE void output_columns(const float* m, index_t plane, Vec (&t)[M][N]) {
#pragma GCC unroll 6
  for (int j = 0; j < N; ++j) {
    Vec in[N], out[M];
#pragma GCC unroll 6
    for (int i = 0; i < N; ++i) in[i] = load(m + (i * N + j) * plane);
    output_row(in, out);
#pragma GCC unroll 4
    for (int i = 0; i < M; ++i) t[i][j] = out[i];
  }
}

/// The sum of `parts` vectors which lie `part` apart.
SN_INLINE Vec sum_parts(const float* u, index_t parts, index_t part) {
  Vec sum = load(u);
  for (index_t p = 1; p < parts; ++p) sum = add(sum, load(u + p * part));
  return sum;
}

/// F along the columns of RI x CI vectors, then along the rows: RO x CO.
template <int RI, int RO, int CI, int CO, class Load, class Row, class Store>
SN_INLINE void both_ways(Load load_at, Row row, Store store_at) {
  Vec t[RO][CI];
#pragma GCC unroll 6
  for (int j = 0; j < CI; ++j) {
    Vec in[RI], out[RO];
#pragma GCC unroll 6
    for (int i = 0; i < RI; ++i) in[i] = load_at(i, j);
    row(in, out);
#pragma GCC unroll 6
    for (int i = 0; i < RO; ++i) t[i][j] = out[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < RO; ++i) {
    Vec out[CO];
    row(t[i], out);
#pragma GCC unroll 6
    for (int j = 0; j < CO; ++j) store_at(i, j, out[j]);
  }
}

/// A dY A^T of M x M pixels, of which the first rows x columns are there and the rest are zero; N x N points.
template <int M, int N>
SN_INLINE void gradient_tile(const float* y, index_t step, index_t rows, index_t columns, float* v, index_t plane) {
  both_ways<M, N, M, N>(
      [=](int i, int j) SN_INLINE_BODY { return i < rows && j < columns ? load(y + i * step + j * lanes) : zero(); },
      [](const auto& in, auto& out) SN_INLINE_BODY { gradient_row(in, out); },
      [=](int i, int j, Vec t) SN_INLINE_BODY { store(v + (i * N + j) * plane, t); });
}

/// F(MxM, 3x3) of stride 1; what winograd_frame.hpp and the gradient of the weights ask of a form.
template <int M>
struct Stride1 {
  static constexpr int m = M, n = M + 2, phases = 1, channels = lanes;
  static constexpr slimneck::kernels::WinogradForm form =
      M == 4 ? slimneck::kernels::winograd4 : slimneck::kernels::winograd2;
  static constexpr index_t first(index_t sum) { return sum; }
  static constexpr index_t plane(index_t sum) { return sum; }
  static constexpr index_t sum_of(index_t slice) { return slice; }

  /// V of the tile of x for the pixels of y from (row, column) on: the planes of one phase, of which there is one here.
  template <int Phase, class Args>
  static SN_INLINE void input(const Args& a, const float* x, index_t row, index_t column, float* v, index_t plane) {
    input_at<n, n, 1>(x, a.xh, a.h, a.w, row - a.pad_h, column - a.pad_w,
                      [=](const float* d, index_t step, index_t) SN_INLINE_BODY { input_tile<M>(d, step, v, plane); });
  }
  /// to(sum, slice of the sum, G g G^T) of 3 x 3 taps, `tap` apart.
  template <class Store>
  static SN_INLINE void weights(const float* g, index_t tap, Store to) {
    both_ways<3, n, 3, n>([=](int i, int j) SN_INLINE_BODY { return load(g + (i * 3 + j) * tap); },
                          [](const auto& in, auto& out) SN_INLINE_BODY { weight_row(in, out); },
                          [=](int i, int j, Vec u) SN_INLINE_BODY { to(i * n + j, 0, u); });
  }
  /// G^T dU G, where dU is the sum of `parts` which lie `part` apart; its slices lie `plane` apart, taps `tap`.
  static SN_INLINE void taps(const float* u, index_t plane, index_t parts, index_t part, float* g, index_t tap) {
    both_ways<n, 3, n, 3>([=](int i, int j) SN_INLINE_BODY { return sum_parts(u + (i * n + j) * plane, parts, part); },
                          [](const auto& in, auto& out) SN_INLINE_BODY { tap_row(in, out); },
                          [=](int i, int j, Vec t) SN_INLINE_BODY { store(g + (i * 3 + j) * tap, t); });
  }
};

}  // namespace simd
}  // namespace
