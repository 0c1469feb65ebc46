// Text files: written ones are whole or not there.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "slimneck/export.hpp"

namespace slimneck {

/// `path` is replaced when everything is on the disk, otherwise it stays as it was. Throws IoError.
SLIMNECK_EXPORT void write_text(const std::string& path, std::string_view text);

/// The whole of a regular file. Throws IoError when it cannot be read or holds more than `most` bytes.
SLIMNECK_EXPORT std::string read_text(const std::string& path, std::uint64_t most);

}  // namespace slimneck
