// A CUDA device as the library uses it: a checked device, its memory, and a stream of work. Written against the table
// of runtime.hpp, so it is compiled, and tested on an emulated device, in builds without CUDA too.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "kernels/cuda/runtime.hpp"
#include "slimneck/tensor.hpp"

namespace slimneck::kernels::cuda {

/// A device that kernels of this build can run on. The table must outlive it.
class Context {
 public:
  /// Throws DeviceError: there is no driver, it is too old, there is no such device, kernels were not compiled for it.
  SLIMNECK_EXPORT explicit Context(const Runtime& runtime, int device = 0);

  [[nodiscard]] const Runtime& runtime() const noexcept { return *runtime_; }
  [[nodiscard]] int device() const noexcept { return device_; }
  [[nodiscard]] const DeviceInfo& info() const noexcept { return info_; }
  /// Bytes that nobody has taken.
  [[nodiscard]] SLIMNECK_EXPORT std::size_t free_memory() const;
  /// Makes the device that of the calling thread.
  SLIMNECK_EXPORT void select() const;

  /// Throws DeviceError when status is a failure; `node` may be empty.
  SLIMNECK_EXPORT void check(Status status, std::string_view call, std::string_view node = {}) const;

 private:
  const Runtime* runtime_;
  int device_;
  DeviceInfo info_;
};

/// Memory of a device, given back at the end. The context must outlive it.
class Memory {
 public:
  /// Throws DeviceError, which names the bytes; `what` says for whom they were wanted.
  SLIMNECK_EXPORT Memory(const Context& context, std::size_t bytes, std::string_view what);
  SLIMNECK_EXPORT ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  [[nodiscard]] void* data() const noexcept { return data_; }
  [[nodiscard]] float* floats() const noexcept { return static_cast<float*>(data_); }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  const Context* context_;
  std::size_t bytes_;
  void* data_ = nullptr;
};

/// Memory of the host that copies to and from a device reach directly; zeros. The context must outlive it.
class HostMemory {
 public:
  /// Throws DeviceError, which names the bytes; `what` says for whom they were wanted.
  SLIMNECK_EXPORT HostMemory(const Context& context, std::size_t bytes, std::string_view what);
  SLIMNECK_EXPORT ~HostMemory();
  HostMemory(const HostMemory&) = delete;
  HostMemory& operator=(const HostMemory&) = delete;

  [[nodiscard]] std::byte* data() const noexcept { return static_cast<std::byte*>(data_); }

 private:
  const Context* context_;
  void* data_ = nullptr;
};

/// Work that was captured from a stream. The context must outlive it.
class Graph {
 public:
  Graph(const Context& context, void* graph) noexcept : context_(&context), graph_(graph) {}
  SLIMNECK_EXPORT ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  [[nodiscard]] void* handle() const noexcept { return graph_; }

 private:
  const Context* context_;
  void* graph_;
};

/// Work in order. Queuing never throws: the first failure is kept with its call and node, later work is dropped, and
/// wait() throws. The context must outlive it.
class Stream {
 public:
  /// Its own stream, or one that was given and outlives it.
  SLIMNECK_EXPORT explicit Stream(const Context& context, void* given = nullptr);
  SLIMNECK_EXPORT ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// What the following work belongs to, for messages; the text must stay until wait().
  void set_node(std::string_view node) noexcept { node_ = node; }
  /// May dense convolutions, from now on, round what they multiply to 10 bits of mantissa, for tensor cores?
  void set_tf32(bool allowed) noexcept { tf32_ = allowed; }
  /// Do they? Devices before 8.0 cannot.
  [[nodiscard]] bool tf32() const noexcept { return tf32_ && context_->info().architecture >= first_with_tf32; }
  /// Makes the device that of the calling thread.
  SLIMNECK_EXPORT void select() noexcept;

  SLIMNECK_EXPORT void launch(const Launch& launch) noexcept;
  /// Host memory must stay until wait().
  SLIMNECK_EXPORT void copy(void* to, const void* from, std::size_t bytes, Direction direction) noexcept;
  SLIMNECK_EXPORT void fill(void* memory, int byte, std::size_t bytes) noexcept;
  SLIMNECK_EXPORT void launch(const Graph& graph) noexcept;

  /// Between the two, work is noted and not done. Throws DeviceError, for the first failure since begin_capture, too.
  SLIMNECK_EXPORT void begin_capture();
  [[nodiscard]] SLIMNECK_EXPORT std::unique_ptr<Graph> end_capture();

  /// Until all work is done; a failure is kept.
  SLIMNECK_EXPORT void finish() noexcept;
  /// Until all work is done; throws DeviceError for the first failure since the last call.
  SLIMNECK_EXPORT void wait();

 private:
  void note(Status status, std::string_view call) noexcept;
  void throw_failure();

  static constexpr int first_with_tf32 = 80;

  const Context* context_;
  bool owned_, tf32_ = false;
  void* stream_;
  std::string_view node_;
  struct Failure {
    Status status = 0;
    std::string_view call, node;
  } failure_;
};

}  // namespace slimneck::kernels::cuda
