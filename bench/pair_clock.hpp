// slimneck and a peer in turns, while the FMA peak tells whether somebody else was running.
#pragma once

#include <functional>

#include "slimneck/exec.hpp"

namespace slimneck::bench {

struct PairTimes {
  double slimneck_ms = 0, peer_ms = 0;  ///< medians
  double ratio = 0;                     ///< median of peer / slimneck, pair by pair
  double spread = 0;                    ///< interquartile range of those, over their median
  int repetitions = 0;
  bool disturbed = false;  ///< the machine was slower than before, in every attempt
};

class PairClock {
 public:
  struct Limits {
    double budget = 0;    ///< seconds of a pair
    double shortest = 0;  ///< seconds that one timing lasts at least: short calls are timed together
    int fewest = 7, most = 101;
  };

  PairClock(Isa isa, int threads, const Limits& limits);

  /// The first of three attempts that nobody disturbed, else the last.
  PairTimes time(const std::function<void()>& ours, const std::function<void()>& peer);

  /// GFLOP/s: the most that was seen, and what was seen beside the last pair.
  [[nodiscard]] double best_peak() const noexcept { return best_peak_; }
  [[nodiscard]] double last_peak() const noexcept { return last_peak_; }

 private:
  double probe();

  Isa isa_;
  int threads_;
  Limits limits_;
  double best_peak_, last_peak_;
};

}  // namespace slimneck::bench
