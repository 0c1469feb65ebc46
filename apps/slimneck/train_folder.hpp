// The folder of a training: who works in it, and where its checkpoints lie.
#pragma once

#include <filesystem>
#include <string>

namespace slimneck::cli {

/// Keeps other processes out of a folder while it lives.
class FolderLock {
 public:
  /// Throws IoError, naming the process, when another one has it, and when nothing can be written there.
  explicit FolderLock(const std::filesystem::path& folder);
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;
  ~FolderLock();

 private:
  int handle_ = -1;
};

/// Where weights and checkpoints of a run lie.
inline constexpr const char* weights_folder = "weights";

/// The run that `resume` means: its folder, the folder of its weights, or a file in that; empty: the one in `project`
/// that was saved last. Throws IoError when there is none.
std::filesystem::path find_run(const std::string& resume, const std::string& project);

/// What an earlier run left in a folder that is used again: a new one must not go on from it.
void remove_checkpoints(const std::filesystem::path& weights);

/// Half files of a killed run, which the caller has locked.
void remove_half_files(const std::filesystem::path& run);

/// Throws IoError unless the disk has room for so many bytes of weights and checkpoints; those that lie in the run's
/// folder already have theirs.
void require_space(const std::filesystem::path& run, std::uint64_t bytes);

}  // namespace slimneck::cli
