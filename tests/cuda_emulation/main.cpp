// slimneck_cuda_emulated_tests: all tests of CUDA code that need no GPU.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "cases.hpp"
#include "device.hpp"

namespace slimneck::cuda_cases {

const kernels::cuda::Runtime& fresh_runtime() { return emulation::Device::renewed(); }

std::string damage() { return ""; }  // the emulated device fails a kernel that does any

const bool real_device = false;

}  // namespace slimneck::cuda_cases

int main(int argc, char** argv) {
  using namespace slimneck;
  try {
    const cuda_cases::Selection selection = cuda_cases::parse(argc, argv);
    return cuda_cases::run_tests(argc, argv, selection);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}
