#include "standard_input.hpp"

#include <fcntl.h>
#include <sys/poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "slimneck/error.hpp"

namespace slimneck::cli {

namespace {

[[noreturn]] void fail() { throw IoError(std::string("standard input: ") + std::strerror(errno)); }

}  // namespace

StandardInput::StandardInput() {
  if (pipe(wake_.data()) != 0) fail();
}

StandardInput::~StandardInput() {
  for (const int end : wake_) close(end);
}

std::size_t StandardInput::read(std::span<std::byte> target) {
  for (;;) {
    std::array<pollfd, 2> both{{{STDIN_FILENO, POLLIN, 0}, {wake_[0], POLLIN, 0}}};
    if (poll(both.data(), both.size(), -1) < 0) {
      if (errno == EINTR) continue;
      fail();
    }
    if (both[1].revents != 0) return 0;
    const ssize_t count = ::read(STDIN_FILENO, target.data(), target.size());
    if (count >= 0) return static_cast<std::size_t>(count);
    if (errno != EINTR && errno != EAGAIN) fail();
  }
}

void StandardInput::call_back() noexcept {
  const char byte = 0;
  while (write(wake_[1], &byte, 1) < 0 && errno == EINTR) {
  }
}

}  // namespace slimneck::cli
