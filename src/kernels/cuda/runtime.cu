// The table of runtime.hpp over the CUDA runtime.
#include <cuda_runtime.h>

#include "kernels/cuda/runtime.hpp"

namespace slimneck::kernels::cuda {

namespace {

Status driver_version(int* version) { return cudaDriverGetVersion(version); }

Status device_count(int* count) { return cudaGetDeviceCount(count); }

Status describe(int device, DeviceInfo* info) {
  cudaDeviceProp properties{};
  const Status status = cudaGetDeviceProperties(&properties, device);
  constexpr int major = 10;
  *info = {properties.name, major * properties.major + properties.minor};
  return status;
}

Status select(int device) { return cudaSetDevice(device); }

Status allocate(void** memory, std::size_t bytes) { return cudaMalloc(memory, bytes); }

Status release(void* memory) { return cudaFree(memory); }

Status free_memory(std::size_t* free, std::size_t* total) { return cudaMemGetInfo(free, total); }

Status allocate_host(void** memory, std::size_t bytes) { return cudaMallocHost(memory, bytes); }

Status release_host(void* memory) { return cudaFreeHost(memory); }

/// Nothing waits for, or holds up, the default stream.
Status create_stream(void** stream) {
  cudaStream_t created = nullptr;
  const Status status = cudaStreamCreateWithFlags(&created, cudaStreamNonBlocking);
  *stream = created;
  return status;
}

cudaStream_t stream_of(void* stream) { return static_cast<cudaStream_t>(stream); }

Status destroy_stream(void* stream) { return cudaStreamDestroy(stream_of(stream)); }

Status wait(void* stream) { return cudaStreamSynchronize(stream_of(stream)); }

Status copy(void* to, const void* from, std::size_t bytes, Direction direction, void* stream) {
  const cudaMemcpyKind kind = direction == Direction::to_device ? cudaMemcpyHostToDevice
                              : direction == Direction::to_host ? cudaMemcpyDeviceToHost
                                                                : cudaMemcpyDeviceToDevice;
  return cudaMemcpyAsync(to, from, bytes, kind, stream_of(stream));
}

Status fill(void* memory, int byte, std::size_t bytes, void* stream) {
  return cudaMemsetAsync(memory, byte, bytes, stream_of(stream));
}

dim3 extent(const Extent& e) { return {e.x, e.y, e.z}; }

Status launch(const Launch& l, void* stream) {
  return cudaLaunchKernel(l.kernel, extent(l.grid), extent(l.block), const_cast<void**>(l.arguments), l.shared,
                          stream_of(stream));
}

/// Other threads may allocate and copy meanwhile.
Status begin_capture(void* stream) {
  return cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeThreadLocal);
}

Status instantiate(void** graph, void* stream) {
  cudaGraph_t captured = nullptr;
  if (const Status status = cudaStreamEndCapture(stream_of(stream), &captured); status != 0) return status;
  cudaGraphExec_t executable = nullptr;
  const Status status = cudaGraphInstantiate(&executable, captured, 0);
  static_cast<void>(cudaGraphDestroy(captured));
  *graph = executable;
  return status;
}

Status launch_graph(void* graph, void* stream) {
  return cudaGraphLaunch(static_cast<cudaGraphExec_t>(graph), stream_of(stream));
}

Status release_graph(void* graph) { return cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(graph)); }

const char* error_name(Status status) { return cudaGetErrorName(static_cast<cudaError_t>(status)); }

const char* error_text(Status status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); }

}  // namespace

const Runtime& toolkit_runtime() noexcept {
  static const Runtime table{CUDART_VERSION, SLIMNECK_CUDA_LOWEST,
                             driver_version, device_count,
                             describe,       select,
                             allocate,       release,
                             free_memory,    allocate_host,
                             release_host,   create_stream,
                             destroy_stream, wait,
                             copy,           fill,
                             launch,         begin_capture,
                             instantiate,    launch_graph,
                             release_graph,  error_name,
                             error_text};
  return table;
}

}  // namespace slimneck::kernels::cuda
