// Files as slimneck treats them: only regular ones are read, never more than was agreed; what is written appears whole
// or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace slimneck::io {

/// Writes all of `bytes`; 0, or the system's number for what hindered it.
int write_all(int handle, std::span<const std::byte> bytes) noexcept;

/// A regular file opened for reading. Directories, pipes, sockets and devices are refused without waiting on them.
class InputFile {
 public:
  /// Throws IoError when `path` cannot be opened, is no regular file, or holds more than `max_bytes`.
  InputFile(const std::filesystem::path& path, std::uint64_t max_bytes);
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile();

  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  /// Fills all of `target` with the next bytes; throws IoError when the file ends before.
  void read(std::span<std::byte> target);
  /// Fills the front of `target` and says how much of it; 0 only at the end.
  std::size_t read_some(std::span<std::byte> target);
  /// Fills all of `target` with the bytes from `at` on, wherever read() stands; throws as it does.
  void read_at(std::uint64_t at, std::span<std::byte> target) const;

 private:
  std::size_t some_at(std::uint64_t at, std::span<std::byte> target) const;

  std::string name_;
  int handle_;
  std::uint64_t size_ = 0, at_ = 0;
};

/// The whole of a regular file; throws IoError like InputFile.
std::vector<std::byte> read_file(const std::filesystem::path& path, std::uint64_t max_bytes);

/// A file that replaces `target` when commit() returns. Until then all bytes go to a temporary file beside it, which
/// the destructor removes. Every failure (no space, no right, late write error) is an IoError and leaves `target` as it
/// was, or whole and new. The temporary file is locked while it is written.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& target);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  void write(std::span<const std::byte> bytes);
  /// Brings the bytes to the disk and gives the file its name.
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path temporary_;
  int handle_ = -1;
};

/// Writes `bytes` as the whole of `path`, through AtomicFile.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);

/// `text` fit for a message: in quotes, control characters escaped, shortened when long.
std::string in_quotes(std::string_view text);

}  // namespace slimneck::io
