#include <algorithm>
#include <cmath>
#include <numbers>

#include "slimneck/optim.hpp"

namespace slimneck {

namespace {

constexpr double nominal_batch = 64;

/// Python's round: half to even.
index_t round_even(double x) { return static_cast<index_t>(std::nearbyint(x)); }

/// From `first` at 0 to `last` at `length`, and `last` from there on.
double rise(double x, double length, double first, double last) {
  return x >= length ? last : first + (last - first) / length * x;
}

}  // namespace

Schedule::Schedule(const Hyp& hyp, index_t epochs, index_t batches, index_t batch, bool cosine)
    : hyp_(hyp),
      epochs_(std::max<index_t>(epochs, 1)),
      batch_(batch),
      warmup_(std::max<index_t>(round_even(hyp.warmup_epochs * static_cast<double>(batches)), 100)),
      cosine_(cosine) {
  const auto pictures = static_cast<double>(batch);
  const double accumulate = std::max(std::nearbyint(nominal_batch / pictures), 1.0);
  weight_decay_ = hyp.weight_decay * pictures * accumulate / nominal_batch;
}

Rates Schedule::at(index_t iteration, index_t epoch) const {
  const double progress = static_cast<double>(epoch) / static_cast<double>(epochs_);
  const double factor = cosine_ ? (1 - std::cos(progress * std::numbers::pi)) / 2 * (hyp_.lrf - 1) + 1
                                : (1 - progress) * (1 - hyp_.lrf) + hyp_.lrf;
  const double lr = hyp_.lr0 * factor, gather = nominal_batch / static_cast<double>(batch_);
  const double i = static_cast<double>(iteration), length = static_cast<double>(warmup_);
  Rates rates;
  rates.lr = {rise(i, length, hyp_.warmup_bias_lr, lr), rise(i, length, 0, lr), rise(i, length, 0, lr)};
  rates.momentum = rise(i, length, hyp_.warmup_momentum, hyp_.momentum);
  rates.accumulate = std::max<index_t>(1, round_even(rise(i, length, 1, gather)));
  return rates;
}

}  // namespace slimneck
