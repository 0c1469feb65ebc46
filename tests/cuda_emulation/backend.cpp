// The library's plans for CUDA run on the emulated device here, and tests find the project's data.
#include "device.hpp"
#include "kernels/cuda/available.hpp"
#include "shared_data.hpp"

namespace slimneck::kernels::cuda {

Backend backend() { return {&emulation::Device::current(), &compiled_entries()}; }

}  // namespace slimneck::kernels::cuda

namespace slimneck::test {

const char* const test_data_folder = SLIMNECK_TEST_DATA;

}  // namespace slimneck::test
