// For kernel bodies: declares their functions in the namespace of the ISA that is being compiled.
#pragma once

#include "kernels/args.hpp"
#include "kernels/simd.hpp"

namespace slimneck::kernels::SN_ISA {
#define SN_KERNEL(name, Args) void name(const Args&) noexcept;
#include "kernels/kernels.inc"
#undef SN_KERNEL
}  // namespace slimneck::kernels::SN_ISA
