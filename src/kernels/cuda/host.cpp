#include "kernels/cuda/host.hpp"

#include <algorithm>

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

std::size_t Context::free_memory() const {
  std::size_t free = 0, total = 0;
  check(runtime_->free_memory(&free, &total), "asking for memory");
  return free;
}

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

HostMemory::HostMemory(const Context& context, std::size_t bytes, std::string_view what) : context_(&context) {
  if (bytes == 0) return;
  context.check(context.runtime().allocate_host(&data_, bytes),
                "allocating " + std::to_string(bytes) + " bytes of host memory", what);
  std::fill_n(data(), bytes, std::byte{0});
}

HostMemory::~HostMemory() {
  if (data_) static_cast<void>(context_->runtime().release_host(data_));
}

Graph::~Graph() { static_cast<void>(context_->runtime().release_graph(graph_)); }

Stream::Stream(const Context& context, void* given) : context_(&context), owned_(given == nullptr), stream_(given) {
  if (owned_) context.check(context.runtime().create_stream(&stream_), "creating a stream");
}

Stream::~Stream() {
  if (owned_) static_cast<void>(context_->runtime().destroy_stream(stream_));
}

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

void Stream::select() noexcept {
  if (failure_.status == 0) note(context_->runtime().select(context_->device()), "selecting the device");
}

void Stream::launch(const Graph& graph) noexcept {
  if (failure_.status == 0) note(context_->runtime().launch_graph(graph.handle(), stream_), "launching a graph");
}

void Stream::begin_capture() {
  context_->check(context_->runtime().begin_capture(stream_), "capturing a graph", node_);
}

std::unique_ptr<Graph> Stream::end_capture() {
  void* handle = nullptr;
  const Status status = context_->runtime().instantiate(&handle, stream_);
  std::unique_ptr<Graph> graph;
  if (status == 0) graph = std::make_unique<Graph>(*context_, handle);
  note(status, "instantiating a graph");
  throw_failure();
  return graph;
}

void Stream::finish() noexcept { note(context_->runtime().wait(stream_), "waiting"); }

void Stream::wait() {
  finish();
  throw_failure();
}

void Stream::throw_failure() {
  const Failure failure = failure_;
  failure_ = {};
  context_->check(failure.status, failure.call, failure.node);
}

}  // namespace slimneck::kernels::cuda
