// The one-dimensional transforms of Winograd's algorithms on vectors of V channels, for kernel bodies: F(M, T) makes M
// outputs of T taps from N = M + T - 1 inputs.
//
//   y = A^T [ (G g) * (B^T d) ]      gradients: t = A dy, g = G^T du
//
// A. Lavin, S. Gray: Fast Algorithms for Convolutional Neural Networks, 2016. Stride 1 is F(2, 3) on the points 0, 1,
// -1 and infinity, F(4, 3) on 2 and -2 as well. A convolution of stride 2 is one of 2 taps over every other pixel plus
// one of 1 tap over those between, F(2, 2) on 0, 1 and infinity, F(4, 2) on 0, 1, -1, 2 and infinity. Their sums have
// the same points: 1 tap is 2 taps of which the second is zero, its product at infinity is zero and left out, and the
// finite points do not read the last input. Constants of F(2, .) are dyadic. Rows of T = 3 and of 2 differ in their
// extents; only what reads inputs has two names.
#pragma once

#include "kernels/simd.hpp"

namespace {
namespace simd {

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

/// t = B^T d of F(4, 2) and F(2, 2): all points, or the finite ones.
SN_INLINE void phase_row(const Vec (&d)[5], Vec (&t)[5]) {
  const Vec odd = sub(d[3], d[1]);
  t[0] = fma(splat(2), sub(d[0], d[2]), odd);
  t[1] = sub(odd, add(d[1], d[2]));
  t[2] = fma(splat(3), sub(d[1], d[2]), odd);
  t[3] = odd;
  t[4] = fnma(splat(2), odd, sub(d[4], d[2]));
}
SN_INLINE void phase_row(const Vec (&d)[4], Vec (&t)[4]) {
  const Vec odd = sub(d[3], d[1]);
  t[0] = fma(splat(2), sub(d[0], d[2]), odd);
  t[1] = sub(odd, add(d[1], d[2]));
  t[2] = fma(splat(3), sub(d[1], d[2]), odd);
  t[3] = odd;
}
SN_INLINE void phase_row(const Vec (&d)[3], Vec (&t)[3]) {
  t[0] = sub(d[0], d[1]);
  t[1] = d[1];
  t[2] = sub(d[2], d[1]);
}
SN_INLINE void phase_row(const Vec (&d)[2], Vec (&t)[2]) {
  t[0] = sub(d[0], d[1]);
  t[1] = d[1];
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
SN_INLINE void output_row(const Vec (&m)[5], Vec (&y)[4]) {
  const Vec s = add(m[1], m[2]), d = sub(m[1], m[2]);
  y[0] = add(add(m[0], s), m[3]);
  y[1] = fma(splat(2), m[3], d);
  y[2] = fma(splat(4), m[3], s);
  y[3] = fma(splat(8), m[3], add(m[4], d));
}
SN_INLINE void output_row(const Vec (&m)[4], Vec (&y)[4]) {
  const Vec s = add(m[1], m[2]), d = sub(m[1], m[2]);
  y[0] = add(add(m[0], s), m[3]);
  y[1] = fma(splat(2), m[3], d);
  y[2] = fma(splat(4), m[3], s);
  y[3] = fma(splat(8), m[3], d);
}
SN_INLINE void output_row(const Vec (&m)[3], Vec (&y)[2]) {
  y[0] = add(m[0], m[1]);
  y[1] = add(m[1], m[2]);
}
SN_INLINE void output_row(const Vec (&m)[2], Vec (&y)[2]) {
  y[0] = add(m[0], m[1]);
  y[1] = m[1];
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
SN_INLINE void weight_row(const Vec (&g)[2], Vec (&u)[5]) {
  const Vec sixth = splat(1.0F / 6);
  u[0] = mul(splat(0.5F), g[0]);
  u[1] = mul(splat(-0.5F), add(g[0], g[1]));
  u[2] = mul(sixth, sub(g[1], g[0]));
  u[3] = mul(sixth, fma(splat(2), g[1], g[0]));
  u[4] = g[1];
}
SN_INLINE void weight_row(const Vec (&g)[1], Vec (&u)[4]) {
  u[0] = mul(splat(0.5F), g[0]);
  u[1] = mul(splat(-0.5F), g[0]);
  u[2] = mul(splat(-1.0F / 6), g[0]);
  u[3] = mul(splat(1.0F / 6), g[0]);
}
SN_INLINE void weight_row(const Vec (&g)[2], Vec (&u)[3]) {
  u[0] = g[0];
  u[1] = add(g[0], g[1]);
  u[2] = g[1];
}
SN_INLINE void weight_row(const Vec (&g)[1], Vec (&u)[2]) { u[0] = u[1] = g[0]; }

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
SN_INLINE void gradient_row(const Vec (&y)[4], Vec (&t)[5]) {
  const Vec even = add(y[0], y[2]), odd = add(y[1], y[3]);
  t[0] = y[0];
  t[1] = add(even, odd);
  t[2] = sub(even, odd);
  t[3] = fma(splat(2), fma(splat(4), y[3], y[1]), fma(splat(4), y[2], y[0]));
  t[4] = y[3];
}
SN_INLINE void gradient_row(const Vec (&y)[2], Vec (&t)[3]) {
  t[0] = y[0];
  t[1] = add(y[0], y[1]);
  t[2] = y[1];
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
SN_INLINE void tap_row(const Vec (&u)[4], Vec (&g)[1]) {
  g[0] = fma(splat(1.0F / 6), sub(u[3], u[2]), mul(splat(0.5F), sub(u[0], u[1])));
}
SN_INLINE void tap_row(const Vec (&u)[5], Vec (&g)[2]) {
  const Vec sixth = splat(1.0F / 6), half = splat(0.5F);
  g[0] = fma(sixth, sub(u[3], u[2]), mul(half, sub(u[0], u[1])));
  g[1] = add(u[4], fma(sixth, fma(splat(2), u[3], u[2]), mul(splat(-0.5F), u[1])));
}
SN_INLINE void tap_row(const Vec (&u)[2], Vec (&g)[1]) { g[0] = add(u[0], u[1]); }
SN_INLINE void tap_row(const Vec (&u)[3], Vec (&g)[2]) {
  g[0] = add(u[0], u[1]);
  g[1] = add(u[1], u[2]);
}

}  // namespace simd
}  // namespace
