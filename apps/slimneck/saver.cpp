#include "saver.hpp"

namespace slimneck::cli {

namespace {

constexpr std::size_t most_waiting = 4;
constexpr std::size_t most_bytes_waiting = std::size_t{256} << 20;

}  // namespace

Saver::Saver(Gallery& gallery)
    : gallery_(gallery), channel_(most_waiting, most_bytes_waiting), thread_([this] { work(); }) {}

Saver::~Saver() {
  channel_.abandon();
  if (thread_.joinable()) thread_.join();
}

void Saver::work() {
  try {
    while (std::optional<Seen> seen = channel_.pop()) gallery_.save(std::move(*seen));
  } catch (...) {
    failure_ = std::current_exception();
    channel_.abandon();
  }
}

void Saver::save(Seen seen) {
  const std::size_t bytes = seen.frame.image.rgb.size();
  if (!channel_.push(std::move(seen), bytes)) std::rethrow_exception(failure_);
}

void Saver::finish() {
  channel_.close();
  thread_.join();
  if (failure_) std::rethrow_exception(failure_);
  gallery_.finish();
}

}  // namespace slimneck::cli
