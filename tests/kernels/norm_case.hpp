// What tests of convolutions between normalisations share: references in double, vectors of channels, comparisons.
#pragma once

#include "blocked_case.hpp"
#include "kernels/gsconv/args.hpp"

namespace slimneck::blocked {

inline constexpr double eps = 1e-3, slope = 0.1;

/// A dense tensor of doubles.
struct Doubles {
  explicit Doubles(const Shape& s)
      : numbers(static_cast<std::size_t>(s.n * s.c * s.h * s.w)), view(numbers.data(), s) {}
  Doubles(const Doubles&) = delete;
  Doubles& operator=(const Doubles&) = delete;
  Doubles& read(const View<float>& from) {
    const Shape& s = view.shape;
    for (index_t n = 0; n < s.n; ++n)
      for (index_t c = 0; c < s.c; ++c)
        for (index_t h = 0; h < s.h; ++h)
          for (index_t w = 0; w < s.w; ++w) view.at(n, c, h, w) = from.at(n, c, h, w);
    return *this;
  }
  [[nodiscard]] double largest() const {
    double m = 0;
    for (const double x : numbers) m = std::fmax(m, std::fabs(x));
    return m;
  }
  std::vector<double> numbers;
  View<double> view;
};

/// |got - wanted| in parts of the largest |wanted|.
inline double off(const View<float>& got, const Doubles& wanted) {
  double error = 0;
  const Shape& s = wanted.view.shape;
  for (index_t n = 0; n < s.n; ++n)
    for (index_t c = 0; c < s.c; ++c)
      for (index_t h = 0; h < s.h; ++h)
        for (index_t w = 0; w < s.w; ++w) {
          const double d = std::fabs(static_cast<double>(got.at(n, c, h, w)) - wanted.view.at(n, c, h, w));
          if (d != d) return std::numeric_limits<double>::infinity();
          error = std::fmax(error, d);
        }
  return error == 0 ? 0 : error / wanted.largest();
}

inline kernels::MapAt at(const Map& m) { return {m.view.data, m.view.sn, m.view.sc, m.view.sh}; }

/// A number for every physical channel.
struct Channels : Guarded {
  Channels(index_t count, index_t c, const char* name, double low, double high) : Guarded(count), shape{1, c, 1, 1} {
    const core::Stream stream(name, 2);
    for (index_t i = 0; i < count; ++i)
      data()[i] = static_cast<float>(stream.uniform(static_cast<std::uint64_t>(i), low, high));
  }
  [[nodiscard]] View<float> view() const { return {data(), shape}; }
  Shape shape;
};

/// One normalisation with its activation, in double.
inline void norm_act(const Doubles& z, const Doubles& mean, const Doubles& var, const Doubles& gamma,
                     const Doubles& beta, Doubles& y, kernels::Act act) {
  kernels::bn_apply<double>(z.view, mean.view, var.view, gamma.view, beta.view, y.view, eps);
  kernels::act_fwd<double>(y.view, y.view, {act, static_cast<double>(static_cast<float>(slope))});
}

inline void norm_act_bwd(const Doubles& dy, const Doubles& z, const Doubles& mean, const Doubles& var,
                         const Doubles& gamma, const Doubles& beta, Doubles& dz, Doubles& dgamma, Doubles& dbeta,
                         kernels::Act act) {
  Doubles y(z.view.shape);
  kernels::bn_apply<double>(z.view, mean.view, var.view, gamma.view, beta.view, y.view, eps);
  kernels::act_bwd<double>(y.view, dy.view, y.view, {act, static_cast<double>(static_cast<float>(slope))});
  kernels::bn_bwd<double>(y.view, z.view, mean.view, var.view, gamma.view, dz.view, dgamma.view, dbeta.view, eps, true);
}

}  // namespace slimneck::blocked
