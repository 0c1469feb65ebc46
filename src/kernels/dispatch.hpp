// Which instruction sets this build and this machine have, and the kernels of each.
#pragma once

#include <string_view>
#include <vector>

#include "kernels/args.hpp"
#include "slimneck/exec.hpp"

namespace slimneck::kernels {

/// Every fast kernel of one ISA. A line in a family's kernels.inc is a member here and a function of that name in
/// namespace slimneck::kernels::<isa>, compiled from the family's simd files.
struct Kernels {
  index_t lanes;  ///< V of all layouts
#define SN_KERNEL(name, Args) void (*name)(const Args&) noexcept;
#include "kernels/kernels.inc"
#undef SN_KERNEL
};

/// The kernels of an ISA; null when this build or this machine does not have it.
SLIMNECK_EXPORT const Kernels* kernels_of(Isa isa) noexcept;

/// Those that can run here, best first; never empty, scalar is the last.
SLIMNECK_EXPORT std::vector<Isa> available_isas();

SLIMNECK_EXPORT std::string_view name_of(Isa isa) noexcept;

/// automatic becomes what the environment variable SLIMNECK_ISA names (scalar, avx2, avx512 or neon), else the best
/// one. Throws DeviceError for an ISA that cannot run here, or a name that is none.
SLIMNECK_EXPORT Isa resolve(Isa isa);

}  // namespace slimneck::kernels
