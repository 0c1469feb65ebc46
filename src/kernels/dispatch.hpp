// Which instruction sets this build and this machine have, and the kernels of each.
#pragma once

#include "kernels/args.hpp"
#include "slimneck/exec.hpp"

namespace slimneck::kernels {

/// Every fast kernel of one ISA. A line in a family's kernels.inc is a member here and a function of that name in
/// namespace slimneck::kernels::<isa>, compiled from the family's simd files.
struct Kernels {
  index_t lanes;  ///< V of all layouts
// NOLINTNEXTLINE(bugprone-macro-parentheses): the names of a member and of a type
#define SN_KERNEL(name, Args) void (*name)(const Args&) noexcept;
#include "kernels/kernels.inc"
#undef SN_KERNEL
};

/// The kernels of an ISA; null when this build or this machine does not have it.
SLIMNECK_EXPORT const Kernels* kernels_of(Isa isa) noexcept;

using slimneck::available_isas;
using slimneck::name_of;
using slimneck::resolve;

}  // namespace slimneck::kernels
