// A CUDA device as the library uses it: a checked device, its memory, and a stream of work. Written against the table
// of runtime.hpp, so it is compiled, and tested on an emulated device, in builds without CUDA too.
#pragma once

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
  [[nodiscard]] const DeviceInfo& info() const noexcept { return info_; }
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

/// Work in order. Queuing never throws: the first failure is kept with its call and node, later work is dropped, and
/// wait() throws. The context must outlive it.
class Stream {
 public:
  SLIMNECK_EXPORT explicit Stream(const Context& context);
  SLIMNECK_EXPORT ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  /// What the following work belongs to, for messages; the text must stay until wait().
  void set_node(std::string_view node) noexcept { node_ = node; }

  SLIMNECK_EXPORT void launch(const Launch& launch) noexcept;
  /// Host memory must stay until wait().
  SLIMNECK_EXPORT void copy(void* to, const void* from, std::size_t bytes, Direction direction) noexcept;
  SLIMNECK_EXPORT void fill(void* memory, int byte, std::size_t bytes) noexcept;

  /// Until all work is done; throws DeviceError for the first failure since the last call.
  SLIMNECK_EXPORT void wait();

 private:
  void note(Status status, std::string_view call) noexcept;

  const Context* context_;
  void* stream_ = nullptr;
  std::string_view node_;
  struct Failure {
    Status status = 0;
    std::string_view call, node;
  } failure_;
};

}  // namespace slimneck::kernels::cuda
