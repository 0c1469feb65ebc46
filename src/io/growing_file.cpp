// Files that are written piece by piece.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "io/files.hpp"
#include "slimneck/error.hpp"
#include "slimneck/files.hpp"

namespace slimneck {

namespace {

[[noreturn]] void fail(const std::string& name, int cause) {
  throw IoError(name + ": cannot write: " + std::generic_category().message(cause));
}

}  // namespace

struct WholeFile::Impl {
  explicit Impl(const std::filesystem::path& path) : file(path) {}
  io::AtomicFile file;
};

WholeFile::WholeFile(const std::filesystem::path& path) : impl_(std::make_unique<Impl>(path)) {}

WholeFile::~WholeFile() = default;

void WholeFile::append(std::string_view piece) { impl_->file.write(std::as_bytes(std::span(piece))); }

void WholeFile::finish() { impl_->file.commit(); }

GrowingFile::GrowingFile(const std::filesystem::path& path)
    : name_(path.string()), handle_(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (handle_ < 0) fail(name_, errno);
}

GrowingFile::~GrowingFile() {
  if (handle_ >= 0) close(handle_);
}

void GrowingFile::append(std::span<const std::byte> piece) {
  if (const int problem = io::write_all(handle_, piece); problem != 0) {
    if (ftruncate(handle_, size_) == 0) lseek(handle_, size_, SEEK_SET);
    fail(name_, problem);
  }
  size_ += static_cast<std::int64_t>(piece.size());
}

void GrowingFile::finish() {
  // Pipes have no disk.
  if (fsync(handle_) != 0 && errno != EINVAL && errno != ENOTSUP) fail(name_, errno);
  if (close(std::exchange(handle_, -1)) != 0) fail(name_, errno);
}

}  // namespace slimneck
