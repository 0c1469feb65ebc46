// Where tests find their files.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace slimneck::test {

/// A file or folder of the large reference data, whose root is in the environment variable SLIMNECK_SHARED or the
/// compile definition of the same name; nothing when it is not on this machine. A test that lacks it says so and
/// passes.
inline std::optional<std::filesystem::path> shared_data(std::string_view relative) {
  const char* root = std::getenv("SLIMNECK_SHARED");
#ifdef SLIMNECK_SHARED
  if (root == nullptr) root = SLIMNECK_SHARED;
#endif
  if (root == nullptr || *root == '\0') return std::nullopt;
  std::filesystem::path path = std::filesystem::path(root) / relative;
  std::error_code problem;
  if (!std::filesystem::exists(path, problem)) return std::nullopt;
  return path;
}

/// A file of the reference data that is part of the project. The folder is in the environment variable
/// SLIMNECK_TEST_DATA, else in the compile definition of the same name, else tests/golden below the current folder.
inline std::filesystem::path test_data(std::string_view relative) {
  const char* root = std::getenv("SLIMNECK_TEST_DATA");
#ifdef SLIMNECK_TEST_DATA
  if (root == nullptr) root = SLIMNECK_TEST_DATA;
#endif
  return std::filesystem::path(root != nullptr ? root : "tests/golden") / relative;
}

/// A golden file: from the project's own folder, else from the large reference data.
inline std::optional<std::filesystem::path> golden_data(std::string_view relative) {
  std::filesystem::path own = test_data(relative);
  std::error_code problem;
  if (std::filesystem::exists(own, problem)) return own;
  return shared_data("golden/" + std::string(relative));
}

}  // namespace slimneck::test
