// Counter-based random numbers: number i of stream (name, seed) is a pure function of the three, so that initial
// weights do not depend on the order in which they are drawn. FNV-1a of the name, then SplitMix64.
#pragma once

#include <cstdint>
#include <string_view>

namespace slimneck::core {

class Stream {
 public:
  Stream(std::string_view name, std::uint64_t seed) noexcept {
    std::uint64_t hash = 0xCBF29CE484222325u;
    for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    state_ = hash ^ (seed * 0xD1342543DE82EF95u);
  }

  /// In [0, 1), a multiple of 2^-24.
  [[nodiscard]] double unit(std::uint64_t i) const noexcept {
    std::uint64_t z = state_ + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return static_cast<double>((z ^ (z >> 31)) >> 40) * 0x1p-24;
  }

  [[nodiscard]] double uniform(std::uint64_t i, double low, double high) const noexcept {
    return low + unit(i) * (high - low);
  }

 private:
  std::uint64_t state_;
};

}  // namespace slimneck::core
