// What this build and this machine have of CUDA.
#pragma once

#include <string>

#include "kernels/cuda/runtime.hpp"

namespace slimneck::kernels::cuda {

/// The CUDA runtime; null in a build without CUDA.
[[nodiscard]] const Runtime* built_runtime() noexcept;

/// Why no plan can run on the device "cuda".
[[nodiscard]] std::string why_not();

}  // namespace slimneck::kernels::cuda
