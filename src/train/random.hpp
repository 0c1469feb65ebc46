// Random numbers of the data pipeline: what is drawn for one place of one epoch is a pure function of (seed, purpose,
// epoch, place), whichever thread draws it and whatever was drawn elsewhere. SplitMix64 of a counter.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

#include "slimneck/tensor.hpp"

namespace slimneck::train {

/// What numbers are drawn for: each has a sequence of its own.
enum class Purpose : std::uint64_t { order = 1, picture, size, jitter, anchors, shapes };

class Random {
 public:
  Random(std::uint64_t seed, Purpose purpose, index_t epoch, index_t place) noexcept
      : key_(mix(mix(mix(seed) ^ static_cast<std::uint64_t>(purpose)) ^ static_cast<std::uint64_t>(epoch)) ^
             static_cast<std::uint64_t>(place)) {
    key_ = mix(key_);
  }

  /// The next 64 bits.
  std::uint64_t bits() noexcept { return mix(key_ + ++count_ * 0x9E3779B97F4A7C15U); }

  /// In [0, 1), a multiple of 2^-53.
  double unit() noexcept { return static_cast<double>(bits() >> 11U) * 0x1p-53; }

  double uniform(double low, double high) noexcept { return low + unit() * (high - low); }

  /// One of 0 .. count - 1, for a count up to 2^32.
  index_t below(index_t count) noexcept {
    return static_cast<index_t>(((bits() >> 32U) * static_cast<std::uint64_t>(count)) >> 32U);
  }

  /// Of mean 0 and variance 1 (Box and Muller's way).
  double normal() noexcept {
    const double radius = std::sqrt(-2 * std::log(1 - unit()));
    return radius * std::cos(2 * std::numbers::pi * unit());
  }

  /// Beta(32, 32): the middle one of 63 numbers.
  double beta32() noexcept {
    std::array<double, 63> drawn{};
    for (double& number : drawn) number = unit();
    std::nth_element(drawn.begin(), drawn.begin() + 31, drawn.end());
    return drawn[31];
  }

 private:
  static std::uint64_t mix(std::uint64_t z) noexcept {
    z += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31U);
  }

  std::uint64_t key_;
  std::uint64_t count_ = 0;
};

}  // namespace slimneck::train
