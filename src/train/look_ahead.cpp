#include "train/look_ahead.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

#include "core/threads.hpp"

namespace slimneck::train {

LookAhead::LookAhead(index_t count, index_t bound, int workers, Make make)
    : count_(count), make_(std::move(make)), slots_(static_cast<std::size_t>(std::clamp<index_t>(bound, 1, count))) {
  const auto wanted = static_cast<std::size_t>(std::min<index_t>(workers, count));
  threads_.reserve(wanted);
  try {
    while (threads_.size() < wanted) threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
  } catch (const std::system_error&) {  // those that did start, or the caller, make the same
  }
}

Made LookAhead::take() {
  if (threads_.empty()) return make_(taken_++);
  Slot got;
  {
    std::unique_lock lock(guard_);
    Slot& next = slot(taken_);
    ready_.wait(lock, [&next]() { return next.full; });
    got = std::exchange(next, {});
    ++taken_;
  }
  room_.notify_one();
  if (got.failure) std::rethrow_exception(got.failure);
  return std::move(got.made);
}

void LookAhead::work(const std::stop_token& stop) {
  const core::ThreadScope alone(1);
  const auto size = static_cast<index_t>(slots_.size());
  for (;;) {
    index_t position = 0;
    {
      std::unique_lock lock(guard_);
      room_.wait(lock, stop, [&]() { return begun_ == count_ || begun_ < taken_ + size; });
      if (stop.stop_requested() || begun_ == count_) return;
      position = begun_++;
    }
    Slot done{true, {}, nullptr};
    try {
      done.made = make_(position);
    } catch (...) {
      done.failure = std::current_exception();
    }
    {
      const std::scoped_lock lock(guard_);
      slot(position) = std::move(done);
    }
    ready_.notify_one();
  }
}

}  // namespace slimneck::train
