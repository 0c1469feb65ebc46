// How much memory this machine has.
#pragma once

#include <cstddef>

namespace slimneck::core {

/// Bytes of physical memory; 0 when the system does not say.
std::size_t physical_memory() noexcept;

}  // namespace slimneck::core
