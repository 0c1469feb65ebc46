// Elementary functions on vectors, for kernel bodies.
//
// e^x = 2^n p(r) with n = round(x / ln 2) and r = x - n ln 2 in two parts, p a polynomial of degree 6; where a vector
// holds a table of 16 numbers, n is a multiple of 1/16, 2^n a looked up fraction times a power, and degree 3 is enough.
// Arguments are clamped to where the result is 0 or infinity anyway: the polynomial of an enormous r would be NaN. A
// clamp is written as min(c, x), whose result is x where that is NaN: NaN in, NaN out. At infinities all is as in the
// formulas of pointwise/ref.cpp (SiLU of -infinity is NaN).
//
// Largest errors, in units of the last place of the correctly rounded result, subnormal results included:
//   exp 1.5 · sigmoid, SiLU, tanh 2.5 · Mish 4.5 · GELU 7 · ReLU, LeakyReLU 0.5 · hardswish 2.5.
// To reach subnormal results the functions that end in a quotient carry powers of two that e^x alone could not hold.
//
// Measured, per SiLU in registers: the table 0.9 x, 32 numbers and degree 2 0.86 x, but 6.4 ulp, no low parts 0.86 x,
// but 3.1 ulp; exponents by integer addition 1.04 x (AVX-512; without it AVX2 is 1.29 x), an approximate reciprocal
// with one Newton step in place of the division 1.3 x.
#pragma once

#include "kernels/args.hpp"
#include "kernels/simd.hpp"

namespace {
namespace simd {

using slimneck::kernels::Act;

SN_INLINE Vec clamp(Vec x, float low, float high) { return min(splat(high), max(splat(low), x)); }
SN_INLINE Vec round(Vec x) {
  const Vec magic = splat(12582912.0F);  // 1.5 * 2^23: adding it rounds to an integer
  return sub(add(x, magic), magic);
}

/// 2^exponent
constexpr float power_of_two(int exponent) {
  float p = 1;
  for (; exponent > 0; --exponent) p *= 2;
  for (; exponent < 0; ++exponent) p /= 2;
  return p;
}

/// 2^unit 2^(i/16) as the sum of two floats.
template <int unit>
struct Sixteenths {
  alignas(64) float high[16];
  alignas(64) float low[16];

  constexpr Sixteenths() : high(), low() {
    double power = 1;
    for (int i = 0; i < 16; ++i, power *= 1.0442737824274138) {
      const auto rounded = static_cast<float>(power);
      high[i] = power_of_two(unit) * rounded;
      low[i] = power_of_two(unit) * static_cast<float>(power - rounded);
    }
  }
};
template <int unit>
inline constexpr Sixteenths<unit> sixteenths;

/// 2^unit e^x, or 2^unit e^-x; e^x itself must lie within 2^+-250, and where `normal` is set the result must be a
/// normal number, or x be NaN.
template <int unit, bool negative = false, bool normal = false>
SN_INLINE Vec scaled_exp(Vec x) {
  constexpr float sign = negative ? -1 : 1, step = looks_up ? 0.0625F : 1;
  const Vec magic = splat(12582912.0F * step);  // adding it rounds to a multiple of the step
  const Vec biased = fma(x, splat(sign * 1.44269504F), magic), n = sub(biased, magic);
  // For e^-x this is -r, and odd coefficients change their signs.
  const Vec r = fma(n, splat(sign * 2.12194440e-4F), fma(n, splat(-sign * 0.693359375F), x));
  if constexpr (looks_up) {
    const Vec high = look_up(sixteenths<unit>.high, biased), low = look_up(sixteenths<unit>.low, biased);
    const Vec p = fma(fma(splat(sign * 0.16666667F), r, splat(0.5000162F)), r, splat(sign));
    return scale2(add(fma(mul(high, r), p, low), high), n, biased);
  } else {
    constexpr float even = power_of_two(unit), odd = sign * even;
    Vec p = fma(splat(even * 1.406160442e-3F), r, splat(odd * 8.379106935e-3F));
    p = fma(p, r, splat(even * 4.166476934e-2F));
    p = fma(p, r, splat(odd * 1.666636418e-1F));
    p = fma(p, r, splat(even * 5.000000437e-1F));
    p = fma(p, r, splat(odd));
    p = fma(p, r, splat(even));
    return normal ? scale2(p, n, biased) : scale2(p, n);
  }
}

SN_INLINE Vec exp(Vec x) { return scaled_exp<0>(clamp(x, -105, 90)); }

/// 1 + e^-x times 2^-29, for x from -110, where it may be infinite, to 50; what a larger x adds to 1 is lost in any
/// case. Where powers of two are added to exponents, e^-x is carried times 2^-40, so that it is normal.
inline constexpr int tiny = -29;
inline constexpr float tiny_unit = power_of_two(tiny);
SN_INLINE Vec tiny_one_plus_exp(Vec x) {
  if constexpr (scales_far) return add(scaled_exp<tiny, true>(x), splat(tiny_unit));
  return fma(scaled_exp<-40, true, true>(x), splat(0x1p11F), splat(tiny_unit));
}

/// 1 / (1 + e^-x)
SN_INLINE Vec sigmoid(Vec x) { return mul(div(splat(1), tiny_one_plus_exp(clamp(x, -110, 50))), splat(tiny_unit)); }
/// Past 50 the quotient could overflow, and x is the result.
SN_INLINE Vec silu(Vec x) {
  const Vec quotient = div(x, tiny_one_plus_exp(max(splat(-110), x)));
  return product_up_to(splat(50), x, quotient, splat(tiny_unit));
}

/// m / (m + 2) with m = e^2|x| - 1 = 2^n (p - 1) + (2^n - 1): nothing cancels where x is small.
SN_INLINE Vec tanh(Vec x) {
  const Vec a = mul(min(splat(10), abs(x)), splat(2));
  const Vec n = round(mul(a, splat(1.44269504F)));
  const Vec r = fnma(n, splat(-2.12194440e-4F), fnma(n, splat(0.693359375F), a));
  Vec p = fma(splat(1.388250758e-3F), r, splat(8.366580475e-3F));  // least relative error of p - 1
  p = fma(p, r, splat(4.166720182e-2F));
  p = fma(p, r, splat(1.666654318e-1F));
  p = fma(p, r, splat(4.999999814e-1F));
  p = fma(mul(p, r), r, r);
  const Vec power = scale2(splat(1), n);
  const Vec m = fma(p, power, sub(power, splat(1)));
  return with_sign(div(m, add(m, splat(2))), x);
}

/// x w / (w + 2) with w = e^x (e^x + 2); e^x is carried times 2^40. Past 20 the gate is 1.
SN_INLINE Vec mish(Vec x) {
  const Vec e = scaled_exp<40>(clamp(x, -140, 20));
  const Vec w = mul(e, fma(e, splat(0x1p-40F), splat(2)));
  const Vec gate = div(w, fma(w, splat(0x1p-40F), splat(2)));
  return select(less(splat(20), x), x, mul(mul(x, gate), splat(0x1p-40F)));
}

SN_INLINE Vec hardswish(Vec x) {
  const Vec inner = mul(mul(x, add(x, splat(3))), splat(1.0F / 6));
  return select(less(splat(3), x), x, select(less(x, splat(-3)), zero(), inner));
}

/// Of the normal distribution, times 2^40: tail = 1 - Phi(|x|) and *density = phi(x).
/// tail = e^(-x^2/2) G(t), t = 1 / (1 + 0.3 |x|), where G is a polynomial (relative error 3e-9 up to |x| = 14.6). x^2
/// needs more than the 24 bits of a float: its rounding error enters at the end.
SN_INLINE Vec normal_tail(Vec x, Vec* density) {
  const Vec a = min(splat(18), abs(x)), square = mul(a, a);
#if defined(__FMA__) || (defined(__ARM_NEON) && !defined(SN_PORTABLE))
  const Vec rest = fma(a, a, sub(zero(), square));
#else  // Dekker's product: 12 bits times 12 bits
  const Vec big = mul(a, splat(4097)), high = sub(big, sub(big, a)), low = sub(a, high);
  const Vec rest = add(add(sub(mul(high, high), square), mul(mul(high, low), splat(2))), mul(low, low));
#endif
  const Vec e = scaled_exp<40, true>(mul(square, splat(0.5F)));
  const Vec g = fnma(mul(e, rest), splat(0.5F), e);
  const Vec t = div(splat(1), fma(a, splat(0.3F), splat(1)));
  Vec p = fma(splat(-0.02005174418F), t, splat(0.1090797324F));
  p = fma(p, t, splat(-0.2195800256F));
  p = fma(p, t, splat(0.1789906775F));
  p = fma(p, t, splat(-0.0673555978F));
  p = fma(p, t, splat(0.08860217352F));
  p = fma(p, t, splat(0.08156154454F));
  p = fma(p, t, splat(0.109355232F));
  p = fma(p, t, splat(0.1197260404F));
  p = fma(p, t, splat(0.1196713024F));
  p = fma(p, t, splat(6.633065839e-7F));
  *density = mul(g, splat(0.398942280F));
  return mul(g, p);
}

/// x Phi(x) = x - x tail for x > 0, x tail below.
SN_INLINE Vec gelu(Vec x) {
  Vec density;
  const Vec part = mul(mul(x, normal_tail(x, &density)), splat(0x1p-40F));
  return select(less(splat(16), x), x, select(less(zero(), x), sub(x, part), part));
}

/// The derivatives; value = act(x), with one exponential and one division for both. Errors: 10 u (u = 2^-24) of the sum
/// of the magnitudes of the terms that the derivative is made of, and 2^-140 besides; value is as good as act(x),
/// except that where SiLU's e^x is subnormal it has that absolute error. 1 - s is e^-x s: as a difference it would be
/// wrong by x u/2 where x is large.
SN_INLINE Vec silu_grad(Vec x, Vec& value) {
  constexpr int exponent = -31;
  constexpr float unit = power_of_two(exponent);
  const Vec e = scales_far ? scaled_exp<exponent, true>(clamp(x, -108, 90))  // underflows to 0
                           : scaled_exp<exponent, true, true>(clamp(x, -108, 60));
  const Vec q = div(splat(1), add(e, splat(unit))), s = mul(q, splat(unit));
  value = mul(x, s);
  return fma(scales_far ? value : min(splat(0x1p60F), value), mul(e, q), s);  // what an x above 60 adds is lost
}
/// gate + x gate', gate' = 4 e (1 + e) / (w + 2)^2.
SN_INLINE Vec mish_grad(Vec x, Vec& value) {
  const Vec e = scaled_exp<0>(clamp(x, -140, 20)), w = mul(e, add(e, splat(2)));
  const Vec q = div(splat(1), add(w, splat(2))), gate = mul(w, q);
  const Vec rise = mul(mul(mul(e, add(e, splat(1))), q), mul(q, splat(4)));
  const Mask linear = less(splat(20), x);
  value = select(linear, x, mul(x, gate));
  return select(linear, splat(1), fma(x, rise, gate));
}
SN_INLINE Vec gelu_grad(Vec x, Vec& value) {
  Vec density;
  const Vec tail = mul(normal_tail(x, &density), splat(0x1p-40F));
  const Vec phi = select(less(zero(), x), sub(splat(1), tail), tail);
  value = mul(x, phi);
  return fma(x, mul(density, splat(0x1p-40F)), phi);
}
SN_INLINE Vec hardswish_grad(Vec x, Vec& value) {
  value = hardswish(x);
  const Vec inner = fma(x, splat(1.0F / 3), splat(0.5F));
  return select(less(x, splat(-3)), zero(), select(less(x, splat(3)), inner, select(is_nan(x), x, splat(1))));
}

/// act(x), with the activation fixed at compile time: for loops.
template <Act act>
SN_INLINE Vec activate(float slope, Vec x) {
  if constexpr (act == Act::silu) return silu(x);
  if constexpr (act == Act::mish) return mish(x);
  if constexpr (act == Act::relu) return max(zero(), x);
  if constexpr (act == Act::leaky_relu) return select(less(zero(), x), x, mul(x, splat(slope)));
  if constexpr (act == Act::hardswish) return hardswish(x);
  if constexpr (act == Act::sigmoid) return sigmoid(x);
  if constexpr (act == Act::gelu) return gelu(x);
  return x;
}

/// act'(x), and value = act(x).
template <Act act>
SN_INLINE Vec activate_grad(float slope, Vec x, Vec& value) {
  if constexpr (act == Act::silu) return silu_grad(x, value);
  if constexpr (act == Act::mish) return mish_grad(x, value);
  if constexpr (act == Act::hardswish) return hardswish_grad(x, value);
  if constexpr (act == Act::gelu) return gelu_grad(x, value);
  value = activate<act>(slope, x);
  if constexpr (act == Act::sigmoid) return mul(value, sub(splat(1), value));
  const Vec left = splat(act == Act::relu ? 0 : act == Act::leaky_relu ? slope : 1);
  return select(less(zero(), x), splat(1), select(is_nan(x), x, left));
}

/// The same for an activation known at run time, one vector at a time and not inlined: where its cost does not count.
// NOLINTNEXTLINE(misc-definitions-in-headers): in an anonymous namespace; inline contradicts noinline
[[maybe_unused]] __attribute__((noinline)) Vec activate(Act act, float slope, Vec x) {
  switch (act) {
    case Act::none: return x;
    case Act::silu: return activate<Act::silu>(slope, x);
    case Act::mish: return activate<Act::mish>(slope, x);
    case Act::relu: return activate<Act::relu>(slope, x);
    case Act::leaky_relu: return activate<Act::leaky_relu>(slope, x);
    case Act::hardswish: return activate<Act::hardswish>(slope, x);
    case Act::sigmoid: return activate<Act::sigmoid>(slope, x);
    case Act::gelu: return activate<Act::gelu>(slope, x);
  }
  return x;
}

// NOLINTNEXTLINE(misc-definitions-in-headers): in an anonymous namespace; inline contradicts noinline
[[maybe_unused]] __attribute__((noinline)) Vec activate_grad(Act act, float slope, Vec x, Vec& value) {
  switch (act) {
    case Act::none: return activate_grad<Act::none>(slope, x, value);
    case Act::silu: return activate_grad<Act::silu>(slope, x, value);
    case Act::mish: return activate_grad<Act::mish>(slope, x, value);
    case Act::relu: return activate_grad<Act::relu>(slope, x, value);
    case Act::leaky_relu: return activate_grad<Act::leaky_relu>(slope, x, value);
    case Act::hardswish: return activate_grad<Act::hardswish>(slope, x, value);
    case Act::sigmoid: return activate_grad<Act::sigmoid>(slope, x, value);
    case Act::gelu: return activate_grad<Act::gelu>(slope, x, value);
  }
  return activate_grad<Act::none>(slope, x, value);
}

/// body.template operator()<act>() for an activation known at run time: a loop is compiled once for each.
template <class Body>
SN_INLINE void with_act(Act act, const Body& body) {
  switch (act) {
    case Act::none: return body.template operator()<Act::none>();
    case Act::silu: return body.template operator()<Act::silu>();
    case Act::mish: return body.template operator()<Act::mish>();
    case Act::relu: return body.template operator()<Act::relu>();
    case Act::leaky_relu: return body.template operator()<Act::leaky_relu>();
    case Act::hardswish: return body.template operator()<Act::hardswish>();
    case Act::sigmoid: return body.template operator()<Act::sigmoid>();
    case Act::gelu: return body.template operator()<Act::gelu>();
  }
}

}  // namespace simd
}  // namespace
