#include "train_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "cli.hpp"
#include "slimneck/error.hpp"
#include "slimneck/files.hpp"
#include "slimneck/train.hpp"

namespace slimneck::cli {

namespace fs = std::filesystem;

namespace {

constexpr std::array<const char*, 4> checkpoint_files{"state.0.json", "state.1.json", "resume.0.safetensors",
                                                      "resume.1.safetensors"};

[[noreturn]] void fail(const fs::path& path, const std::string& what) {
  throw IoError(path.string() + ": " + what + ": " + std::strerror(errno));
}

std::string owner_of(int handle) {
  std::array<char, 32> text{};
  const ssize_t length = pread(handle, text.data(), text.size() - 1, 0);
  std::string owner(text.data(), length > 0 ? static_cast<std::size_t>(length) : 0);
  owner.erase(std::find_if(owner.begin(), owner.end(), [](char c) { return c < '0' || c > '9'; }), owner.end());
  return owner.empty() ? "another process" : "process " + owner;
}

/// When a run was saved last; nothing if it never was.
std::optional<fs::file_time_type> saved_at(const fs::path& run) {
  std::optional<fs::file_time_type> last;
  for (const char* name : {"state.0.json", "state.1.json"}) {
    std::error_code problem;
    const fs::file_time_type time = fs::last_write_time(run / weights_folder / name, problem);
    if (!problem && (!last || time > *last)) last = time;
  }
  return last;
}

fs::path latest_run(const fs::path& project) {
  std::optional<fs::file_time_type> last;
  fs::path found;
  std::error_code problem;
  for (const fs::directory_entry& entry : fs::directory_iterator(project, problem))
    if (const auto time = saved_at(entry.path()); time && (!last || *time > *last)) {
      last = time;
      found = entry.path();
    }
  if (!last) throw IoError(project.string() + ": no run there that could go on");
  return found;
}

/// What the files of an earlier save take, whose places the next ones take.
std::uint64_t bytes_saved(const fs::path& weights) {
  std::vector<const char*> names(checkpoint_files.begin(), checkpoint_files.end());
  names.insert(names.end(), {"last.safetensors", "best.safetensors"});
  std::uint64_t bytes = 0;
  for (const char* name : names) {
    std::error_code problem;
    const std::uintmax_t size = fs::file_size(weights / name, problem);
    if (!problem) bytes += size;
  }
  return bytes;
}

}  // namespace

FolderLock::FolderLock(const fs::path& folder) {
  const fs::path path = folder / "lock";
  handle_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (handle_ < 0) fail(path, "cannot be written");
  const std::string self = std::to_string(getpid()) + "\n";
  if (flock(handle_, LOCK_EX | LOCK_NB) != 0) {
    const std::string owner = owner_of(handle_);
    close(handle_);
    throw IoError(folder.string() + ": " + owner + " trains there");
  }
  if (ftruncate(handle_, 0) == 0 && pwrite(handle_, self.data(), self.size(), 0) == static_cast<ssize_t>(self.size()))
    return;
  const int cause = errno;
  close(handle_);
  errno = cause;
  fail(path, "cannot be written");
}

FolderLock::~FolderLock() { close(handle_); }

fs::path find_run(const std::string& resume, const std::string& project) {
  if (resume.empty()) return latest_run(project);
  std::error_code problem;
  fs::path path = fs::path(resume).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  if (!fs::exists(path, problem)) throw IoError(resume + ": does not exist");
  if (!fs::is_directory(path, problem)) path = path.parent_path();
  if (path.empty()) path = ".";
  if (fs::is_directory(path / weights_folder, problem)) return path;
  // From within the folder of the weights its name is not part of the path.
  if (fs::exists(path / checkpoint_files[0], problem) || fs::exists(path / checkpoint_files[1], problem))
    return fs::absolute(path).lexically_normal().parent_path();
  throw IoError(resume + ": is not the folder of a run, or in one");
}

void remove_checkpoints(const fs::path& weights) {
  for (const char* name : checkpoint_files) {
    std::error_code problem;
    fs::remove(weights / name, problem);
    if (problem) throw IoError((weights / name).string() + ": cannot be removed: " + problem.message());
  }
}

void remove_half_files(const fs::path& run) {
  for (const fs::path& folder : {run, run / weights_folder}) remove_left_overs(folder);
}

void require_space(const fs::path& run, std::uint64_t bytes) {
  std::error_code problem;
  const fs::space_info space = fs::space(run, problem);
  if (problem) return;  // then the first save will tell
  const std::uint64_t room = space.available + bytes_saved(run / weights_folder);
  constexpr double mib = 1 << 20;
  if (room < bytes)
    throw IoError(run.string() + format(": %.1f MiB are left on the disk; weights and checkpoints take %.1f",
                                        static_cast<double>(room) / mib, static_cast<double>(bytes) / mib));
}

}  // namespace slimneck::cli
