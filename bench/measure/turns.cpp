#include "measure/turns.hpp"

#include <algorithm>
#include <cmath>

#include "measure/machine.hpp"

namespace slimneck::measure {

namespace {

double seconds_of(const std::function<void()>& side, int calls) {
  const double begin = seconds_now();
  for (int i = 0; i < calls; ++i) side();
  return (seconds_now() - begin) / calls;
}

}  // namespace

double quantile(std::vector<double> numbers, double q) {
  std::sort(numbers.begin(), numbers.end());
  const double at = q * static_cast<double>(numbers.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, numbers.size() - 1);
  return numbers[below] + (at - static_cast<double>(below)) * (numbers[above] - numbers[below]);
}

Turns::Turns(std::vector<std::function<void()>> sides, double shortest)
    : sides_(std::move(sides)), seconds_(sides_.size()) {
  for (const std::function<void()>& side : sides_) {
    const double time = std::max(seconds_of(side, 2), 1e-9);
    calls_.push_back(std::max(1, static_cast<int>(std::ceil(shortest / time))));
    expected_ += time * calls_.back();
  }
}

void Turns::take(int repetitions) {
  for (int i = 0; i < repetitions; ++i) {
    const std::size_t first = seconds_[0].size();
    for (std::size_t k = 0; k < sides_.size(); ++k) {
      const std::size_t side = (first + k) % sides_.size();
      seconds_[side].push_back(seconds_of(sides_[side], calls_[side]));
    }
  }
}

Ratio Turns::ratio(std::size_t above, std::size_t below) const {
  std::vector<double> quotients;
  for (std::size_t i = 0; i < seconds_[above].size(); ++i) quotients.push_back(seconds_[above][i] / seconds_[below][i]);
  const double median = measure::quantile(quotients, 0.5);
  return {median, (measure::quantile(quotients, 0.75) - measure::quantile(quotients, 0.25)) / median};
}

}  // namespace slimneck::measure
