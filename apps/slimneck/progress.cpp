#include "progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <iostream>

#include "cli.hpp"

namespace slimneck::cli {

namespace {

constexpr std::chrono::milliseconds pause{100};
constexpr const char* begin_of_line = "\r\033[K";

std::size_t terminal_width() {
  constexpr std::size_t usual = 80;
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : usual;
}

/// At most `width` bytes of it, and no part of a character.
std::string cut(const std::string& line, std::size_t width) {
  if (line.size() <= width) return line;
  const auto continues = [&](std::size_t i) { return (static_cast<unsigned char>(line[i]) & 0xc0U) == 0x80U; };
  std::size_t end = width;
  while (end > 0 && continues(end)) --end;
  return line.substr(0, end);
}

}  // namespace

Progress::~Progress() {
  if (visible_) std::cerr << '\n';
}

bool Progress::possible() {
  static const bool able = is_terminal(STDERR_FILENO);
  return able;
}

void Progress::show(std::string line) {
  line_ = std::move(line);
  const auto now = std::chrono::steady_clock::now();
  if (visible_ && now - last_ < pause) return;
  last_ = now;
  write();
}

void Progress::write() {
  std::cerr << begin_of_line << cut(line_, terminal_width() - 1) << std::flush;
  visible_ = true;
}

void Progress::clear() {
  if (visible_) std::cerr << begin_of_line << std::flush;
  visible_ = false;
}

void Progress::finish() {
  if (line_.empty()) return;
  write();
  std::cerr << '\n';
  visible_ = false;
  line_.clear();
}

}  // namespace slimneck::cli
