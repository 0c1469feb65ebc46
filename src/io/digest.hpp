// Checksums of files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace slimneck::io {

/// What a file holds, in short.
struct Digest {
  std::uint64_t bytes = 0;
  std::string sha256;  ///< 64 hexadecimal digits
  friend bool operator==(const Digest&, const Digest&) = default;
};

/// Reads the whole of a regular file of at most `max_bytes`; throws IoError as InputFile does.
Digest digest_file(const std::filesystem::path& path, std::uint64_t max_bytes);

/// SHA-256 of a text, in hexadecimal digits.
std::string sha256(std::string_view text);

}  // namespace slimneck::io
