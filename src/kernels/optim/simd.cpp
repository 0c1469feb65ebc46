// Optimiser steps (formulas in optim/args.hpp) in one pass over parameters, gradients and state: bound by memory.
#include "kernels/declare.hpp"

namespace slimneck::kernels::SN_ISA {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

namespace {

/// body(i, n) for every vector of the arrays: n = lanes, or fewer at the end.
template <class Body>
SN_INLINE void for_each_vector(index_t count, const Body& body) {
  const index_t pieces = (count + optim_piece - 1) / optim_piece;
#pragma omp parallel for schedule(static) if (pieces > 1)
  for (index_t t = 0; t < pieces; ++t) {
    const index_t last = least(count, (t + 1) * optim_piece);
    index_t i = t * optim_piece;
    for (; i + lanes <= last; i += lanes) body(i, lanes);
    if (i < last) body(i, last - i);
  }
}

SN_INLINE Vec take(const float* p, index_t n) { return n == lanes ? load(p) : load_n(p, n); }
SN_INLINE void put(float* p, Vec v, index_t n) { n == lanes ? store(p, v) : store_n(p, v, n); }
SN_INLINE Vec constant(double x) { return splat(static_cast<float>(x)); }

/// x^n
double power(double x, index_t n) {
  double r = 1;
  for (; n > 0; n /= 2, x *= x)
    if (n % 2 == 1) r *= x;
  return r;
}

template <bool decoupled>
SN_INLINE void adam(const OptimArgs& a) {
  const Vec beta1 = constant(a.beta1), rest1 = constant(1 - a.beta1);
  const Vec beta2 = constant(a.beta2), rest2 = constant(1 - a.beta2), eps = constant(a.eps), decay = constant(a.decay);
  const Vec keep = constant(1 - a.lr * a.decay), rate = constant(-a.lr / (1 - power(a.beta1, a.step)));
  const Vec correction = constant(__builtin_sqrt(1 - power(a.beta2, a.step)));
  for_each_vector(a.count, [&](index_t i, index_t n) SN_INLINE_BODY {
    Vec p = take(a.p + i, n), g = take(a.g + i, n);
    if constexpr (decoupled)
      p = mul(p, keep);
    else
      g = fma(decay, p, g);
    const Vec m = fma(beta1, a.first ? zero() : take(a.m + i, n), mul(rest1, g));
    const Vec v = fma(beta2, a.first ? zero() : take(a.v + i, n), mul(rest2, mul(g, g)));
    put(a.m + i, m, n);
    put(a.v + i, v, n);
    put(a.p + i, fma(rate, div(m, simd::add(div(simd::sqrt(v), correction), eps)), p), n);
  });
}

}  // namespace

void optim_sgd(const OptimArgs& a) noexcept {
  const Vec rate = constant(-a.lr), momentum = constant(a.momentum), decay = constant(a.decay);
  if (a.momentum == 0)
    return for_each_vector(a.count, [&](index_t i, index_t n) SN_INLINE_BODY {
      const Vec p = take(a.p + i, n);
      put(a.p + i, fma(rate, fma(decay, p, take(a.g + i, n)), p), n);
    });
  for_each_vector(a.count, [&](index_t i, index_t n) SN_INLINE_BODY {
    const Vec p = take(a.p + i, n), g = fma(decay, p, take(a.g + i, n));
    const Vec m = a.first ? g : fma(momentum, take(a.m + i, n), g);
    put(a.m + i, m, n);
    put(a.p + i, fma(rate, a.nesterov ? fma(momentum, m, g) : m, p), n);
  });
}

void optim_adam(const OptimArgs& a) noexcept { adam<false>(a); }
void optim_adamw(const OptimArgs& a) noexcept { adam<true>(a); }

void optim_ema(const OptimArgs& a) noexcept {
  const Vec keep = constant(a.beta1), rest = constant(1 - a.beta1);
  for_each_vector(a.count, [&](index_t i, index_t n) SN_INLINE_BODY {
    put(a.p + i, fma(keep, take(a.p + i, n), mul(rest, take(a.g + i, n))), n);
  });
}

void optim_scale(const OptimArgs& a) noexcept {
  const Vec by = constant(a.lr);
  for_each_vector(a.count, [&](index_t i, index_t n) SN_INLINE_BODY { put(a.p + i, mul(by, take(a.p + i, n)), n); });
}

void optim_zero(const OptimArgs& a) noexcept {
  for_each_vector(a.count, [&](index_t i, index_t n) SN_INLINE_BODY { put(a.p + i, zero(), n); });
}

/// Sixteen sums in double for each piece, which the compiler makes vectors of; then the pieces in order.
void sum_squares(const SumSquaresArgs& a) noexcept {
  const index_t pieces = sum_squares_workspace(a.count);
#pragma omp parallel for schedule(static) if (pieces > 1)
  for (index_t t = 0; t < pieces; ++t) {
    const index_t last = least(a.count, (t + 1) * optim_piece);
    double s[16] = {};
    index_t i = t * optim_piece;
    for (; i + 16 <= last; i += 16)
      for (index_t k = 0; k < 16; ++k) {
        const auto x = static_cast<double>(a.x[i + k]);
        s[k] += x * x;
      }
    for (; i < last; ++i) s[i % 16] += static_cast<double>(a.x[i]) * static_cast<double>(a.x[i]);
    double sum = 0;
    for (const double part : s) sum += part;
    a.workspace[t] = sum;
  }
  double sum = 0;
  for (index_t t = 0; t < pieces; ++t) sum += a.workspace[t];
  *a.result = sum;
}

}  // namespace slimneck::kernels::SN_ISA
