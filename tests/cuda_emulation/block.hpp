// One block of threads of a CUDA kernel on the CPU. Every thread is a fiber, so that barriers and warp operations
// really wait, and the order of the threads between them is the schedule's choice.
//
// Found are: barriers that not all threads reach or that threads wait for at different places, warp operations whose
// lanes never come or are not named, indices outside of checked arrays, writes around shared memory, and (by NaN) reads
// of shared memory that nobody wrote. Not modelled: the memory model below barriers, bank conflicts, coalescing, time.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "fiber.hpp"
#include "kernels/cuda/runtime.hpp"

namespace slimneck::emulation {

using kernels::cuda::Extent;

/// What a kernel did wrong.
class KernelError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// A line of a kernel.
struct Place {
  const char* file = "";
  unsigned line = 0;

  static constexpr Place here(const char* file = __builtin_FILE(), unsigned line = __builtin_LINE()) {
    return {file, line};
  }
  [[nodiscard]] std::string text() const { return std::string(file) + ":" + std::to_string(line); }
  friend bool operator==(const Place& a, const Place& b) {
    return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
  }
};

/// Who goes on first when several threads can, and which block of a grid comes first.
struct Schedule {
  enum class Kind : std::uint8_t { forward, reverse, shuffled };
  Kind kind = Kind::forward;
  std::uint64_t seed = 0;

  [[nodiscard]] std::string text() const;
  /// 0 ... count - 1 in some order; another one for every `round` of a shuffled schedule.
  void order(std::vector<unsigned>& numbers, std::size_t count, std::uint64_t round) const;
};

/// Of the device that is emulated.
inline constexpr int warp_lanes = 32;
inline constexpr std::size_t most_threads = 1024, most_shared = 48 << 10;

class Block {
 public:
  Block();
  ~Block();
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  /// Runs kernel() once in each thread. Throws KernelError when they cannot all end.
  void run(const std::function<void()>& kernel, const Extent& index, const Extent& grid, const Extent& threads,
           std::size_t dynamic_shared, const Schedule& schedule);

  // ---- What the threads of the block that runs call
  static Block& current();

  void barrier(Place place);

  enum class WarpOperation : std::uint8_t { synchronise, shuffle };
  /// Waits for the lanes of the mask; for a shuffle gives what lane `source` brought, and all bits set if there is
  /// none.
  std::uint64_t with_warp(WarpOperation operation, unsigned mask, std::uint64_t brought, int source, Place place);
  [[nodiscard]] int lane() const { return now_->lane; }

  /// Memory of the block, the same for the same key; NaN in the beginning.
  void* shared(const void* key, std::size_t bytes);
  [[nodiscard]] void* dynamic_shared() const { return dynamic_; }
  [[nodiscard]] std::size_t dynamic_shared_bytes() const { return dynamic_bytes_; }

  /// Asynchronous copies: NaN until the group that they belong to was waited for. Bytes past `present` become zero.
  void begin_copy(void* to, const void* from, std::size_t bytes, std::size_t present);
  void close_copies();
  void wait_for_copies(std::size_t still_open);
  /// Bytes that such copies have read.
  [[nodiscard]] std::uint64_t copied() const { return copied_; }

 private:
  enum class State : std::uint8_t { ready, at_barrier, at_warp, done };
  struct Copy {
    void* to;
    const void* from;
    std::size_t bytes, present;
  };
  struct Thread {
    Fiber fiber;
    Block* block = nullptr;
    State state = State::done;
    Extent index;
    int lane = 0;
    std::size_t warp = 0;
    // Of what it waits for.
    Place place;
    WarpOperation operation{};
    unsigned mask = 0;
    std::uint64_t brought = 0, received = 0;
    int source = 0;
    std::vector<Copy> open;                 ///< of the group that is not closed yet
    std::vector<std::vector<Copy>> groups;  ///< that nobody waited for, oldest first
  };
  struct Region {
    const void* key;
    char* memory;
    std::size_t bytes;
  };

  static void enter(void* thread) noexcept;
  void prepare(const Extent& threads);
  void resume(Thread& thread);
  void wait(State state);
  [[nodiscard]] bool run_ready(const Schedule& schedule, std::uint64_t round);
  void open_barrier();
  [[noreturn]] void fail_deadlock() const;
  char* carve(const void* key, std::size_t bytes);
  void check_zones() const;

  std::vector<std::unique_ptr<Thread>> threads_;
  std::size_t count_ = 0, done_ = 0;
  Thread* now_ = nullptr;
  const std::function<void()>* kernel_ = nullptr;
  std::string error_;
  std::vector<unsigned> order_;
  std::unique_ptr<char[]> arena_;
  std::size_t arena_used_ = 0;
  std::vector<Region> regions_;
  void* dynamic_ = nullptr;
  std::size_t dynamic_bytes_ = 0;
  std::uint64_t copied_ = 0;
};

/// A value of 4 or 8 bytes from another lane of the warp.
template <class T>
T shuffle(unsigned mask, T value, int source, Place place) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= sizeof(std::uint64_t));
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = Block::current().with_warp(Block::WarpOperation::shuffle, mask, bits, source, place);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

/// The one T of the block.
template <class T>
T& shared() {
  static_assert(sizeof(T) <= most_shared);
  static const char key = 0;
  return *static_cast<T*>(Block::current().shared(&key, sizeof(T)));
}

[[noreturn]] void fail_index(std::int64_t index, std::int64_t extent, Place place);

/// Fails the thread when an array of `extent` elements has no element `index`.
inline void check_index(std::int64_t index, std::int64_t extent, Place place) {
  if (index < 0 || index >= extent) [[unlikely]]
    fail_index(index, extent, place);
}

}  // namespace slimneck::emulation
