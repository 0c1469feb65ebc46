// Optimiser steps for CUDA against the formulas in double, with the bounds of the kernels for the CPU.
#include <cmath>

#include "bench.hpp"
#include "core/random.hpp"
#include "kernels/cuda/kernels.hpp"

using namespace slimneck;
using cuda_cases::Bench;
using cuda_cases::DeviceArray;
using cuda_cases::run_case;
namespace cuda = kernels::cuda;

namespace {

constexpr index_t counts[] = {0, 1, 31, 257, 1000};

std::vector<float> drawn(index_t count, std::uint64_t seed) {
  const core::Stream stream("optim", seed);
  std::vector<float> v(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(4 * stream.unit(i) - 2);
  return v;
}

/// Largest |a - b| in units of 2^-24 of the size of the terms.
double error(const std::vector<float>& got, const std::vector<double>& want, double size) {
  double worst = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double e = std::fabs(static_cast<double>(got[i]) - want[i]) / (std::fabs(want[i]) + size) * 0x1p24;
    worst = e <= worst ? worst : e;
  }
  return worst;
}

cuda_cases::Name name_of(const std::string& what, index_t count) {
  return {"optim", "step", what + " of " + std::to_string(count), count};
}

/// Parameters, gradients and what optimisers keep, on the device and in double.
struct State {
  State(Bench& bench, index_t count)
      : p(bench, drawn(count, 1)),
        g(bench, drawn(count, 2)),
        m(bench, count),
        v(bench, count),
        dp(p.values().begin(), p.values().end()),
        dg(g.values().begin(), g.values().end()),
        dm(dp.size()),
        dv(dp.size()) {
    args.count = count;
    args.p = p.data(), args.g = g.data(), args.m = m.data(), args.v = v.data();
  }
  DeviceArray<float> p, g, m, v;
  std::vector<double> dp, dg, dm, dv;
  kernels::OptimArgs args;
};

}  // namespace

TEST_CASE("SGD as in PyTorch") {
  for (const index_t count : counts)
    for (const double momentum : {0.0, 0.937})
      for (const bool nesterov : {false, true})
        run_case(name_of("sgd", count), [&] {
          Bench bench;
          State s(bench, count);
          kernels::OptimArgs& a = s.args;
          a.lr = 0.01, a.momentum = momentum, a.decay = 5e-4, a.nesterov = nesterov;
          for (int step = 0; step < 3; ++step) {
            a.first = step == 0;
            cuda::optim_sgd(bench.stream, a);
            for (std::size_t i = 0; i < s.dp.size(); ++i) {
              const double g = s.dg[i] + a.decay * s.dp[i];
              s.dm[i] = step == 0 ? g : momentum * s.dm[i] + g;
              s.dp[i] -= a.lr * (momentum == 0 ? g : nesterov ? g + momentum * s.dm[i] : s.dm[i]);
            }
          }
          CHECK(error(s.p.values(), s.dp, 0.1) <= 8);
          if (momentum != 0) CHECK(error(s.m.values(), s.dm, 1) <= 12);
        });
}

TEST_CASE("Adam and AdamW as in PyTorch") {
  for (const index_t count : counts)
    for (const bool decoupled : {false, true})
      run_case(name_of(decoupled ? "adamw" : "adam", count), [&] {
        Bench bench;
        State s(bench, count);
        kernels::OptimArgs& a = s.args;
        a.lr = 0.01, a.decay = 0.05;
        for (int step = 1; step <= 4; ++step) {
          a.step = step;
          a.first = step == 1;
          decoupled ? cuda::optim_adamw(bench.stream, a) : cuda::optim_adam(bench.stream, a);
          for (std::size_t i = 0; i < s.dp.size(); ++i) {
            double g = s.dg[i];
            if (decoupled)
              s.dp[i] *= 1 - a.lr * a.decay;
            else
              g += a.decay * s.dp[i];
            s.dm[i] = 0.9 * s.dm[i] + 0.1 * g;
            s.dv[i] = 0.999 * s.dv[i] + 0.001 * g * g;
            const double denominator = std::sqrt(s.dv[i]) / std::sqrt(1 - std::pow(0.999, step)) + a.eps;
            s.dp[i] -= a.lr / (1 - std::pow(0.9, step)) * s.dm[i] / denominator;
          }
        }
        CHECK(error(s.p.values(), s.dp, 0.1) <= 16);
        CHECK(error(s.m.values(), s.dm, 1) <= 16);
        CHECK(error(s.v.values(), s.dv, 1e-3) <= 24);
      });
}

TEST_CASE("moving average and scale") {
  for (const index_t count : counts)
    run_case(name_of("average", count), [&] {
      Bench bench;
      State s(bench, count);
      s.args.beta1 = 0.9999;
      cuda::optim_ema(bench.stream, s.args);
      for (std::size_t i = 0; i < s.dp.size(); ++i) s.dp[i] = 0.9999 * s.dp[i] + (1 - 0.9999) * s.dg[i];
      const std::vector<float> average = s.p.values();
      CHECK(error(average, s.dp, 0.01) <= 4);
      s.args.lr = 0.25;
      cuda::optim_scale(bench.stream, s.args);
      for (std::size_t i = 0; i < average.size(); ++i) CHECK(s.p.values()[i] == 0.25F * average[i]);
    });
}

TEST_CASE("sums of squares in double, over several pieces too") {
  for (const index_t count : {index_t{0}, index_t{1}, index_t{1000}, 2 * kernels::optim_piece + 77})
    run_case(name_of("squares", count), [&] {
      Bench bench;
      DeviceArray<float> x(bench, drawn(count, 3));
      DeviceArray<double> result(bench, 1), workspace(bench, kernels::sum_squares_workspace(count));
      cuda::sum_squares(bench.stream, {count, x.data(), result.data(), workspace.data()});
      double expected = 0;
      for (const float value : x.values()) expected += static_cast<double>(value) * static_cast<double>(value);
      CHECK(result.values()[0] == doctest::Approx(expected).epsilon(1e-13));
    });
}
