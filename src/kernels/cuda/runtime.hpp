// What the library asks of a device, as a small table of functions. One table calls the CUDA runtime, another one is a
// device that tests emulate; nothing else of the library knows which of the two it uses, or includes CUDA's headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace slimneck::kernels::cuda {

/// What an entry point returns: 0 when all is well, else a number that error_name and error_text know (those of
/// cudaError_t).
using Status = int;

/// Blocks of a grid, or threads of a block.
struct Extent {
  unsigned x = 1, y = 1, z = 1;
};

/// A kernel and what it is called with.
struct Launch {
  const char* name = "";         ///< for messages
  const void* kernel = nullptr;  ///< the __global__ function
  Extent grid, block;
  std::size_t shared = 0;              ///< bytes of dynamic shared memory
  void* const* arguments = nullptr;    ///< one pointer for each parameter; read during the call only
  const std::size_t* sizes = nullptr;  ///< bytes of each argument
  std::size_t count = 0;               ///< of the arguments
  void (*call)(const void* kernel, void* const* arguments) = nullptr;  ///< one thread of it; emulated devices only
};

struct DeviceInfo {
  std::string name;
  int architecture = 0;  ///< 10 * major + minor of its compute capability
};

enum class Direction : std::uint8_t { to_device, to_host, on_device };

/// Streams and graphs are opaque pointers. Copies, fills and launches are queued on a stream and may report failures of
/// earlier work. Host memory of a copy must stay until the stream was waited for.
struct Runtime {
  int version = 0;              ///< of CUDA: 13000 for 13.0
  int lowest_architecture = 0;  ///< that kernels were compiled for

  Status (*driver_version)(int* version);  ///< newest CUDA that the driver knows; 0 without a driver
  Status (*device_count)(int* count);
  Status (*describe)(int device, DeviceInfo* info);
  Status (*select)(int device);  ///< for the calling thread

  Status (*allocate)(void** memory, std::size_t bytes);
  Status (*release)(void* memory);
  Status (*free_memory)(std::size_t* free, std::size_t* total);
  Status (*allocate_host)(void** memory, std::size_t bytes);  ///< that copies reach without a detour
  Status (*release_host)(void* memory);

  Status (*create_stream)(void** stream);
  Status (*destroy_stream)(void* stream);
  Status (*wait)(void* stream);
  Status (*copy)(void* to, const void* from, std::size_t bytes, Direction direction, void* stream);
  Status (*fill)(void* memory, int byte, std::size_t bytes, void* stream);
  Status (*launch)(const Launch& launch, void* stream);

  /// What is queued from here on is noted instead, until `instantiate` makes a graph of it that can be run many times.
  Status (*begin_capture)(void* stream);
  Status (*instantiate)(void** graph, void* stream);
  Status (*launch_graph)(void* graph, void* stream);
  Status (*release_graph)(void* graph);

  const char* (*error_name)(Status status);  ///< "cudaErrorMemoryAllocation"
  const char* (*error_text)(Status status);  ///< "out of memory"
};

}  // namespace slimneck::kernels::cuda
