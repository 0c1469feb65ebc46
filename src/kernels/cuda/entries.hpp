// The functions of kernels.hpp as a table: plans are lowered to them in builds without CUDA, too, where nothing defines
// them.
#pragma once

#include "kernels/cuda/kernels.hpp"

namespace slimneck::kernels::cuda {

struct Entries {
// NOLINTNEXTLINE(bugprone-macro-parentheses): the names of a function and of a member
#define SN_CUDA(name) decltype(&kernels::cuda::name) name = nullptr;
#include "kernels/cuda/entries.inc"
#undef SN_CUDA
};

/// Those that were compiled with their kernels (entries.cu).
[[nodiscard]] SLIMNECK_EXPORT const Entries& compiled_entries() noexcept;

}  // namespace slimneck::kernels::cuda
