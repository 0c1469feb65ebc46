#include "block.hpp"

#include <algorithm>
#include <numeric>
#include <random>

#include "cuda_runtime.h"
#include "sanitizer.hpp"

namespace slimneck::emulation {

namespace {

constexpr std::size_t zone_bytes = 64, align_bytes = 16, arena_bytes = 128 << 10;
constexpr char zone_byte = 0x5A;

Block* running = nullptr;

std::string text(const Extent& e) {
  return "(" + std::to_string(e.x) + ", " + std::to_string(e.y) + ", " + std::to_string(e.z) + ")";
}

std::size_t rounded(std::size_t bytes) { return (bytes + align_bytes - 1) / align_bytes * align_bytes; }

}  // namespace

std::string Schedule::text() const {
  if (kind == Kind::shuffled) return "shuffled by " + std::to_string(seed);
  return kind == Kind::forward ? "forward" : "reverse";
}

void Schedule::order(std::vector<unsigned>& numbers, std::size_t count, std::uint64_t round) const {
  if (kind != Kind::shuffled && numbers.size() == count && round > 0) return;
  numbers.resize(count);
  std::iota(numbers.begin(), numbers.end(), 0U);
  if (kind == Kind::reverse) std::reverse(numbers.begin(), numbers.end());
  if (kind != Kind::shuffled) return;
  std::minstd_rand random(static_cast<std::minstd_rand::result_type>(seed * 1000003 + round + 1));
  for (std::size_t i = count; i > 1; --i) std::swap(numbers[i - 1], numbers[random() % i]);
}

void fail_index(std::int64_t index, std::int64_t extent, Place place) {
  throw KernelError("index " + std::to_string(index) + " of " + std::to_string(extent) + " at " + place.text());
}

Block::Block() : arena_(new char[arena_bytes]) {}
Block::~Block() { allow(arena_.get(), arena_bytes); }

Block& Block::current() { return *running; }

void Block::enter(void* argument) noexcept {
  auto& thread = *static_cast<Thread*>(argument);
  Block& block = *thread.block;
  try {
    (*block.kernel_)();
  } catch (const std::exception& error) {
    block.error_ = std::string(error.what()) + ", in thread " + text(thread.index);
  }
  thread.state = State::done;
  ++block.done_;
}

void Block::prepare(const Extent& threads) {
  count_ = static_cast<std::size_t>(threads.x) * threads.y * threads.z;
  done_ = 0;
  error_.clear();
  while (threads_.size() < count_) threads_.push_back(std::make_unique<Thread>());
  for (std::size_t i = 0; i < count_; ++i) {
    Thread& t = *threads_[i];
    const auto number = static_cast<unsigned>(i);
    t.index = {number % threads.x, number / threads.x % threads.y, number / threads.x / threads.y};
    t.lane = static_cast<int>(i % warp_lanes);
    t.warp = i / warp_lanes;
    t.block = this;
    t.state = State::ready;
    t.open.clear();
    t.groups.clear();
    t.fiber.prepare(&Block::enter, &t);
  }
}

void Block::run(const std::function<void()>& kernel, const Extent& index, const Extent& grid, const Extent& threads,
                std::size_t dynamic_bytes, const Schedule& schedule) {
  kernel_ = &kernel;
  prepare(threads);
  arena_used_ = 0;
  regions_.clear();
  allow(arena_.get(), arena_bytes);
  dynamic_bytes_ = dynamic_bytes;
  dynamic_ = dynamic_bytes > 0 ? carve(nullptr, dynamic_bytes) : nullptr;
  blockIdx = {index.x, index.y, index.z};
  gridDim = {grid.x, grid.y, grid.z};
  blockDim = {threads.x, threads.y, threads.z};
  running = this;
  for (std::uint64_t round = 0; done_ < count_; ++round)
    if (!run_ready(schedule, round)) open_barrier();
  check_zones();
}

bool Block::run_ready(const Schedule& schedule, std::uint64_t round) {
  schedule.order(order_, count_, round);
  bool moved = false;
  for (const unsigned i : order_) {
    if (threads_[i]->state != State::ready) continue;
    resume(*threads_[i]);
    moved = true;
    if (!error_.empty()) throw KernelError(error_);
  }
  return moved;
}

void Block::resume(Thread& thread) {
  now_ = &thread;
  threadIdx = {thread.index.x, thread.index.y, thread.index.z};
  thread.fiber.resume();
}

void Block::wait(State state) {
  now_->state = state;
  now_->fiber.pause();
}

void Block::barrier(Place place) {
  now_->place = place;
  wait(State::at_barrier);
}

/// Nobody can go on: all must wait at the same barrier.
void Block::open_barrier() {
  const Thread* first = nullptr;
  for (std::size_t i = 0; i < count_; ++i) {
    const Thread& t = *threads_[i];
    if (t.state != State::at_barrier) fail_deadlock();
    if (!first) first = &t;
    if (!(t.place == first->place))
      throw KernelError("divergent barrier: thread " + text(first->index) + " waits at " + first->place.text() +
                        ", thread " + text(t.index) + " at " + t.place.text());
  }
  for (std::size_t i = 0; i < count_; ++i) threads_[i]->state = State::ready;
}

void Block::fail_deadlock() const {
  std::string message = "deadlock: " + std::to_string(done_) + " of " + std::to_string(count_) + " threads have ended";
  constexpr std::size_t shown_at_most = 3;
  std::size_t shown = 0;
  for (std::size_t i = 0; i < count_ && shown < shown_at_most; ++i) {
    const Thread& t = *threads_[i];
    if (t.state == State::done) continue;
    message += ", thread " + text(t.index) + " waits for its " + (t.state == State::at_warp ? "warp" : "block") +
               " at " + t.place.text();
    ++shown;
  }
  throw KernelError(message);
}

std::uint64_t Block::with_warp(WarpOperation operation, unsigned mask, std::uint64_t brought, int source, Place place) {
  Thread& self = *now_;
  if ((mask >> self.lane & 1) == 0)
    throw KernelError("the mask of a warp operation does not name the calling lane at " + place.text());
  self.operation = operation;
  self.mask = mask;
  self.brought = brought;
  self.source = source;
  self.place = place;
  const std::size_t begin = self.warp * warp_lanes, lanes = std::min<std::size_t>(warp_lanes, count_ - begin);
  const auto with = [&](const Thread& t) {
    return &t == &self || (t.state == State::at_warp && t.operation == operation && t.mask == mask && t.place == place);
  };
  // The neighbour is looked at first: in most orders it is the one that has not come.
  for (int i = 1; i < warp_lanes; ++i) {
    const auto l = static_cast<std::size_t>((self.lane + i) % warp_lanes);
    if ((mask >> l & 1) == 0 || (l < lanes && with(*threads_[begin + l]))) continue;
    wait(State::at_warp);  // the last lane to come answers all
    return self.received;
  }
  for (std::size_t l = 0; l < lanes; ++l) {
    if ((mask >> l & 1) == 0) continue;
    Thread& t = *threads_[begin + l];
    const bool there = t.source >= 0 && static_cast<std::size_t>(t.source) < lanes && (mask >> t.source & 1) != 0;
    t.received = there ? threads_[begin + static_cast<std::size_t>(t.source)]->brought : ~std::uint64_t{0};
    if (&t != &self) t.state = State::ready;
  }
  return self.received;
}

char* Block::carve(const void* key, std::size_t bytes) {
  std::size_t taken = bytes;
  for (const Region& r : regions_) taken += rounded(r.bytes);
  if (taken > most_shared)
    throw KernelError("a block takes " + std::to_string(taken) + " bytes of shared memory, there are " +
                      std::to_string(most_shared));
  char* const begin = arena_.get() + arena_used_;
  char* memory = begin + zone_bytes;
  memory += (align_bytes - reinterpret_cast<std::uintptr_t>(memory) % align_bytes) % align_bytes;
  char* const end = memory + rounded(bytes) + zone_bytes;
  if (end > arena_.get() + arena_bytes) throw KernelError("too many arrays in shared memory");
  arena_used_ = static_cast<std::size_t>(end - arena_.get()) - zone_bytes;  // the next array begins with this zone
  allow(begin, zone_bytes);                                                 // of the array before
  std::fill(begin, memory, zone_byte);
  std::fill(memory, memory + bytes, '\xFF');
  std::fill(memory + bytes, end, zone_byte);
  forbid(begin, static_cast<std::size_t>(memory - begin));
  forbid(memory + bytes, static_cast<std::size_t>(end - memory) - bytes);
  regions_.push_back({key, memory, bytes});
  return memory;
}

void* Block::shared(const void* key, std::size_t bytes) {
  for (const Region& r : regions_)
    if (r.key == key) return r.memory;
  return carve(key, bytes);
}

void Block::check_zones() const {
  const char* at = arena_.get();
  allow(at, arena_bytes);
  const auto check = [&](const char* end) {
    if (std::any_of(at, end, [](char c) { return c != zone_byte; }))
      throw KernelError("a thread wrote past an array in shared memory");
  };
  for (const Region& r : regions_) {
    check(r.memory);
    at = r.memory + r.bytes;
  }
  if (!regions_.empty()) check(arena_.get() + arena_used_ + zone_bytes);
}

void Block::begin_copy(void* to, const void* from, std::size_t bytes, std::size_t present) {
  if (reinterpret_cast<std::uintptr_t>(to) % bytes != 0 ||
      (present > 0 && reinterpret_cast<std::uintptr_t>(from) % bytes != 0))
    throw KernelError("an asynchronous copy of " + std::to_string(bytes) + " bytes is not aligned");
  std::memset(to, 0xFF, bytes);
  now_->open.push_back({to, from, bytes, present});
  copied_ += present;
}

void Block::close_copies() {
  now_->groups.push_back(std::move(now_->open));
  now_->open.clear();
}

void Block::wait_for_copies(std::size_t still_open) {
  auto& groups = now_->groups;
  while (groups.size() > still_open) {
    for (const Copy& c : groups.front()) {
      std::memcpy(c.to, c.from, c.present);
      std::memset(static_cast<char*>(c.to) + c.present, 0, c.bytes - c.present);
    }
    groups.erase(groups.begin());
  }
}

}  // namespace slimneck::emulation
