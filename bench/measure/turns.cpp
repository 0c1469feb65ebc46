#include "measure/turns.hpp"

#include <algorithm>
#include <cmath>

#include "measure/machine.hpp"

namespace slimneck::measure {

namespace {

/// Its calls under one clock, which then costs nothing beside them.
Side timed_from_outside(std::function<void()> run) {
  return {[run = std::move(run)](int calls, std::span<double> seconds) {
    const double begin = seconds_now();
    for (int i = 0; i < calls; ++i) run();
    seconds[0] = (seconds_now() - begin) / calls;
  }};
}

std::vector<Side> timed_from_outside(std::vector<std::function<void()>> sides) {
  std::vector<Side> timed;
  for (std::function<void()>& side : sides) timed.push_back(timed_from_outside(std::move(side)));
  return timed;
}

}  // namespace

double quantile(std::vector<double> numbers, double q) {
  std::sort(numbers.begin(), numbers.end());
  const double at = q * static_cast<double>(numbers.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, numbers.size() - 1);
  return numbers[below] + (at - static_cast<double>(below)) * (numbers[above] - numbers[below]);
}

double spread_of(const std::vector<double>& numbers) {
  return (quantile(numbers, 0.75) - quantile(numbers, 0.25)) / quantile(numbers, 0.5);
}

Turns::Turns(std::vector<std::function<void()>> sides, double shortest)
    : Turns(timed_from_outside(std::move(sides)), shortest) {}

Turns::Turns(std::vector<Side> sides, double shortest) : sides_(std::move(sides)) {
  std::size_t clocks = 0;
  for (const Side& side : sides_) {
    first_.push_back(clocks);
    clocks += side.clocks;
    std::vector<double> unused(side.clocks);
    const double begin = seconds_now();
    side.run(2, unused);
    const double time = std::max((seconds_now() - begin) / 2, 1e-9);
    calls_.push_back(std::max(1, static_cast<int>(std::ceil(shortest / time))));
    expected_ += time * calls_.back();
  }
  seconds_.resize(clocks);
}

void Turns::run(std::size_t side) {
  std::vector<double> seconds(sides_[side].clocks);
  sides_[side].run(calls_[side], seconds);
  for (std::size_t k = 0; k < seconds.size(); ++k) seconds_[first_[side] + k].push_back(seconds[k]);
}

void Turns::take(int repetitions) {
  for (int i = 0; i < repetitions; ++i) {
    const std::size_t first = seconds_[0].size();
    for (std::size_t k = 0; k < sides_.size(); ++k) run((first + k) % sides_.size());
  }
}

Ratio Turns::ratio(std::size_t above, std::size_t below) const {
  std::vector<double> quotients;
  for (std::size_t i = 0; i < seconds_[above].size(); ++i) quotients.push_back(seconds_[above][i] / seconds_[below][i]);
  return {measure::quantile(quotients, 0.5), spread_of(quotients)};
}

}  // namespace slimneck::measure
