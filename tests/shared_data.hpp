// Where tests find their files.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace slimneck::test {

/// A file or folder of the large reference data, whose root is in the environment variable SLIMNECK_SHARED; nothing
/// when it is not on this machine. A test that lacks it says so and passes.
inline std::optional<std::filesystem::path> shared_data(std::string_view relative) {
  const char* root = std::getenv("SLIMNECK_SHARED");
  if (root == nullptr || *root == '\0') return std::nullopt;
  std::filesystem::path path = std::filesystem::path(root) / relative;
  std::error_code problem;
  if (!std::filesystem::exists(path, problem)) return std::nullopt;
  return path;
}

/// tests/golden of the source tree; main.cpp knows where that is, so that no other object depends on it and compiler
/// caches serve every copy of the tree.
extern const char* const test_data_folder;

/// A file of the reference data that is part of the project. The folder is in the environment variable
/// SLIMNECK_TEST_DATA, else that of the source tree.
inline std::filesystem::path test_data(std::string_view relative) {
  const char* root = std::getenv("SLIMNECK_TEST_DATA");
  return std::filesystem::path(root != nullptr ? root : test_data_folder) / relative;
}

/// A golden file: from the project's own folder, else from the large reference data.
inline std::optional<std::filesystem::path> golden_data(std::string_view relative) {
  std::filesystem::path own = test_data(relative);
  std::error_code problem;
  if (std::filesystem::exists(own, problem)) return own;
  return shared_data("golden/" + std::string(relative));
}

}  // namespace slimneck::test
