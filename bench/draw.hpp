// Numbers that are the same everywhere.
#pragma once

#include <cstdint>

namespace slimneck::bench {

/// Uniform in -1..1 in steps of 1/1000.
class Draw {
 public:
  explicit Draw(std::uint64_t state) : state_(state) {}
  double operator()() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<double>((state_ >> 33) % 2001) / 1000 - 1;
  }

 private:
  std::uint64_t state_;
};

}  // namespace slimneck::bench
