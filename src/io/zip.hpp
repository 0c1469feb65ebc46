// Zip archives as PyTorch's files are: stored records, one after another, and nothing between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/files.hpp"

namespace slimneck::io {

struct ZipRecord {
  std::string_view name;
  std::span<const std::byte> bytes;
};

/// The records of an archive in the order of their bytes; they point into `content`. The central directory is the
/// truth: every local header must agree with it, records follow each other from byte 0 without gap or overlap, names
/// are unique and every checksum is verified. Throws FormatError on anything else, and on compression and encryption.
std::vector<ZipRecord> read_zip(std::span<const std::byte> content, std::string_view file_name);

/// Writes an archive of stored records, the data of each at a multiple of 64 bytes. Sizes and checksums stand behind
/// the data, so that a record can be written as it comes. The archive ends below 4 GiB.
class ZipWriter {
 public:
  explicit ZipWriter(const std::filesystem::path& path) : file_(path), path_(path) {}

  void begin(std::string name);
  void write(std::span<const std::byte> bytes);
  void end();
  /// Writes the directory and gives the file its name.
  void commit();

 private:
  struct Written {
    std::string name;
    std::uint64_t offset = 0, size = 0;
    std::uint32_t crc = 0;
  };
  void put(std::string_view bytes);

  AtomicFile file_;
  std::filesystem::path path_;
  std::vector<Written> records_;
  std::uint64_t at_ = 0;
};

}  // namespace slimneck::io
