#include "growing_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "cli.hpp"

namespace slimneck::cli {

GrowingFile::GrowingFile(const std::filesystem::path& path)
    : name_(path.string()), handle_(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)) {
  if (handle_ < 0) fail(errno);
}

GrowingFile::~GrowingFile() {
  if (handle_ >= 0) close(handle_);
}

void GrowingFile::fail(int cause) const { throw IoError(name_ + ": cannot write: " + std::strerror(cause)); }

void GrowingFile::append(std::span<const std::byte> piece) {
  const Uninterrupted shield;
  for (std::size_t done = 0; done < piece.size();) {
    const ssize_t count = write(handle_, piece.data() + done, piece.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int cause = count == 0 ? ENOSPC : errno;
      if (ftruncate(handle_, size_) == 0) lseek(handle_, size_, SEEK_SET);
      fail(cause);
    }
    done += static_cast<std::size_t>(count);
  }
  size_ += static_cast<std::int64_t>(piece.size());
}

void GrowingFile::finish() {
  const Uninterrupted shield;
  // Pipes have no disk.
  if (fsync(handle_) != 0 && errno != EINVAL && errno != ENOTSUP) fail(errno);
  const int handle = std::exchange(handle_, -1);
  if (close(handle) != 0) fail(errno);
}

}  // namespace slimneck::cli
