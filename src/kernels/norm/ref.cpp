// Batch normalisation, per channel over the N = n h w elements, and sums over the same elements.
//
//   mean = sum x / N,  var = sum (x - mean)^2 / N,  q = 1/sqrt(var + eps),  xhat = (x - mean) q,  y = gamma xhat + beta
//   dgamma = sum dy xhat,  dbeta = sum dy,  dx = gamma q (dy - [dbeta + xhat dgamma] / N)
//
// The two terms in brackets come from the dependence of mean and var on x; without batch statistics they are absent.
// var is a sum of squares of differences, not E[x^2] - mean^2, which loses everything when the mean is large.
#include <algorithm>
#include <cmath>

#include "kernels/norm/halves.hpp"

namespace slimneck::kernels {

namespace {

/// sum of term(n, h, w) over one channel, in one fixed order.
template <class F>
double sum_over(const Shape& shape, const F& term) {
  double sum = 0;
  for (index_t n = 0; n < shape.n; ++n)
    for (index_t h = 0; h < shape.h; ++h)
      for (index_t w = 0; w < shape.w; ++w) sum += term(n, h, w);
  return sum;
}

/// Elements per channel as a divisor: an empty batch has no mean, and 0/1 serves as well as any.
double divisor(const Shape& shape) { return static_cast<double>(std::max<index_t>(1, shape.n * shape.h * shape.w)); }

/// Element c of a vector 1 x c x 1 x 1.
template <class T>
double channel(View<const T> v, index_t c) {
  return static_cast<double>(v.at(0, c, 0, 0));
}

}  // namespace

template <class T>
void channel_sum(View<const T> x, View<T> y) noexcept {
#pragma omp parallel for schedule(static)
  for (index_t c = 0; c < x.shape.c; ++c)
    y.at(0, c, 0, 0) = static_cast<T>(
        sum_over(x.shape, [&](index_t n, index_t h, index_t w) { return static_cast<double>(x.at(n, c, h, w)); }));
}

template <class T>
void bn_stats(View<const T> x, View<T> mean, View<T> var) noexcept {
  const double count = divisor(x.shape);
#pragma omp parallel for schedule(static)
  for (index_t c = 0; c < x.shape.c; ++c) {
    const double m =
        sum_over(x.shape, [&](index_t n, index_t h, index_t w) { return static_cast<double>(x.at(n, c, h, w)); }) /
        count;
    const double v = sum_over(x.shape, [&](index_t n, index_t h, index_t w) {
      const double difference = static_cast<double>(x.at(n, c, h, w)) - m;
      return difference * difference;
    });
    mean.at(0, c, 0, 0) = static_cast<T>(m);
    var.at(0, c, 0, 0) = static_cast<T>(v / count);
  }
}

template <class T>
void bn_apply(View<const T> x, View<const T> mean, View<const T> var, View<const T> gamma, View<const T> beta,
              View<T> y, double eps) noexcept {
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t n = 0; n < y.shape.n; ++n)
    for (index_t c = 0; c < y.shape.c; ++c) {
      const double m = channel(mean, c);
      const double scale = channel(gamma, c) / std::sqrt(channel(var, c) + eps);
      const double shift = channel(beta, c);
      for (index_t h = 0; h < y.shape.h; ++h)
        for (index_t w = 0; w < y.shape.w; ++w)
          y.at(n, c, h, w) = static_cast<T>(scale * (static_cast<double>(x.at(n, c, h, w)) - m) + shift);
    }
}

template <class T>
void bn_running(View<const T> mean, View<const T> var, index_t count, double momentum, View<const T> mean_in,
                View<const T> var_in, View<const T> tracked_in, View<T> mean_out, View<T> var_out,
                View<T> tracked_out) noexcept {
  // One element has no unbiased variance; its var is 0, and stays 0 with the divisor held at 1.
  const double unbiased = static_cast<double>(count) / static_cast<double>(std::max<index_t>(1, count - 1));
  for (index_t c = 0; c < mean.shape.c; ++c) {
    mean_out.at(0, c, 0, 0) = static_cast<T>((1 - momentum) * channel(mean_in, c) + momentum * channel(mean, c));
    var_out.at(0, c, 0, 0) =
        static_cast<T>((1 - momentum) * channel(var_in, c) + momentum * unbiased * channel(var, c));
  }
  tracked_out.at(0, 0, 0, 0) = tracked_in.at(0, 0, 0, 0) + 1;
}

template <class T>
void bn_bwd(View<const T> dy, View<const T> x, View<const T> mean, View<const T> var, View<const T> gamma, View<T> dx,
            View<T> dgamma, View<T> dbeta, double eps, bool batch_stats) noexcept {
  const double count = divisor(x.shape);
#pragma omp parallel for schedule(static)
  for (index_t c = 0; c < x.shape.c; ++c) {
    const double m = channel(mean, c);
    const double q = 1 / std::sqrt(channel(var, c) + eps);
    const auto gradient = [&](index_t n, index_t h, index_t w) { return static_cast<double>(dy.at(n, c, h, w)); };
    const auto xhat = [&](index_t n, index_t h, index_t w) { return (static_cast<double>(x.at(n, c, h, w)) - m) * q; };
    const double sum_dy = sum_over(x.shape, gradient);
    const double sum_dy_xhat =
        sum_over(x.shape, [&](index_t n, index_t h, index_t w) { return gradient(n, h, w) * xhat(n, h, w); });
    dgamma.at(0, c, 0, 0) = static_cast<T>(sum_dy_xhat);
    dbeta.at(0, c, 0, 0) = static_cast<T>(sum_dy);

    const double scale = channel(gamma, c) * q;
    const double constant = batch_stats ? sum_dy / count : 0;
    const double linear = batch_stats ? sum_dy_xhat / count : 0;
    for (index_t n = 0; n < x.shape.n; ++n)
      for (index_t h = 0; h < x.shape.h; ++h)
        for (index_t w = 0; w < x.shape.w; ++w)
          dx.at(n, c, h, w) = static_cast<T>(scale * (gradient(n, h, w) - constant - xhat(n, h, w) * linear));
  }
}

template <class T>
void bn_bwd_sums(View<const T> dy, View<const T> x, View<const T> mean, View<const T> var, View<T> dgamma,
                 View<T> dbeta, double eps) noexcept {
#pragma omp parallel for schedule(static)
  for (index_t c = 0; c < x.shape.c; ++c) {
    const double m = channel(mean, c), q = 1 / std::sqrt(channel(var, c) + eps);
    const auto gradient = [&](index_t n, index_t h, index_t w) { return static_cast<double>(dy.at(n, c, h, w)); };
    dgamma.at(0, c, 0, 0) = static_cast<T>(sum_over(x.shape, [&](index_t n, index_t h, index_t w) {
      return gradient(n, h, w) * (static_cast<double>(x.at(n, c, h, w)) - m) * q;
    }));
    dbeta.at(0, c, 0, 0) = static_cast<T>(sum_over(x.shape, gradient));
  }
}

template <class T>
void bn_bwd_x(View<const T> dy, View<const T> x, View<const T> mean, View<const T> var, View<const T> gamma,
              View<const T> dgamma, View<const T> dbeta, View<T> dx, double eps) noexcept {
  const double count = divisor(x.shape);
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t n = 0; n < x.shape.n; ++n)
    for (index_t c = 0; c < x.shape.c; ++c) {
      const double m = channel(mean, c), q = 1 / std::sqrt(channel(var, c) + eps), scale = channel(gamma, c) * q;
      const double constant = channel(dbeta, c) / count, linear = channel(dgamma, c) / count * q;
      for (index_t h = 0; h < x.shape.h; ++h)
        for (index_t w = 0; w < x.shape.w; ++w)
          dx.at(n, c, h, w) = static_cast<T>(scale * (static_cast<double>(dy.at(n, c, h, w)) - constant -
                                                      (static_cast<double>(x.at(n, c, h, w)) - m) * linear));
    }
}

template SLIMNECK_EXPORT void channel_sum<float>(View<const float>, View<float>) noexcept;
template SLIMNECK_EXPORT void channel_sum<double>(View<const double>, View<double>) noexcept;
template SLIMNECK_EXPORT void bn_stats<float>(View<const float>, View<float>, View<float>) noexcept;
template SLIMNECK_EXPORT void bn_stats<double>(View<const double>, View<double>, View<double>) noexcept;
template SLIMNECK_EXPORT void bn_apply<float>(View<const float>, View<const float>, View<const float>,
                                              View<const float>, View<const float>, View<float>, double) noexcept;
template SLIMNECK_EXPORT void bn_apply<double>(View<const double>, View<const double>, View<const double>,
                                               View<const double>, View<const double>, View<double>, double) noexcept;
template SLIMNECK_EXPORT void bn_running<float>(View<const float>, View<const float>, index_t, double,
                                                View<const float>, View<const float>, View<const float>, View<float>,
                                                View<float>, View<float>) noexcept;
template SLIMNECK_EXPORT void bn_running<double>(View<const double>, View<const double>, index_t, double,
                                                 View<const double>, View<const double>, View<const double>,
                                                 View<double>, View<double>, View<double>) noexcept;
template SLIMNECK_EXPORT void bn_bwd<float>(View<const float>, View<const float>, View<const float>, View<const float>,
                                            View<const float>, View<float>, View<float>, View<float>, double,
                                            bool) noexcept;
template SLIMNECK_EXPORT void bn_bwd<double>(View<const double>, View<const double>, View<const double>,
                                             View<const double>, View<const double>, View<double>, View<double>,
                                             View<double>, double, bool) noexcept;
template SLIMNECK_EXPORT void bn_bwd_sums<float>(View<const float>, View<const float>, View<const float>,
                                                 View<const float>, View<float>, View<float>, double) noexcept;
template SLIMNECK_EXPORT void bn_bwd_x<float>(View<const float>, View<const float>, View<const float>,
                                              View<const float>, View<const float>, View<const float>,
                                              View<const float>, View<float>, double) noexcept;
template SLIMNECK_EXPORT void bn_bwd_sums<double>(View<const double>, View<const double>, View<const double>,
                                                  View<const double>, View<double>, View<double>, double) noexcept;
template SLIMNECK_EXPORT void bn_bwd_x<double>(View<const double>, View<const double>, View<const double>,
                                               View<const double>, View<const double>, View<const double>,
                                               View<const double>, View<double>, double) noexcept;

}  // namespace slimneck::kernels
