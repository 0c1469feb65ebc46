// The folder that a run leaves behind.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>

#include "slimneck/detect.hpp"

namespace slimneck::cli {

struct RunFolderOptions {
  std::string project, name = "exp";
  bool exist_ok = false;

  /// --project, --name and --exist-ok.
  void add_to(CLI::App& app);
  /// Throws UsageError when one of them is empty.
  void check() const;
};

/// project/name, or project/name2, name3, ...: the first that could be made. One in which nothing was saved goes with
/// this.
class RunFolder {
 public:
  /// Throws IoError when the folder cannot be made.
  explicit RunFolder(const RunFolderOptions& options);
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;
  ~RunFolder();

  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  /// The folder of this name within, made if need be.
  [[nodiscard]] std::filesystem::path inner(const std::string& name) const;

 private:
  std::filesystem::path path_;
  bool made_;
};

/// What the numbers of a saved label are.
enum class LabelFormat : int { parts = 0, corners = 1 };  ///< centre and size as parts of the picture; pixels

/// A line of a label file for a picture of that size: class, box and, if wanted, score.
std::string label_line(const Detection& d, index_t width, index_t height, LabelFormat numbers, bool score);

}  // namespace slimneck::cli
