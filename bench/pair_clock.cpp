#include "pair_clock.hpp"

#include <algorithm>

#include "measure/machine.hpp"
#include "measure/turns.hpp"

namespace slimneck::bench {

namespace {

/// A probe of the FMA peak below this part of the best one seen: somebody else was running.
constexpr double quiet = 0.95;

}  // namespace

PairClock::PairClock(Isa isa, int threads, const Limits& limits)
    : isa_(isa),
      threads_(threads),
      limits_(limits),
      best_peak_(measure::fma_peak(isa, threads)),
      last_peak_(best_peak_) {}

PairTimes PairClock::time(const std::function<void()>& ours, const std::function<void()>& peer) {
  PairTimes times;
  for (int attempt = 0; attempt < 3; ++attempt) {
    const double before = probe();
    measure::Turns turns({ours, peer}, limits_.shortest);
    turns.take(std::clamp(static_cast<int>(limits_.budget / turns.expected()), limits_.fewest, limits_.most) | 1);
    const double after = probe();
    const measure::Ratio ratio = turns.ratio(1, 0);
    times = {.slimneck_ms = turns.median(0) * 1e3,
             .peer_ms = turns.median(1) * 1e3,
             .ratio = ratio.median,
             .spread = ratio.spread,
             .repetitions = turns.repetitions(),
             .disturbed = std::min(before, after) < quiet * best_peak_};
    last_peak_ = std::max(before, after);
    if (!times.disturbed) break;
  }
  return times;
}

double PairClock::probe() {
  const double now = measure::fma_peak(isa_, threads_);
  best_peak_ = std::max(best_peak_, now);
  return now;
}

}  // namespace slimneck::bench
