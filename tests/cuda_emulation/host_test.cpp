// The code around kernels: what is wrong with a device is said before it is used, and failures name call, node and
// cause.
#include "kernels/cuda/host.hpp"

#include <doctest/doctest.h>

#include <vector>

#include "device.hpp"
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/launch.hpp"

using namespace slimneck;
using namespace slimneck::kernels::cuda;

namespace {

const Runtime& runtime() { return emulation::Device::renewed(); }

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

__global__ void crash(float* /*data*/) { throw emulation::KernelError("an illegal address"); }

/// What a plan does with a device, small: memory, copies, a kernel, waiting.
std::vector<float> relu_on(const Runtime& table, std::vector<float> numbers) {
  const Context context(table);
  Stream stream(context);
  const Shape shape{1, 1, 1, static_cast<index_t>(numbers.size())};
  const Memory x(context, numbers.size() * sizeof(float), "x"), y(context, x.bytes(), "y");
  stream.set_node("model.0");
  stream.copy(x.data(), numbers.data(), x.bytes(), Direction::to_device);
  stream.fill(y.data(), 0, y.bytes());
  kernels::cuda::act_fwd(stream, View<const float>(x.floats(), shape), View<float>(y.floats(), shape),
                         {kernels::Act::relu, 0});
  stream.copy(numbers.data(), y.data(), y.bytes(), Direction::to_host);
  stream.wait();
  return numbers;
}

const std::vector<float> some_numbers{-1, 2, -3, 4}, their_relu{0, 2, 0, 4};

/// The same on the CPU.
std::vector<float> relu_on_the_cpu() {
  std::vector<float> y(some_numbers.size());
  const Shape shape{1, 1, 1, static_cast<index_t>(y.size())};
  kernels::act_fwd<float>(View<const float>(some_numbers.data(), shape), View<float>(y.data(), shape),
                          {kernels::Act::relu, 0});
  return y;
}

}  // namespace

TEST_CASE("a device that cannot be used says why") {
  const Runtime& table = runtime();
  emulation::Device& device = emulation::Device::instance();
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
    emulation::Device::instance().fail(fault.call, fault.status);
    const std::string message = message_of([&] { const Stream stream{Context(table)}; });
    CHECK(message.substr(0, std::string_view(fault.message).size()) == fault.message);
  }
}

TEST_CASE("memory is given back, and memory that is not there is named with its bytes") {
  const Context context(runtime());
  emulation::Device& device = emulation::Device::instance();
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
  emulation::Device& device = emulation::Device::instance();
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
  emulation::Device& device = emulation::Device::instance();
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

TEST_CASE("whatever call fails, it is named, nothing is left behind, and the CPU goes on") {
  emulation::Device& device = emulation::Device::instance();
  const std::size_t bytes = device.allocated(), streams = device.streams();
  int failures = 0;
  for (const char* call : {"driver_version", "device_count", "describe", "select", "allocate", "create_stream", "copy",
                           "fill", "launch", "wait"})
    for (int passing = 0;; ++passing) {
      INFO(std::string(call), " after ", passing, " others");
      const Runtime& table = runtime();
      device.fail(call, emulation::out_of_memory, passing);
      std::vector<float> y;
      const std::string message = message_of([&] { y = relu_on(table, some_numbers); });
      CHECK(device.allocated() == bytes);
      CHECK(device.streams() == streams);
      CHECK(relu_on_the_cpu() == their_relu);
      CHECK((message.empty() ? y == their_relu : y.empty()));
      if (message.empty()) break;  // there are no more such calls
      ++failures;
      CHECK(message.substr(0, 6) == "cuda: ");
      CHECK(message.find(": cudaErrorMemoryAllocation: out of memory") != message.npos);
    }
  CHECK(failures == 12);  // of each call one; two of copies and of memory
  CHECK(relu_on(runtime(), some_numbers) == their_relu);
}

TEST_CASE("after a kernel has crashed every call fails, memory and streams are given back, and the CPU goes on") {
  const Runtime& table = runtime();
  emulation::Device& device = emulation::Device::instance();
  const std::size_t bytes = device.allocated(), streams = device.streams();
  {
    const Context context(table);
    Stream stream(context), other(context);
    const Memory memory(context, sizeof(float), "one");
    stream.set_node("model.5");
    launch(stream, "conv2d_fwd", crash, Grid{}, memory.floats());
    const std::string cause = "cudaErrorLaunchFailure: conv2d_fwd, block 0, order \"forward\": an illegal address";
    CHECK(message_of([&] { stream.wait(); }).find("cuda: waiting for 'model.5': " + cause) == 0);
    other.set_node("model.6");
    other.fill(memory.data(), 0, memory.bytes());
    CHECK(message_of([&] { other.wait(); }).find("cuda: filling for 'model.6': cudaErrorLaunchFailure: ") == 0);
    CHECK(message_of([&] { Memory(context, 8, "x"); }).find("cuda: allocating 8 bytes for 'x': cudaErrorLaunch") == 0);
    CHECK(message_of([&] { const Stream more(context); }).find("cuda: creating a stream: cudaErrorLaunchFailure") == 0);
    CHECK(message_of([&] { relu_on(table, some_numbers); }).find("cudaErrorLaunchFailure") != std::string::npos);
    CHECK(relu_on_the_cpu() == their_relu);
  }
  CHECK(device.allocated() == bytes);
  CHECK(device.streams() == streams);
}
