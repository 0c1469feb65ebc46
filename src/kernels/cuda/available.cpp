#include "kernels/cuda/available.hpp"

#include "kernels/cuda/host.hpp"

namespace slimneck::kernels::cuda {

#if defined(SLIMNECK_WITH_CUDA)
const Runtime& toolkit_runtime() noexcept;  // runtime.cu

const Runtime* built_runtime() noexcept { return &toolkit_runtime(); }
#else
const Runtime* built_runtime() noexcept { return nullptr; }
#endif

std::string why_not() {
  const Runtime* runtime = built_runtime();
  if (!runtime) return "cuda: this build has no CUDA kernels; SLIMNECK_CUDA=ON and a CUDA compiler make one that has";
  try {
    const Context context(*runtime);
    return "cuda: device 0 (" + context.info().name + ") is there, but plans run on the CPU only in this version";
  } catch (const DeviceError& error) {
    return error.what();
  }
}

}  // namespace slimneck::kernels::cuda
