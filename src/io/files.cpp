#include "io/files.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "slimneck/error.hpp"
#include "slimneck/files.hpp"

namespace slimneck::io {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const std::string& name, const std::string& what, int code) {
  throw IoError(name + ": " + what + ": " + std::generic_category().message(code));
}

// Writes of more than this at once gain nothing, and Linux caps a single transfer near 2 GiB anyway.
constexpr std::size_t max_transfer = std::size_t{1} << 26;

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

// Names of temporary files: whose, and which of that process.
constexpr std::string_view temporary_begin = ".slimneck-", temporary_end = ".tmp";

bool is_temporary(std::string_view name) {
  if (!name.starts_with(temporary_begin) || !name.ends_with(temporary_end)) return false;
  name.remove_prefix(temporary_begin.size());
  name.remove_suffix(std::min(name.size(), temporary_end.size()));
  return name.find('-') != std::string_view::npos && name.find_first_not_of("0123456789-") == std::string_view::npos;
}

// Removes a temporary file unless its writer lives: that one holds a lock.
bool remove_left_over(const fs::path& path) {
  const int handle = ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);
  if (handle < 0) return false;
  struct stat status {};
  const bool removed = ::fstat(handle, &status) == 0 && S_ISREG(status.st_mode) &&
                       ::flock(handle, LOCK_EX | LOCK_NB) == 0 && ::unlink(path.c_str()) == 0;
  ::close(handle);
  return removed;
}

// Where a write to `target` must land: links are followed, so that the link stays and its file is replaced.
fs::path final_target(const fs::path& target) {
  if (target.filename().empty()) throw IoError(in_quotes(target.string()) + ": cannot write: no file name");
  std::error_code problem;
  fs::path real = fs::is_symlink(target, problem) ? fs::weakly_canonical(target, problem) : target;
  if (problem && problem != std::errc::no_such_file_or_directory)
    fail(target.string(), "cannot write", problem.value());
  struct stat status {};
  // A rename would replace a device or pipe by a plain file.
  if (::stat(real.c_str(), &status) == 0 && !S_ISREG(status.st_mode))
    throw IoError(target.string() + ": cannot write: is " + kind_of(status.st_mode) + ", wanted a regular file");
  return real;
}

void sync_folder(const fs::path& folder) {
  const fs::path place = folder.empty() ? fs::path(".") : folder;
  const int handle = ::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (handle < 0) fail(place.string(), "cannot open folder", errno);
  const int result = ::fsync(handle);
  const int code = errno;
  ::close(handle);
  // Some file systems do not offer fsync of a folder; there the rename alone has to do.
  if (result != 0 && code != EINVAL && code != ENOTSUP) fail(place.string(), "cannot sync folder", code);
}

}  // namespace

int write_all(int handle, std::span<const std::byte> bytes) noexcept {
  while (!bytes.empty()) {
    const ssize_t count = ::write(handle, bytes.data(), std::min(bytes.size(), max_transfer));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? errno : ENOSPC;
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return 0;
}

InputFile::InputFile(const fs::path& path, std::uint64_t max_bytes)
    : name_(path.string()), handle_(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)) {
  if (handle_ < 0) fail(name_, "cannot open", errno);
  struct stat status {};
  std::string problem;
  if (::fstat(handle_, &status) != 0) {
    problem = "cannot look at the file: " + std::generic_category().message(errno);
  } else if (!S_ISREG(status.st_mode)) {
    problem = std::string("is ") + kind_of(status.st_mode) + ", wanted a regular file";
  } else {
    size_ = static_cast<std::uint64_t>(status.st_size);
    if (size_ > max_bytes)
      problem = "has " + std::to_string(size_) + " bytes, the limit is " + std::to_string(max_bytes);
  }
  if (problem.empty()) return;
  ::close(handle_);  // the destructor does not run for an object that was never complete
  throw IoError(name_ + ": " + problem);
}

InputFile::~InputFile() { ::close(handle_); }

std::size_t InputFile::some_at(std::uint64_t at, std::span<std::byte> target) const {
  while (true) {
    const ssize_t count =
        ::pread(handle_, target.data(), std::min(target.size(), max_transfer), static_cast<off_t>(at));
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno != EINTR) fail(name_, "cannot read", errno);
  }
}

std::size_t InputFile::read_some(std::span<std::byte> target) {
  const std::size_t count = some_at(at_, target);
  at_ += count;
  return count;
}

void InputFile::read(std::span<std::byte> target) {
  read_at(at_, target);
  at_ += target.size();
}

void InputFile::read_at(std::uint64_t at, std::span<std::byte> target) const {
  while (!target.empty()) {
    const std::size_t count = some_at(at, target);
    if (count == 0) throw IoError(name_ + ": ended early, " + std::to_string(target.size()) + " bytes are missing");
    target = target.subspan(count);
    at += count;
  }
}

std::vector<std::byte> read_file(const fs::path& path, std::uint64_t max_bytes) {
  InputFile file(path, max_bytes);
  std::vector<std::byte> content(file.size());
  file.read(content);
  return content;
}

AtomicFile::AtomicFile(const fs::path& target) : target_(final_target(target)) {
  static std::atomic<unsigned> counter{0};
  constexpr int attempts = 100;  // a crashed process of the same number may have left names behind
  for (int i = 0; i < attempts; ++i) {
    const std::string name = std::string(temporary_begin) + std::to_string(::getpid()) + "-" +
                             std::to_string(counter++) + std::string(temporary_end);
    temporary_ = target_.parent_path() / name;
    handle_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (handle_ >= 0) {
      static_cast<void>(::flock(handle_, LOCK_EX | LOCK_NB));  // for remove_left_overs, where there are locks
      return;
    }
    if (errno != EEXIST) break;
  }
  fail(target_.string(), "cannot write", errno);
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  if (handle_ >= 0) ::close(handle_);
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (const int problem = write_all(handle_, bytes); problem != 0) fail(target_.string(), "cannot write", problem);
}

void AtomicFile::commit() {
  if (::fsync(handle_) != 0) fail(target_.string(), "cannot write", errno);
  // Closed last, as that ends the lock; fsync has told of every late write error.
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail(target_.string(), "cannot write", errno);
  temporary_.clear();
  if (::close(std::exchange(handle_, -1)) != 0) fail(target_.string(), "cannot write", errno);
  sync_folder(target_.parent_path());
}

void write_file(const fs::path& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

std::string in_quotes(std::string_view text) {
  constexpr std::size_t longest = 100;
  constexpr std::string_view digits = "0123456789abcdef";
  std::string out = "'";
  for (const char c : text.substr(0, longest)) {
    const auto code = static_cast<unsigned char>(c);
    if (code < 0x20 || code == 0x7f) {
      out += "\\x";
      out += digits[code >> 4];
      out += digits[code & 15];
    } else {
      out += c;
    }
  }
  return out + (text.size() > longest ? "...'" : "'");
}

}  // namespace slimneck::io

namespace slimneck {

void write_text(const std::string& path, std::string_view text) {
  io::write_file(path, std::as_bytes(std::span(text)));
}

std::string read_text(const std::string& path, std::uint64_t most) {
  const std::vector<std::byte> bytes = io::read_file(path, most);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::int64_t remove_left_overs(const std::filesystem::path& folder) {
  std::int64_t removed = 0;
  std::error_code problem;
  std::vector<std::filesystem::path> found;
  for (std::filesystem::directory_iterator at(folder, problem), end; !problem && at != end; at.increment(problem))
    if (io::is_temporary(at->path().filename().string())) found.push_back(at->path());
  for (const std::filesystem::path& path : found) removed += io::remove_left_over(path) ? 1 : 0;
  return removed;
}

}  // namespace slimneck
