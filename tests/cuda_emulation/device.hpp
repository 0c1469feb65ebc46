// A device of the table in kernels/cuda/runtime.hpp that runs on the CPU, and what tests may do to it.
//
// Work on a stream is queued until somebody waits for it, so that results which nobody waited for are missing. Every
// launch runs ten times (or SLIMNECK_CUDA_ORDERS times), its blocks and threads in another order each time, and all
// device memory must come out with the same bits. Memory is NaN in the beginning and lies between zones that nobody may
// write; with AddressSanitizer neither they nor device memory can be touched by code of the host.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block.hpp"

namespace slimneck::emulation {

using kernels::cuda::DeviceInfo;
using kernels::cuda::Runtime;
using kernels::cuda::Status;

/// Numbers of cudaError_t that tests ask for.
inline constexpr Status invalid_value = 1, out_of_memory = 2, invalid_configuration = 9, driver_too_old = 35,
                        no_device = 100, no_kernel_image = 209, launch_failure = 719;

/// There is one; tests begin with renewed().
class Device {
 public:
  Device();
  ~Device();
  static Device& instance();
  /// Its table, after everything was set back to what a device has in the beginning. Memory stays with its owners.
  static const Runtime& renewed();
  /// Its table.
  static const Runtime& current() { return runtime(); }

  // ---- What a test says
  int driver = 13000;  ///< newest CUDA that the driver knows
  int devices = 1;
  DeviceInfo info{"emulated", 90};
  std::size_t total_memory = std::size_t{1} << 30;
  /// Of whole networks: every launch runs once, in this order, and nothing is compared.
  std::optional<Schedule> only;

  /// The call of this name ("allocate", "launch", ...) after `passing` others returns `status`.
  void fail(const char* call, Status status, int passing = 0);
  /// Bytes that nobody gave back.
  [[nodiscard]] std::size_t allocated() const;
  /// Streams that nobody destroyed.
  [[nodiscard]] std::size_t streams() const;
  /// Calls of an entry point ("allocate", "launch", ...) since the device was new, and launches that graphs held.
  [[nodiscard]] int calls(const std::string& call) const;
  [[nodiscard]] int captured() const { return captured_; }
  /// Threads that were run, all orders counted.
  [[nodiscard]] std::uint64_t threads() const { return threads_; }
  /// Bytes that asynchronous copies of kernels have read.
  [[nodiscard]] std::uint64_t copied() const { return block_.copied(); }

 private:
  struct Allocation;
  using Work = std::deque<std::function<void()>>;
  struct Stream {
    Work work;
    std::unique_ptr<Work> capture;  ///< where work goes instead
    void queue(std::function<void()> item) { (capture ? *capture : work).push_back(std::move(item)); }
  };
  struct Fault {
    std::string call;
    Status status;
    int passing;
  };
  struct Grid;
  struct Table;

  static const Runtime& runtime();
  void reset();
  Status enter(const char* call);
  Status allocate(void** memory, std::size_t bytes);
  Status release(void* memory);
  Status launch(const kernels::cuda::Launch& launch, Stream& stream);
  Status copy(void* to, const void* from, std::size_t bytes, kernels::cuda::Direction direction, Stream& stream);
  Status wait(Stream& stream);
  [[nodiscard]] bool holds(const void* memory, std::size_t bytes) const;
  void run(const Grid& grid);
  void run_once(const Grid& grid, const Schedule& schedule);
  void expose(bool exposed) const;

  std::vector<std::unique_ptr<Allocation>> memory_;
  std::map<void*, std::vector<char>> host_memory_;
  std::vector<std::unique_ptr<Work>> graphs_;
  std::map<std::string, int> calls_;
  int captured_ = 0;
  std::vector<std::unique_ptr<Stream>> streams_;
  std::vector<Fault> faults_;
  Status broken_ = 0;  ///< after a kernel failed every call does
  std::string message_;
  std::uint64_t threads_ = 0;
  Block block_;
};

}  // namespace slimneck::emulation
