// How long things take.
#pragma once

#include <chrono>

namespace slimneck::train {

class Stopwatch {
 public:
  /// Milliseconds since it was made or asked last.
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double passed = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return passed;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace slimneck::train
