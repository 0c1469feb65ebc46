#include "guarded.hpp"

#include <algorithm>
#include <array>
#include <map>

namespace slimneck::cuda_cases {

using kernels::cuda::Direction;
using kernels::cuda::Runtime;
using kernels::cuda::Status;

namespace {

constexpr std::size_t zone_bytes = 256;
constexpr char zone_byte = 0x5A;

}  // namespace

/// What the entry points, which are plain functions, work on.
struct Guarded::State {
  static State* now;

  const Runtime& inner;
  void* stream = nullptr;               ///< made when memory is first wanted
  std::map<char*, std::size_t> holds;   ///< what a caller has, without zones
  std::array<char, zone_bytes> zone{};  ///< read from the device; must outlive a copy that nobody could wait for

  Status fill(char* memory, std::size_t bytes) {
    Status status = stream ? 0 : inner.create_stream(&stream);
    if (status == 0) status = inner.fill(memory - zone_bytes, zone_byte, bytes + 2 * zone_bytes, stream);
    if (status == 0) status = inner.fill(memory, 0xFF, bytes, stream);
    return status != 0 ? status : inner.wait(stream);
  }

  Status allocate(void** memory, std::size_t bytes) {
    void* all = nullptr;
    if (const Status status = inner.allocate(&all, bytes + 2 * zone_bytes); status != 0) return status;
    char* const begin = static_cast<char*>(all) + zone_bytes;
    if (const Status status = fill(begin, bytes); status != 0) {
      static_cast<void>(inner.release(all));
      return status;
    }
    holds[begin] = bytes;
    *memory = begin;
    return 0;
  }

  Status release(void* memory) {
    char* const begin = static_cast<char*>(memory);
    holds.erase(begin);
    return inner.release(begin - zone_bytes);
  }

  /// Is a zone what it was?
  Status compare(const char* memory, bool* same) {
    Status status = inner.copy(zone.data(), memory, zone.size(), Direction::to_host, stream);
    if (status == 0) status = inner.wait(stream);
    *same = std::all_of(zone.begin(), zone.end(), [](char c) { return c == zone_byte; });
    return status;
  }
};

Guarded::State* Guarded::State::now = nullptr;

Guarded::Guarded(const Runtime& inner) : state_(new State{inner, nullptr, {}, {}}), table_(inner) {
  State::now = state_.get();
  table_.allocate = [](void** memory, std::size_t bytes) { return State::now->allocate(memory, bytes); };
  table_.release = [](void* memory) { return State::now->release(memory); };
}

Guarded::~Guarded() {
  if (state_->stream) static_cast<void>(state_->inner.destroy_stream(state_->stream));
  State::now = nullptr;
}

std::string Guarded::damage() const {
  std::string text;
  for (const auto& [begin, bytes] : state_->holds)
    for (const bool behind : {false, true}) {
      bool same = true;
      const Status status = state_->compare(behind ? begin + bytes : begin - zone_bytes, &same);
      if (status != 0) return std::string("memory cannot be read: ") + state_->inner.error_name(status);
      if (!same)
        text += std::string(text.empty() ? "" : ", ") + "a kernel wrote " + (behind ? "behind" : "in front of") + " " +
                std::to_string(bytes) + " bytes";
    }
  return text;
}

}  // namespace slimneck::cuda_cases
