// The transforms of Winograd's algorithms F(MxM, 3x3) on vectors of V channels, for kernel bodies.
//
//   Y = A^T [ (G g G^T) * (B^T d B) ] A       d: N x N pixels of x, g: 3 x 3 taps, Y: M x M pixels of y, N = M + 2
//
// A. Lavin, S. Gray: Fast Algorithms for Convolutional Neural Networks, 2016. M = 2 uses the points 0, 1, -1 and
// infinity, all constants are dyadic; M = 4 adds 2 and -2.
//
// A transform in two dimensions is the one-dimensional one along the columns, then along the rows. Rows of B^T come in
// pairs that share their sums: one pair at a time is transformed along the columns and, still in registers, along the
// rows. That loads 84 instead of 36 vectors but needs no buffer for the middle step, whose 36 stores of 512 bits cost
// more, and a pair fits the 16 registers of AVX2.
#pragma once

#include "kernels/simd.hpp"

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

/// t = B^T d
SN_INLINE void input_row(const Vec (&d)[6], Vec (&t)[6]) {
  const Vec even4 = fnma(splat(4), d[2], d[4]), odd4 = fnma(splat(4), d[1], d[3]);
  const Vec even = sub(d[4], d[2]), odd = sub(d[3], d[1]);
  t[0] = fma(splat(4), sub(d[0], d[2]), even);
  t[1] = add(even4, odd4);
  t[2] = sub(even4, odd4);
  t[3] = fma(splat(2), odd, even);
  t[4] = fnma(splat(2), odd, even);
  t[5] = fnma(splat(4), odd, sub(d[5], d[3]));
}
SN_INLINE void input_row(const Vec (&d)[4], Vec (&t)[4]) {
  t[0] = sub(d[0], d[2]);
  t[1] = add(d[1], d[2]);
  t[2] = sub(d[2], d[1]);
  t[3] = sub(d[1], d[3]);
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

/// The same for a tile that reaches past the map: its pixels [top, bottom) x [left, right) are copied between zeros.
template <int M>
void input_border(const float* x, index_t step, index_t top, index_t bottom, index_t left, index_t right, float* v,
                  index_t plane) {
  constexpr int N = M + 2;
  alignas(64) float d[N * N * lanes];
  for (index_t i = 0; i < N; ++i)
    for (index_t j = 0; j < N; ++j)
      store(d + (i * N + j) * lanes,
            i >= top && i < bottom && j >= left && j < right ? load(x + i * step + j * lanes) : zero());
  input_tile<M>(d, N * lanes, v, plane);
}

/// B^T x B of the tile whose first pixel is (row, column) of an h x w map of padding: it may lie outside.
template <int M>
SN_INLINE void input_at(const float* x, index_t step, index_t h, index_t w, index_t row, index_t column, float* v,
                        index_t plane) {
  constexpr int N = M + 2;
  const float* d = x + row * step + column * lanes;
  if (row >= 0 && column >= 0 && row + N <= h && column + N <= w)
    input_tile<M>(d, step, v, plane);
  else
    input_border<M>(d, step, most(0, -row), least(N, h - row), most(0, -column), least(N, w - column), v, plane);
}

/// y = A^T m
SN_INLINE void output_row(const Vec (&m)[6], Vec (&y)[4]) {
  const Vec s = add(m[1], m[2]), d = sub(m[1], m[2]), s2 = add(m[3], m[4]), d2 = sub(m[3], m[4]);
  y[0] = add(add(m[0], s), s2);
  y[1] = fma(splat(2), d2, d);
  y[2] = fma(splat(4), s2, s);
  y[3] = fma(splat(8), d2, add(m[5], d));
}
SN_INLINE void output_row(const Vec (&m)[4], Vec (&y)[2]) {
  y[0] = add(add(m[0], m[1]), m[2]);
  y[1] = sub(sub(m[1], m[2]), m[3]);
}

/// A^T m along the columns: M x N numbers from N x N points that lie `plane` apart.
template <int M>
SN_INLINE void output_columns(const float* m, index_t plane, Vec (&t)[M][M + 2]) {
  constexpr int N = M + 2;
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

/// u = G g
SN_INLINE void weight_row(const Vec (&g)[3], Vec (&u)[6]) {
  const Vec quarter = splat(0.25F), sixth = splat(-1.0F / 6), c24 = splat(1.0F / 24), c12 = splat(1.0F / 12);
  const Vec outer = mul(sixth, add(g[0], g[2])), middle = mul(sixth, g[1]);
  const Vec far = fma(c24, g[0], mul(sub(zero(), sixth), g[2])), near = mul(c12, g[1]);
  u[0] = mul(quarter, g[0]);
  u[1] = add(outer, middle);
  u[2] = sub(outer, middle);
  u[3] = add(far, near);
  u[4] = sub(far, near);
  u[5] = g[2];
}
SN_INLINE void weight_row(const Vec (&g)[3], Vec (&u)[4]) {
  const Vec half = splat(0.5F), outer = mul(half, add(g[0], g[2])), middle = mul(half, g[1]);
  u[0] = g[0];
  u[1] = add(outer, middle);
  u[2] = sub(outer, middle);
  u[3] = g[2];
}

/// G g G^T of 3 x 3 taps, `tap` apart; the N*N points go to u, `plane` apart.
template <int M>
SN_INLINE void weight_tile(const float* g, index_t tap, float* u, index_t plane) {
  constexpr int N = M + 2;
  Vec t[N][3];
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    const Vec in[3] = {load(g + j * tap), load(g + (3 + j) * tap), load(g + (6 + j) * tap)};
    Vec out[N];
    weight_row(in, out);
#pragma GCC unroll 6
    for (int i = 0; i < N; ++i) t[i][j] = out[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < N; ++i) {
    Vec out[N];
    weight_row(t[i], out);
#pragma GCC unroll 6
    for (int j = 0; j < N; ++j) store(u + (i * N + j) * plane, out[j]);
  }
}

/// t = A y, for gradients of y.
SN_INLINE void gradient_row(const Vec (&y)[4], Vec (&t)[6]) {
  const Vec even = add(y[0], y[2]), odd = add(y[1], y[3]);
  const Vec even4 = fma(splat(4), y[2], y[0]), odd4 = mul(splat(2), fma(splat(4), y[3], y[1]));
  t[0] = y[0];
  t[1] = add(even, odd);
  t[2] = sub(even, odd);
  t[3] = add(even4, odd4);
  t[4] = sub(even4, odd4);
  t[5] = y[3];
}
SN_INLINE void gradient_row(const Vec (&y)[2], Vec (&t)[4]) {
  t[0] = y[0];
  t[1] = add(y[0], y[1]);
  t[2] = sub(y[0], y[1]);
  t[3] = sub(zero(), y[1]);
}

/// A dY A^T of M x M pixels, of which the first rows x columns are there and the rest are zero.
template <int M>
SN_INLINE void gradient_tile(const float* y, index_t step, index_t rows, index_t columns, float* v, index_t plane) {
  constexpr int N = M + 2;
  Vec t[N][M];
#pragma GCC unroll 4
  for (int j = 0; j < M; ++j) {
    Vec in[M], out[N];
#pragma GCC unroll 4
    for (int i = 0; i < M; ++i) in[i] = i < rows && j < columns ? load(y + i * step + j * lanes) : zero();
    gradient_row(in, out);
#pragma GCC unroll 6
    for (int i = 0; i < N; ++i) t[i][j] = out[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < N; ++i) {
    Vec out[N];
    gradient_row(t[i], out);
#pragma GCC unroll 6
    for (int j = 0; j < N; ++j) store(v + (i * N + j) * plane, out[j]);
  }
}

/// g = G^T u
SN_INLINE void tap_row(const Vec (&u)[6], Vec (&g)[3]) {
  const Vec sixth = splat(1.0F / 6), near = mul(sixth, add(u[1], u[2])), far = add(u[3], u[4]);
  g[0] = fma(splat(0.25F), u[0], fma(splat(1.0F / 24), far, sub(zero(), near)));
  g[1] = fma(splat(1.0F / 12), sub(u[3], u[4]), mul(sixth, sub(u[2], u[1])));
  g[2] = add(u[5], fma(sixth, far, sub(zero(), near)));
}
SN_INLINE void tap_row(const Vec (&u)[4], Vec (&g)[3]) {
  const Vec half = splat(0.5F), sum = mul(half, add(u[1], u[2]));
  g[0] = add(u[0], sum);
  g[1] = mul(half, sub(u[1], u[2]));
  g[2] = add(u[3], sum);
}

/// G^T dU G, where dU is the sum of `parts` which lie `part` apart; its points lie `plane` apart, taps `tap`.
template <int M>
SN_INLINE void tap_tile(const float* u, index_t plane, index_t parts, index_t part, float* g, index_t tap) {
  constexpr int N = M + 2;
  Vec t[3][N];
#pragma GCC unroll 6
  for (int j = 0; j < N; ++j) {
    Vec in[N], out[3];
#pragma GCC unroll 6
    for (int i = 0; i < N; ++i) {
      const float* from = u + (i * N + j) * plane;
      in[i] = load(from);
      for (index_t p = 1; p < parts; ++p) in[i] = add(in[i], load(from + p * part));
    }
    tap_row(in, out);
#pragma GCC unroll 3
    for (int i = 0; i < 3; ++i) t[i][j] = out[i];
  }
#pragma GCC unroll 3
  for (int i = 0; i < 3; ++i) {
    Vec out[3];
    tap_row(t[i], out);
#pragma GCC unroll 3
    for (int j = 0; j < 3; ++j) store(g + (i * 3 + j) * tap, out[j]);
  }
}

}  // namespace simd
}  // namespace
