// How much memory this machine has, and sums of sizes that may exceed it by far.
#pragma once

#include <cstddef>
#include <limits>

namespace slimneck::core {

/// Bytes of physical memory; 0 when the system does not say.
std::size_t physical_memory() noexcept;

/// a + b; the largest number where that does not fit.
inline std::size_t add_sizes(std::size_t a, std::size_t b) noexcept {
  std::size_t sum = 0;
  return __builtin_add_overflow(a, b, &sum) ? std::numeric_limits<std::size_t>::max() : sum;
}

}  // namespace slimneck::core
