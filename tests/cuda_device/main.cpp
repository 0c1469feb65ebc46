// slimneck_cuda_tests: the tests of CUDA kernels on a real device. A line for each case; exit code 77 without a device.
//
//     slimneck_cuda_tests [--small] [--family NAME] [--pass NAME] [OPTION OF DOCTEST...]
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>
#include <optional>

#include "cuda_device/guarded.hpp"
#include "cuda_emulation/cases.hpp"
#include "kernels/cuda/host.hpp"

namespace slimneck {

namespace kernels::cuda {

const Runtime& toolkit_runtime() noexcept;  // runtime.cu

}  // namespace kernels::cuda

namespace cuda_cases {

namespace {

std::optional<Guarded> guarded;

/// The device that is there, or why there is none.
std::string find_device() {
  try {
    const kernels::cuda::Context context(guarded->table());
    const int architecture = context.info().architecture;
    std::printf("device 0: %s, compute capability %d.%d\n", context.info().name.c_str(), architecture / 10,
                architecture % 10);
    return "";
  } catch (const DeviceError& error) {
    return error.what();
  }
}

}  // namespace

const kernels::cuda::Runtime& fresh_runtime() { return guarded->table(); }

std::string damage() { return guarded->damage(); }

const bool real_device = true;

}  // namespace cuda_cases

}  // namespace slimneck

int main(int argc, char** argv) {
  using namespace slimneck;
  constexpr int skipped = 77;
  try {
    cuda_cases::Selection selection = cuda_cases::parse(argc, argv);
    selection.lines = true;
    cuda_cases::guarded.emplace(kernels::cuda::toolkit_runtime());
    if (const std::string reason = cuda_cases::find_device(); !reason.empty()) {
      std::printf("skipped: %s\n", reason.c_str());
      return skipped;
    }
    return cuda_cases::run_tests(argc, argv, selection);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 2;
  }
}
