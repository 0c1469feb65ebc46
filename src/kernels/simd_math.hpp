// Elementary functions on vectors, for kernel bodies.
//
// exp(-x) = 2^n p(r) with n = round(-x / ln 2) and r = -x - n ln 2 in two parts, p of degree 6. sigmoid(x) =
// 1 / (1 + exp(-x)); large |x| need no test because 2^n saturates. NaN in, NaN out.
#pragma once

#include "kernels/args.hpp"
#include "kernels/simd.hpp"

namespace {
namespace simd {

using slimneck::kernels::Act;

/// e^-x
SN_INLINE Vec exp_neg(Vec x) {
  const Vec magic = splat(12582912.0F);  // 1.5 * 2^23: adding it rounds to an integer
  const Vec n = sub(fma(x, splat(-1.44269504F), magic), magic);
  const Vec r = fnma(n, splat(-2.12194440e-4F), fnma(n, splat(0.693359375F), sub(zero(), x)));
  Vec p = fma(splat(1.406160442e-3F), r, splat(8.379106935e-3F));
  p = fma(p, r, splat(4.166476934e-2F));
  p = fma(p, r, splat(1.666636418e-1F));
  p = fma(p, r, splat(5.000000437e-1F));
  p = fma(p, r, splat(1));
  p = fma(p, r, splat(1));
  return scale2(p, n);
}
SN_INLINE Vec sigmoid(Vec x) { return div(splat(1), add(exp_neg(x), splat(1))); }
SN_INLINE Vec silu(Vec x) { return div(x, add(exp_neg(x), splat(1))); }

/// Any activation of one vector; kernels call it where its cost does not count.
SN_INLINE Vec activate(Act act, float slope, Vec x) {
  switch (act) {
    case Act::silu: return silu(x);
    case Act::relu: return max(zero(), x);
    case Act::leaky_relu: return select(less(x, zero()), mul(x, splat(slope)), x);
    case Act::sigmoid: return sigmoid(x);
    default: return x;
  }
}

}  // namespace simd
}  // namespace
