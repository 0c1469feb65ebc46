// Files as slimneck writes them: whole or not there, or growing by whole pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "slimneck/export.hpp"

namespace slimneck {

/// `path` is replaced when everything is on the disk, otherwise it stays as it was. Throws IoError.
SLIMNECK_EXPORT void write_text(const std::string& path, std::string_view text);

/// The whole of a regular file. Throws IoError when it cannot be read or holds more than `most` bytes.
SLIMNECK_EXPORT std::string read_text(const std::string& path, std::uint64_t most);

/// Like write_text, for what is too long to be kept: piece by piece into a temporary file beside `path`.
class SLIMNECK_EXPORT WholeFile {
 public:
  /// Throws IoError.
  explicit WholeFile(const std::filesystem::path& path);
  /// Without finish() nothing stays.
  ~WholeFile();
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  /// Throws IoError.
  void append(std::string_view piece);
  /// `path` is replaced. Throws IoError.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A file that holds what is known so far; it may be a pipe, too.
class SLIMNECK_EXPORT GrowingFile {
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
  std::string name_;
  int handle_;
  std::int64_t size_ = 0;
};

/// Removes the temporary files that killed programs left in the folder, and says how many. Those of a program that
/// still writes stay, as does everything where the file system cannot tell.
SLIMNECK_EXPORT std::int64_t remove_left_overs(const std::filesystem::path& folder);

}  // namespace slimneck
