// Element by element: y = act(x), dx = dy act'(x), y = a + b, y = x, y = 0.
//
// With sigma(x) = 1 / (1 + exp(-x)), Phi the normal distribution function and phi its density:
//   silu x sigma(x) · mish x tanh(ln(1 + exp x)) · relu max(x, 0) · leaky_relu x or slope x · sigmoid sigma(x)
//   hardswish x min(max(x + 3, 0), 6) / 6 · gelu x Phi(x)
// Only exp(-|x|) is ever taken, so nothing overflows, and differences like 1 - sigma(x) are written as sigma(-x) so
// that nothing cancels.
#include <cmath>
#include <numbers>

#include "slimneck/kernels.hpp"

namespace slimneck::kernels {

namespace {

double sigmoid(double x) {
  const double e = std::exp(-std::abs(x));
  return x < 0 ? e / (1 + e) : 1 / (1 + e);
}

/// tanh(ln(1 + exp x)) = (E^2 + 2E) / (E^2 + 2E + 2) with E = exp x; for x >= 0 divided through by E^2.
double mish_gate(double x) {
  const double e = std::exp(-std::abs(x));
  if (x < 0) return e * (e + 2) / (e * (e + 2) + 2);
  return (1 + 2 * e) / (1 + 2 * e + 2 * e * e);
}

/// d/dx of mish_gate: 4 E (1 + E) / (E^2 + 2E + 2)^2, likewise.
double mish_gate_slope(double x) {
  const double e = std::exp(-std::abs(x));
  const double d = x < 0 ? e * (e + 2) + 2 : 1 + 2 * e + 2 * e * e;
  return x < 0 ? 4 * e * (1 + e) / (d * d) : 4 * e * e * (1 + e) / (d * d);
}

double normal_cdf(double x) { return std::erfc(-x / std::numbers::sqrt2) / 2; }

double normal_density(double x) { return std::exp(-x * x / 2) * std::numbers::inv_sqrtpi / std::numbers::sqrt2; }

/// f(n, c, h) for every row; each plane belongs to one thread.
template <class F>
void for_each_row(const Shape& shape, const F& f) {
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t n = 0; n < shape.n; ++n)
    for (index_t c = 0; c < shape.c; ++c)
      for (index_t h = 0; h < shape.h; ++h) f(n, c, h);
}

}  // namespace

// Comparisons are written so that NaN falls through to a branch that returns it.
double act_value(const Activation& act, double x) noexcept {
  switch (act.kind) {
    case Act::none: return x;
    case Act::silu: return x * sigmoid(x);
    case Act::mish: return x * mish_gate(x);
    case Act::relu: return x <= 0 ? 0 : x;
    case Act::leaky_relu: return x <= 0 ? act.slope * x : x;
    case Act::hardswish: return x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6;
    case Act::sigmoid: return sigmoid(x);
    case Act::gelu: return x * normal_cdf(x);
  }
  return x;
}

// At a kink the side is PyTorch's choice: the left one for relu and leaky_relu, the right one for hardswish.
double act_slope(const Activation& act, double x) noexcept {
  switch (act.kind) {
    case Act::none: break;
    case Act::silu: return sigmoid(x) * (1 + x * sigmoid(-x));
    case Act::mish: return mish_gate(x) + x * mish_gate_slope(x);
    case Act::relu: return x <= 0 ? 0 : x > 0 ? 1 : x;
    case Act::leaky_relu: return x <= 0 ? act.slope : x > 0 ? 1 : x;
    case Act::hardswish: return x < -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6;
    case Act::sigmoid: return sigmoid(x) * sigmoid(-x);
    case Act::gelu: return normal_cdf(x) + x * normal_density(x);
  }
  return std::isnan(x) ? x : 1;
}

template <class T>
void act_fwd(View<const T> x, View<T> y, const Activation& act) noexcept {
  for_each_row(y.shape, [&](index_t n, index_t c, index_t h) {
    const T* from = x.data + x.offset(n, c, h, 0);
    T* to = y.data + y.offset(n, c, h, 0);
    for (index_t w = 0; w < y.shape.w; ++w)
      to[w * y.sw] = static_cast<T>(act_value(act, static_cast<double>(from[w * x.sw])));
  });
}

template <class T>
void act_bwd(View<const T> x, View<const T> dy, View<T> dx, const Activation& act) noexcept {
  for_each_row(dx.shape, [&](index_t n, index_t c, index_t h) {
    const T* at = x.data + x.offset(n, c, h, 0);
    const T* from = dy.data + dy.offset(n, c, h, 0);
    T* to = dx.data + dx.offset(n, c, h, 0);
    for (index_t w = 0; w < dx.shape.w; ++w)
      to[w * dx.sw] =
          static_cast<T>(static_cast<double>(from[w * dy.sw]) * act_slope(act, static_cast<double>(at[w * x.sw])));
  });
}

template <class T>
void add(View<const T> a, View<const T> b, View<T> y) noexcept {
  for_each_row(y.shape, [&](index_t n, index_t c, index_t h) {
    const T* left = a.data + a.offset(n, c, h, 0);
    const T* right = b.data + b.offset(n, c, h, 0);
    T* to = y.data + y.offset(n, c, h, 0);
    for (index_t w = 0; w < y.shape.w; ++w) to[w * y.sw] = left[w * a.sw] + right[w * b.sw];
  });
}

template <class T>
void copy(View<const T> x, View<T> y) noexcept {
  for_each_row(y.shape, [&](index_t n, index_t c, index_t h) {
    const T* from = x.data + x.offset(n, c, h, 0);
    T* to = y.data + y.offset(n, c, h, 0);
    for (index_t w = 0; w < y.shape.w; ++w) to[w * y.sw] = from[w * x.sw];
  });
}

template <class T>
void fill_zero(View<T> y) noexcept {
  for_each_row(y.shape, [&](index_t n, index_t c, index_t h) {
    T* to = y.data + y.offset(n, c, h, 0);
    for (index_t w = 0; w < y.shape.w; ++w) to[w * y.sw] = 0;
  });
}

template SLIMNECK_EXPORT void act_fwd<float>(View<const float>, View<float>, const Activation&) noexcept;
template SLIMNECK_EXPORT void act_fwd<double>(View<const double>, View<double>, const Activation&) noexcept;
template SLIMNECK_EXPORT void act_bwd<float>(View<const float>, View<const float>, View<float>,
                                             const Activation&) noexcept;
template SLIMNECK_EXPORT void act_bwd<double>(View<const double>, View<const double>, View<double>,
                                              const Activation&) noexcept;
template SLIMNECK_EXPORT void add<float>(View<const float>, View<const float>, View<float>) noexcept;
template SLIMNECK_EXPORT void add<double>(View<const double>, View<const double>, View<double>) noexcept;
template SLIMNECK_EXPORT void copy<float>(View<const float>, View<float>) noexcept;
template SLIMNECK_EXPORT void copy<double>(View<const double>, View<double>) noexcept;
template SLIMNECK_EXPORT void fill_zero<float>(View<float>) noexcept;
template SLIMNECK_EXPORT void fill_zero<double>(View<double>) noexcept;

}  // namespace slimneck::kernels
