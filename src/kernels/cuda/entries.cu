// The table of entries.hpp, compiled beside the kernels.
#include "kernels/cuda/entries.hpp"

namespace slimneck::kernels::cuda {

const Entries& compiled_entries() noexcept {
  static constexpr Entries table{
#define SN_CUDA(name) &kernels::cuda::name,
#include "kernels/cuda/entries.inc"
#undef SN_CUDA
  };
  return table;
}

}  // namespace slimneck::kernels::cuda
