// The pictures that a source of a data set stands for.
#pragma once

#include <filesystem>
#include <vector>

namespace slimneck::train {

/// A folder stands for the pictures in it and in its inner folders, sorted; a .txt file for those that its lines name,
/// seen from the list's folder, else from `root`, else from the current folder; another file for itself. Throws IoError
/// when a folder or list cannot be read, FormatError when there are too many.
std::vector<std::filesystem::path> source_pictures(const std::filesystem::path& source,
                                                   const std::filesystem::path& root);

}  // namespace slimneck::train
