#pragma once

#include <chrono>

namespace slimneck::cli {

class Stopwatch {
 public:
  /// Milliseconds since it was made or asked last.
  double lap() {
    const double passed = ms();
    last_ = std::chrono::steady_clock::now();
    return passed;
  }
  /// The same, and nothing else.
  [[nodiscard]] double ms() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - last_).count();
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace slimneck::cli
