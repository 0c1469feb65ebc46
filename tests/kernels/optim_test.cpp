// Optimiser steps against the formulas in double, and sums of squares.
#include "point_maps.hpp"

using namespace slimneck;
using namespace slimneck::test;

namespace {

using Vector = std::vector<float>;

Vector random(std::size_t count, unsigned seed) {
  Vector v(count);
  const auto f = normal(seed);
  for (float& x : v) x = f();
  return v;
}

/// Largest |a - b| in units of 2^-24 of the size of the terms.
double error(const float* got, const std::vector<double>& want, double size) {
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double e = std::abs(static_cast<double>(got[i]) - want[i]) / (std::abs(want[i]) + size) * 0x1p24;
    worst = e <= worst ? worst : e;
  }
  return worst;
}

constexpr std::size_t counts[] = {0, 1, 15, 16, 17, 1000, 50001};

/// Arrays that end before a page without access.
struct State {
  Guarded p, g, m, v;
  std::vector<double> dp, dg, dm, dv;
  explicit State(std::size_t count) : p(count), g(count), m(count), v(count) {
    const Vector a = random(count, 1), b = random(count, 2);
    for (std::size_t i = 0; i < count; ++i) p.data()[i] = a[i], g.data()[i] = b[i];
    dp.assign(a.begin(), a.end());
    dg.assign(b.begin(), b.end());
    dm.assign(count, 0);
    dv.assign(count, 0);
  }
  kernels::OptimArgs args() const {
    kernels::OptimArgs a;
    a.count = static_cast<index_t>(dp.size());
    a.p = p.data(), a.g = g.data(), a.m = m.data(), a.v = v.data();
    return a;
  }
};

}  // namespace

TEST_CASE("SGD as in PyTorch") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const std::size_t count : counts)
      for (const double momentum : {0.0, 0.937})
        for (const bool nesterov : {false, true}) {
          State s(count);
          kernels::OptimArgs a = s.args();
          a.lr = 0.01, a.momentum = momentum, a.decay = 5e-4, a.nesterov = nesterov;
          for (int step = 0; step < 3; ++step) {
            a.first = step == 0;
            k.optim_sgd(a);
            for (std::size_t i = 0; i < count; ++i) {
              const double g = s.dg[i] + a.decay * s.dp[i];
              s.dm[i] = step == 0 ? g : momentum * s.dm[i] + g;
              s.dp[i] -= a.lr * (momentum == 0 ? g : nesterov ? g + momentum * s.dm[i] : s.dm[i]);
            }
          }
          CHECK(error(s.p.data(), s.dp, 0.1) <= 8);
          if (momentum != 0) CHECK(error(s.m.data(), s.dm, 1) <= 12);
        }
  });
}

TEST_CASE("Adam and AdamW as in PyTorch") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const std::size_t count : counts)
      for (const bool decoupled : {false, true}) {
        State s(count);
        kernels::OptimArgs a = s.args();
        a.lr = 0.01, a.decay = 0.05;
        for (int step = 1; step <= 4; ++step) {
          a.step = step;
          a.first = step == 1;
          decoupled ? k.optim_adamw(a) : k.optim_adam(a);
          for (std::size_t i = 0; i < count; ++i) {
            double g = s.dg[i];
            decoupled ? s.dp[i] *= 1 - a.lr* a.decay : g += a.decay * s.dp[i];
            s.dm[i] = 0.9 * s.dm[i] + 0.1 * g;
            s.dv[i] = 0.999 * s.dv[i] + 0.001 * g * g;
            const double denominator = std::sqrt(s.dv[i]) / std::sqrt(1 - std::pow(0.999, step)) + a.eps;
            s.dp[i] -= a.lr / (1 - std::pow(0.9, step)) * s.dm[i] / denominator;
          }
        }
        CHECK(error(s.p.data(), s.dp, 0.1) <= 16);
        CHECK(error(s.m.data(), s.dm, 1) <= 16);
        CHECK(error(s.v.data(), s.dv, 1e-3) <= 24);
      }
  });
}

TEST_CASE("moving average, scale, zero") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const std::size_t count : counts) {
      State s(count);
      kernels::OptimArgs a = s.args();
      a.beta1 = 0.9999;
      same_for_all_threads(
          [&] {
            for (std::size_t i = 0; i < count; ++i) s.p.data()[i] = static_cast<float>(s.dp[i]);
            k.optim_ema(a);
          },
          [&] { return Vector(s.p.data(), s.p.data() + count); });
      std::vector<double> average(count), scaled(count);
      for (std::size_t i = 0; i < count; ++i) average[i] = 0.9999 * s.dp[i] + (1 - 0.9999) * s.dg[i];
      CHECK(error(s.p.data(), average, 0.01) <= 4);
      a.lr = 0.25;
      const Vector before(s.p.data(), s.p.data() + count);
      k.optim_scale(a);
      for (std::size_t i = 0; i < count; ++i) scaled[i] = 0.25 * static_cast<double>(before[i]);
      CHECK(error(s.p.data(), scaled, 0) == 0);
      k.optim_zero(a);
      CHECK(Vector(s.p.data(), s.p.data() + count) == Vector(count, 0));
    }
  });
}

TEST_CASE("sums of squares in double") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const std::size_t count : counts) {
      State s(count);
      std::vector<double> workspace(
          static_cast<std::size_t>(kernels::sum_squares_workspace(static_cast<index_t>(count))));
      double result = -1, expected = 0;
      const kernels::SumSquaresArgs a{static_cast<index_t>(count), s.p.data(), &result, workspace.data()};
      std::vector<float> bits(2);
      same_for_all_threads([&] { k.sum_squares(a); },
                           [&] {
                             std::memcpy(bits.data(), &result, 8);
                             return bits;
                           });
      for (const double x : s.dp) expected += x * x;
      CHECK(result == doctest::Approx(expected).epsilon(1e-13));
    }
  });
}
