// Files that are whole or not there.
#pragma once

#include <string>
#include <string_view>

#include "slimneck/export.hpp"

namespace slimneck {

/// `path` is replaced when everything is on the disk, otherwise it stays as it was. Throws IoError.
SLIMNECK_EXPORT void write_text(const std::string& path, std::string_view text);

}  // namespace slimneck
