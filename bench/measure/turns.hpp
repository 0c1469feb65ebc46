// Things that are timed in turns, so that whatever else the machine does hits all of them.
#pragma once

#include <functional>
#include <vector>

namespace slimneck::measure {

/// The value below which the part q of the numbers lies, between neighbours in proportion. There must be one.
double quantile(std::vector<double> numbers, double q);

struct Ratio {
  double median = 0;  ///< of the quotients, repetition by repetition
  double spread = 0;  ///< interquartile range of those, over their median
};

class Turns {
 public:
  /// Runs each twice: to warm it up, and to see how often to call it in a repetition. What takes less than `shortest`
  /// seconds is called several times.
  explicit Turns(std::vector<std::function<void()>> sides, double shortest = 0);

  /// So many repetitions more. In each another side goes first: what one leaves in the caches is the next one's to
  /// begin with.
  void take(int repetitions);

  /// Seconds that a repetition takes, from the warm-up.
  [[nodiscard]] double expected() const noexcept { return expected_; }
  [[nodiscard]] int repetitions() const noexcept { return static_cast<int>(seconds_[0].size()); }
  /// Of the seconds of a call.
  [[nodiscard]] double quantile(std::size_t side, double q) const { return measure::quantile(seconds_[side], q); }
  [[nodiscard]] double median(std::size_t side) const { return quantile(side, 0.5); }
  /// Time of `above` over that of `below`.
  [[nodiscard]] Ratio ratio(std::size_t above, std::size_t below) const;

 private:
  std::vector<std::function<void()>> sides_;
  std::vector<int> calls_;
  std::vector<std::vector<double>> seconds_;  ///< side, repetition
  double expected_ = 0;
};

}  // namespace slimneck::measure
