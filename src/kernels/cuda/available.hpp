// What this build has of CUDA.
#pragma once

#include "kernels/cuda/entries.hpp"
#include "kernels/cuda/runtime.hpp"

namespace slimneck::kernels::cuda {

/// Entry points of a device, and kernels for it.
struct Backend {
  const Runtime* runtime = nullptr;
  const Entries* entries = nullptr;
};

/// The CUDA runtime and the kernels compiled for it. Throws DeviceError in a build without CUDA. (Tests define another
/// one, of an emulated device.)
[[nodiscard]] Backend backend();

}  // namespace slimneck::kernels::cuda
