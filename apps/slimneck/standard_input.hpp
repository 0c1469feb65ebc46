// Standard input, byte by byte as it arrives.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace slimneck::cli {

/// It may be silent for long; a thread that waits for it can be called back.
class StandardInput {
 public:
  /// Throws IoError when the system has no pipe left.
  StandardInput();
  StandardInput(const StandardInput&) = delete;
  StandardInput& operator=(const StandardInput&) = delete;
  ~StandardInput();

  /// Waits for bytes, puts them at the front of `target` and says how many; 0 at the end and once called back. Throws
  /// IoError.
  std::size_t read(std::span<std::byte> target);
  /// From another thread: read() waits no longer.
  void call_back() noexcept;

 private:
  std::array<int, 2> wake_{};  ///< a pipe that speaks when it is enough
};

}  // namespace slimneck::cli
