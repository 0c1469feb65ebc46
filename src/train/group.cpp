// Communicators between the threads of one process.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <tuple>

#include "slimneck/error.hpp"
#include "slimneck/parallel.hpp"

namespace slimneck {

namespace {

/// Messages that were sent and not received yet.
class Post {
 public:
  using Address = std::tuple<int, int, Communicator::Channel>;  ///< from, to

  void put(const Address& address, std::span<const std::byte> bytes) {
    {
      const std::lock_guard lock(mutex_);
      boxes_[address].emplace_back(bytes.begin(), bytes.end());
    }
    arrived_.notify_all();
  }

  /// Waits; throws what the one that left has said when nothing came before.
  std::vector<std::byte> take(const Address& address) {
    std::unique_lock lock(mutex_);
    std::deque<std::vector<std::byte>>& box = boxes_[address];
    arrived_.wait(lock, [&] { return !box.empty() || left_; });
    if (box.empty()) throw IoError(*left_);
    std::vector<std::byte> bytes = std::move(box.front());
    box.pop_front();
    return bytes;
  }

  void leave(std::string why) {
    {
      const std::lock_guard lock(mutex_);
      if (!left_) left_ = std::move(why);
    }
    arrived_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::map<Address, std::deque<std::vector<std::byte>>> boxes_;
  std::optional<std::string> left_;
};

class Member final : public Communicator {
 public:
  Member(int rank, int size, std::shared_ptr<Post> post) : Communicator(rank, size), post_(std::move(post)) {}

  void leave(std::string_view why) noexcept override { post_->leave(name(rank()) + ": " + std::string(why)); }

 protected:
  void send(int to, std::span<const std::byte> bytes, Channel channel) override {
    post_->put({rank(), to, channel}, bytes);
  }

  void receive(int from, std::span<std::byte> bytes, Channel channel) override {
    const std::vector<std::byte> came = post_->take({from, rank(), channel});
    if (came.size() != bytes.size())
      throw IoError(name(from) + " sent " + std::to_string(came.size()) + " bytes, " + name(rank()) + " wanted " +
                    std::to_string(bytes.size()));
    std::copy(came.begin(), came.end(), bytes.begin());
  }

 private:
  std::shared_ptr<Post> post_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_group(int size) {
  if (size < 1) throw Error("a group of " + std::to_string(size) + " communicators");
  const auto post = std::make_shared<Post>();
  std::vector<std::unique_ptr<Communicator>> members;
  for (int rank = 0; rank < size; ++rank) members.push_back(std::make_unique<Member>(rank, size, post));
  return members;
}

}  // namespace slimneck
