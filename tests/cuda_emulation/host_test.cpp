// The code around kernels: what is wrong with a device is said before it is used, and failures name call, node and
// cause.
#include "kernels/cuda/host.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "device.hpp"

using namespace slimneck;
using namespace slimneck::kernels::cuda;
using emulation::Device;

namespace {

const Runtime& runtime() { return Device::renewed(); }

template <class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "";
}

/// A launch that the table never looks into, because the test makes it fail.
constexpr Launch some_launch{"conv2d_fwd", nullptr, {}, {}, 0, nullptr, nullptr, 0, nullptr};

}  // namespace

TEST_CASE("a device that cannot be used says why") {
  const Runtime& table = runtime();
  Device& device = Device::instance();
  const auto why = [&](int ordinal = 0) { return message_of([&] { Context(table, ordinal); }); };
  CHECK(why().empty());
  device.driver = 0;
  CHECK(why() == "cuda: no driver is installed");
  device.driver = 12040;
  CHECK(why() == "cuda: the driver knows CUDA up to 12.4, this build needs 13.0");
  device.driver = 14010;
  CHECK(why().empty());
  CHECK(why(1) == "cuda: device 1 came, there are 1");
  CHECK(why(-1) == "cuda: device -1 came, there are 1");
  device.info = {"GTX 1080", 61};
  CHECK(why() == "cuda: device 0 (GTX 1080) has compute capability 6.1, this build needs 7.5");
  device.devices = 0;
  CHECK(why() == "cuda: device 0 came, there are 0");
}

TEST_CASE("every entry point that fails while a device is opened is named") {
  struct Fault {
    const char *call, *message;
    Status status;
  };
  constexpr Fault faults[] = {
      {"driver_version", "cuda: asking for the driver: cudaErrorUnknown", 999},
      {"device_count", "cuda: counting devices: cudaErrorInsufficientDriver", emulation::driver_too_old},
      {"device_count", "cuda: counting devices: cudaErrorNoDevice", emulation::no_device},
      {"describe", "cuda: asking for the device: cudaErrorUnknown", 999},
      {"select", "cuda: selecting the device: cudaErrorUnknown", 999},
      {"create_stream", "cuda: creating a stream: cudaErrorMemoryAllocation: out of memory", emulation::out_of_memory},
  };
  for (const Fault& fault : faults) {
    const Runtime& table = runtime();
    Device::instance().fail(fault.call, fault.status);
    const std::string message = message_of([&] { const Stream stream{Context(table)}; });
    CHECK(message.substr(0, std::string_view(fault.message).size()) == fault.message);
  }
}

TEST_CASE("memory is given back, and memory that is not there is named with its bytes") {
  const Context context(runtime());
  Device& device = Device::instance();
  const std::size_t before = device.allocated();
  device.total_memory = before + 1000;
  {
    const Memory memory(context, 600, "the arena");
    CHECK(device.allocated() == before + 600);
    CHECK(memory.bytes() == 600);
    CHECK(message_of([&] { Memory(context, 401, "weights of 'model.3'"); }) ==
          "cuda: allocating 401 bytes (400 of " + std::to_string(before + 1000) +
              " are free) for 'weights of 'model.3'': cudaErrorMemoryAllocation: out of memory");
    const Memory rest(context, 400, "the rest"), nothing(context, 0, "nothing");
    CHECK(nothing.data() == nullptr);
  }
  CHECK(device.allocated() == before);
  device.fail("allocate", emulation::out_of_memory);
  device.fail("free_memory", emulation::no_device);
  CHECK(message_of([&] { Memory(context, 8, "x"); }) ==
        "cuda: allocating 8 bytes for 'x': cudaErrorMemoryAllocation: out of memory");
}

TEST_CASE("a stream keeps its first failure, drops later work and can be used again") {
  const Context context(runtime());
  Device& device = Device::instance();
  Stream stream(context);
  const Memory memory(context, sizeof(float), "one");
  const float one = 1, two = 2;
  float result = 0;
  stream.set_node("model.2");
  stream.copy(memory.data(), &one, sizeof one, Direction::to_device);
  device.fail("launch", emulation::no_kernel_image);
  stream.launch(some_launch);
  stream.set_node("model.3");
  device.fail("launch", 999);
  stream.launch(some_launch);
  stream.copy(memory.data(), &two, sizeof two, Direction::to_device);
  stream.fill(memory.data(), 0, sizeof two);
  CHECK(message_of([&] { stream.wait(); }) ==
        "cuda: conv2d_fwd for 'model.2': cudaErrorNoKernelImageForDevice: a failure of the emulated device");
  stream.copy(&result, memory.data(), sizeof result, Direction::to_host);
  stream.wait();
  CHECK(result == 1);
  stream.launch(some_launch);  // the second fault is still there: it was not reached before
  CHECK(message_of([&] { stream.wait(); }).substr(0, 27) == "cuda: conv2d_fwd for 'model");
  stream.fill(memory.data(), 0, sizeof result);
  stream.copy(&result, memory.data(), sizeof result, Direction::to_host);
  stream.wait();
  CHECK(result == 0);
}

TEST_CASE("copies, fills and waits that fail name their node") {
  const Context context(runtime());
  Device& device = Device::instance();
  Stream stream(context);
  const Memory memory(context, sizeof(float), "one");
  float number = 0;
  stream.set_node("head.0");
  const auto why = [&](const char* call) {
    device.fail(call, emulation::launch_failure);
    stream.copy(&number, memory.data(), sizeof number, Direction::to_host);
    stream.fill(memory.data(), 0, sizeof number);
    return message_of([&] { stream.wait(); });
  };
  CHECK(why("copy").substr(0, 52) == "cuda: copying for 'head.0': cudaErrorLaunchFailure: ");
  CHECK(why("fill").substr(0, 52) == "cuda: filling for 'head.0': cudaErrorLaunchFailure: ");
  CHECK(why("wait").substr(0, 52) == "cuda: waiting for 'head.0': cudaErrorLaunchFailure: ");
  stream.copy(&number, memory.data(), 0, Direction::to_host);  // nothing to do is nothing to fail
  stream.fill(nullptr, 0, 0);
  CHECK_NOTHROW(stream.wait());
}
