// Work that runs beside other work: values go from one thread to another in order, and whoever is too fast waits.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>

namespace slimneck::cli {

/// Holds at most so many values and bytes; a single value always fits.
template <class T>
class Channel {
 public:
  Channel(std::size_t most, std::size_t most_bytes) : most_(most), most_bytes_(most_bytes) {}

  /// Waits for room. False: nobody takes values any more.
  bool push(T value, std::size_t bytes) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return closed_ || waiting_.empty() || (waiting_.size() < most_ && bytes_ + bytes <= most_bytes_);
    });
    if (closed_) return false;
    waiting_.emplace_back(std::move(value), bytes);
    bytes_ += bytes;
    changed_.notify_all();
    return true;
  }

  /// Waits for a value; nothing when the channel is closed and all were taken.
  std::optional<T> pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return closed_ || !waiting_.empty(); });
    if (waiting_.empty()) return std::nullopt;
    std::optional<T> value = std::move(waiting_.front().first);
    bytes_ -= waiting_.front().second;
    waiting_.pop_front();
    changed_.notify_all();
    return value;
  }

  /// No more values come; those that are there may be taken.
  void close() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }

  /// No more values come or are taken.
  void abandon() {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    waiting_.clear();
    changed_.notify_all();
  }

 private:
  const std::size_t most_, most_bytes_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<T, std::size_t>> waiting_;
  std::size_t bytes_ = 0;
  bool closed_ = false;
};

}  // namespace slimneck::cli
