#include "kernels/cuda/available.hpp"

#include "slimneck/error.hpp"

namespace slimneck::kernels::cuda {

#if defined(SLIMNECK_WITH_CUDA)
const Runtime& toolkit_runtime() noexcept;  // runtime.cu

Backend backend() { return {&toolkit_runtime(), &compiled_entries()}; }
#else
Backend backend() {
  throw DeviceError("cuda: this build has no CUDA kernels; SLIMNECK_CUDA=ON and a CUDA compiler make one that has");
}
#endif

}  // namespace slimneck::kernels::cuda
