// Things that are timed in turns, so that whatever else the machine does hits all of them.
#pragma once

#include <functional>
#include <span>
#include <vector>

namespace slimneck::measure {

/// The value below which the part q of the numbers lies, between neighbours in proportion. There must be one.
double quantile(std::vector<double> numbers, double q);

/// Interquartile range over the median.
double spread_of(const std::vector<double>& numbers);

struct Ratio {
  double median = 0;  ///< of the quotients, repetition by repetition
  double spread = 0;  ///< interquartile range of those, over their median
};

/// A side that reads its own clocks: what it does is not all on them, or counts in more than one way.
struct Side {
  /// Runs so many times and sets the seconds of a call by each clock.
  std::function<void(int calls, std::span<double> seconds)> run;
  std::size_t clocks = 1;
};

class Turns {
 public:
  /// Runs each twice: to warm it up, and to see how often to call it in a repetition. What takes less than `shortest`
  /// seconds is called several times.
  explicit Turns(std::vector<std::function<void()>> sides, double shortest = 0);
  /// The clocks of all sides count as one list, those of the first side first.
  explicit Turns(std::vector<Side> sides, double shortest = 0);

  /// So many repetitions more. In each another side goes first: what one leaves in the caches is the next one's to
  /// begin with.
  void take(int repetitions);

  /// Seconds that a repetition takes, from the warm-up.
  [[nodiscard]] double expected() const noexcept { return expected_; }
  [[nodiscard]] int repetitions() const noexcept { return static_cast<int>(seconds_[0].size()); }
  /// Of the seconds of a call.
  [[nodiscard]] double quantile(std::size_t clock, double q) const { return measure::quantile(seconds_[clock], q); }
  [[nodiscard]] double median(std::size_t clock) const { return quantile(clock, 0.5); }
  [[nodiscard]] double spread(std::size_t clock) const { return spread_of(seconds_[clock]); }
  /// Time of `above` over that of `below`.
  [[nodiscard]] Ratio ratio(std::size_t above, std::size_t below) const;

 private:
  void run(std::size_t side);

  std::vector<Side> sides_;
  std::vector<std::size_t> first_;  ///< clock of each side
  std::vector<int> calls_;
  std::vector<std::vector<double>> seconds_;  ///< clock, repetition
  double expected_ = 0;
};

}  // namespace slimneck::measure
