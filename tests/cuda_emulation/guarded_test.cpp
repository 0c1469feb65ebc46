// The zones around the memory of a real device, tried on an emulated one.
#include "cuda_device/guarded.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "device.hpp"
#include "kernels/cuda/launch.hpp"

using namespace slimneck;
using cuda_cases::Guarded;
using emulation::Device;
namespace cuda = kernels::cuda;

namespace {

__global__ void write_at(float* data, int i) { data[i] = 1; }

/// What is found after a kernel wrote at an index of ten numbers.
std::string damage_of(int index) {
  const Guarded guarded(Device::renewed());
  const cuda::Context context(guarded.table());
  cuda::Stream stream(context);
  const cuda::Memory memory(context, 10 * sizeof(float), "ten"), more(context, 4, "one");
  cuda::launch(stream, "write_at", write_at, cuda::Grid{}, memory.floats(), index);
  stream.wait();
  return guarded.damage();
}

}  // namespace

TEST_CASE("writes around memory are found, and those into it are not") {
  CHECK(damage_of(0) == "");
  CHECK(damage_of(9) == "");
  CHECK(damage_of(-1) == "a kernel wrote in front of 40 bytes");
  CHECK(damage_of(-64) == "a kernel wrote in front of 40 bytes");
  CHECK(damage_of(10) == "a kernel wrote behind 40 bytes");
  CHECK(damage_of(73) == "a kernel wrote behind 40 bytes");
}

TEST_CASE("guarded memory is NaN in the beginning and is given back, and failures go through") {
  Device& device = Device::instance();
  const std::size_t bytes = device.allocated(), streams = device.streams();
  {
    const Guarded guarded(Device::renewed());
    const cuda::Context context(guarded.table());
    cuda::Stream stream(context);
    const cuda::Memory memory(context, sizeof(float), "one");
    float number = 0;
    stream.copy(&number, memory.data(), sizeof number, cuda::Direction::to_host);
    stream.wait();
    CHECK(std::isnan(number));
    for (const char* call : {"allocate", "fill", "wait"}) {
      device.fail(call, emulation::out_of_memory);
      CHECK_THROWS_WITH_AS(cuda::Memory(context, 100, "x"), doctest::Contains("100 bytes"), DeviceError);
    }
    device.fail("wait", emulation::launch_failure);
    CHECK(guarded.damage() == "memory cannot be read: cudaErrorLaunchFailure");
    CHECK(device.allocated() == bytes + sizeof(float) + 512);
  }
  CHECK(device.allocated() == bytes);
  CHECK(device.streams() == streams);
}
