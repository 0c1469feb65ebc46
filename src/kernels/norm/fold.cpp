#include <algorithm>
#include <cmath>

#include "kernels/norm/args.hpp"

namespace slimneck::kernels {

namespace {

template <class T>
void fold(index_t channels, const T* mean, const T* var, const T* gamma, const T* beta, double eps, T* scale,
          T* bias) noexcept {
  for (index_t c = 0; c < channels; ++c) {
    const double g = gamma ? static_cast<double>(gamma[c]) : 1;
    const double s = g / std::sqrt(static_cast<double>(var[c]) + eps);
    scale[c] = static_cast<T>(s);
    // From the rounded scale, so that its error does not meet the mean.
    bias[c] = static_cast<T>((beta ? static_cast<double>(beta[c]) : 0) -
                             static_cast<double>(mean[c]) * static_cast<double>(scale[c]));
  }
}

}  // namespace

void bn_fold(index_t channels, const float* mean, const float* var, const float* gamma, const float* beta, double eps,
             float* scale, float* bias) noexcept {
  fold(channels, mean, var, gamma, beta, eps, scale, bias);
}
void bn_fold(index_t channels, const double* mean, const double* var, const double* gamma, const double* beta,
             double eps, double* scale, double* bias) noexcept {
  fold(channels, mean, var, gamma, beta, eps, scale, bias);
}

void bn_finish_sums(const BnGradArgs& a, index_t lanes, index_t strip, index_t first, index_t last) noexcept {
  constexpr index_t widest = 16;
  const index_t channels = a.blocks * lanes, parts = a.n * strips_of(a.h, strip);
  const double count = static_cast<double>(std::max<index_t>(1, a.n * a.h * a.w));
  double s[widest], t[widest];
  for (index_t b = first; b < last; ++b) {
    merge_sums(a.workspace, parts, 2 * channels, b * lanes, lanes, s);
    merge_sums(a.workspace, parts, 2 * channels, channels + b * lanes, lanes, t);
    for (index_t k = 0; k < lanes; ++k) {
      const index_t c = b * lanes + k;
      const double q = 1 / std::sqrt(static_cast<double>(a.var[c]) + a.eps), scale = static_cast<double>(a.scale[c]);
      a.dbeta[c] = static_cast<float>(s[k]);
      a.dgamma[c] = static_cast<float>(q * t[k]);
      a.coefficients[c] = a.scale[c];
      a.coefficients[channels + c] = a.batch_stats ? static_cast<float>(-scale * q * q * t[k] / count) : 0;
      a.coefficients[2 * channels + c] = a.batch_stats ? static_cast<float>(-scale * s[k] / count) : 0;
    }
  }
}

}  // namespace slimneck::kernels
