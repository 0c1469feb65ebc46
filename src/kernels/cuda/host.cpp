#include "kernels/cuda/host.hpp"

namespace slimneck::kernels::cuda {

namespace {

/// "12.4" of 12040.
std::string version_text(int version) {
  constexpr int major = 1000, minor = 10;
  return std::to_string(version / major) + "." + std::to_string(version % major / minor);
}

/// "7.5" of 75.
std::string architecture_text(int architecture) {
  constexpr int major = 10;
  return std::to_string(architecture / major) + "." + std::to_string(architecture % major);
}

/// Any driver of the same major version, or a newer one, runs what was built.
bool is_too_old(int driver, int built_with) {
  constexpr int major = 1000;
  return driver / major < built_with / major;
}

}  // namespace

Context::Context(const Runtime& runtime, int device) : runtime_(&runtime), device_(device) {
  int driver = 0;
  check(runtime.driver_version(&driver), "asking for the driver");
  if (driver == 0) throw DeviceError("cuda: no driver is installed");
  if (is_too_old(driver, runtime.version))
    throw DeviceError("cuda: the driver knows CUDA up to " + version_text(driver) + ", this build needs " +
                      version_text(runtime.version));
  int count = 0;
  check(runtime.device_count(&count), "counting devices");
  if (device < 0 || device >= count)
    throw DeviceError("cuda: device " + std::to_string(device) + " came, there are " + std::to_string(count));
  check(runtime.describe(device, &info_), "asking for the device");
  if (info_.architecture < runtime.lowest_architecture)
    throw DeviceError("cuda: device " + std::to_string(device) + " (" + info_.name + ") has compute capability " +
                      architecture_text(info_.architecture) + ", this build needs " +
                      architecture_text(runtime.lowest_architecture));
  select();
}

void Context::select() const { check(runtime_->select(device_), "selecting the device"); }

void Context::check(Status status, std::string_view call, std::string_view node) const {
  if (status == 0) return;
  std::string message = "cuda: " + std::string(call);
  if (!node.empty()) message += " for '" + std::string(node) + "'";
  throw DeviceError(message + ": " + runtime_->error_name(status) + ": " + runtime_->error_text(status));
}

Memory::Memory(const Context& context, std::size_t bytes, std::string_view what) : context_(&context), bytes_(bytes) {
  if (bytes == 0) return;
  const Runtime& runtime = context.runtime();
  const Status status = runtime.allocate(&data_, bytes);
  if (status == 0) return;
  std::string call = "allocating " + std::to_string(bytes) + " bytes";
  std::size_t free = 0, total = 0;
  if (runtime.free_memory(&free, &total) == 0)
    call += " (" + std::to_string(free) + " of " + std::to_string(total) + " are free)";
  context.check(status, call, what);
}

Memory::~Memory() {
  if (data_) static_cast<void>(context_->runtime().release(data_));
}

Stream::Stream(const Context& context) : context_(&context) {
  context.check(context.runtime().create_stream(&stream_), "creating a stream");
}

Stream::~Stream() { static_cast<void>(context_->runtime().destroy_stream(stream_)); }

void Stream::note(Status status, std::string_view call) noexcept {
  if (status != 0 && failure_.status == 0) failure_ = {status, call, node_};
}

void Stream::launch(const Launch& launch) noexcept {
  if (failure_.status == 0) note(context_->runtime().launch(launch, stream_), launch.name);
}

void Stream::copy(void* to, const void* from, std::size_t bytes, Direction direction) noexcept {
  if (bytes > 0 && failure_.status == 0) note(context_->runtime().copy(to, from, bytes, direction, stream_), "copying");
}

void Stream::fill(void* memory, int byte, std::size_t bytes) noexcept {
  if (bytes > 0 && failure_.status == 0) note(context_->runtime().fill(memory, byte, bytes, stream_), "filling");
}

void Stream::wait() {
  note(context_->runtime().wait(stream_), "waiting");
  const Failure failure = failure_;
  failure_ = {};
  context_->check(failure.status, failure.call, failure.node);
}

}  // namespace slimneck::kernels::cuda
