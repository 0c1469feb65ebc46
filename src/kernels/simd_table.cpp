// The table of one ISA's kernels: compiled once per ISA, like the bodies.
#include "kernels/declare.hpp"
#include "kernels/dispatch.hpp"

namespace slimneck::kernels::SN_ISA {

extern const Kernels table;
const Kernels table = {
    simd::lanes,
#define SN_KERNEL(name, Args) name,
#include "kernels/kernels.inc"
#undef SN_KERNEL
};

}  // namespace slimneck::kernels::SN_ISA
