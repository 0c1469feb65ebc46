// Files that hold what is known so far.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace slimneck::cli {

/// Grows by whole pieces: neither Ctrl-C nor a full disk leaves half of one.
class GrowingFile {
 public:
  /// Begins anew where there is one already. Throws IoError.
  explicit GrowingFile(const std::filesystem::path& path);
  GrowingFile(const GrowingFile&) = delete;
  GrowingFile& operator=(const GrowingFile&) = delete;
  ~GrowingFile();

  /// All of it, or nothing and an IoError.
  void append(std::span<const std::byte> piece);
  /// Brings it to the disk. Throws IoError when what was appended could not be kept.
  void finish();

 private:
  [[noreturn]] void fail(int cause) const;

  std::string name_;
  int handle_;
  std::int64_t size_ = 0;
};

}  // namespace slimneck::cli
