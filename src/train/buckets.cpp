#include "train/buckets.hpp"

#include <algorithm>

namespace slimneck::train {

namespace {

std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

}  // namespace

Buckets::Buckets(Parameters& parameters, std::span<const std::string> never, Communicator& communicator,
                 std::size_t bytes)
    : parameters_(parameters),
      communicator_(communicator),
      range_of_(parameters.entries().size()),
      reached_(parameters.entries().size()) {
  const std::vector<Parameters::Entry>& entries = parameters.entries();
  bool full = true;
  for (std::size_t i = entries.size(); i-- > 0;) {
    const Parameters::Entry& entry = entries[i];
    if (entry.role != Role::parameter) continue;
    if (full) ranges_.push_back({entry.gradient_offset, entry.gradient_offset + entry.value.numel()});
    Range& range = ranges_.back();
    range.first = entry.gradient_offset;
    range_of_[i] = ranges_.size() - 1;
    reached_[i] = std::find(never.begin(), never.end(), entry.name) == never.end();
    if (reached_[i]) ++range.entries;
    full = at(range.last - range.first) * sizeof(float) >= bytes;
  }
}

Buckets::~Buckets() {
  stop();
  if (thread_.joinable()) thread_.join();
}

void Buckets::begin(std::vector<Tensor*> gradients, std::size_t parts) {
  gradients_ = std::move(gradients);
  for (Range& range : ranges_) range.missing = range.entries * parts;
  all_ = stopped_ = false;
  problem_ = nullptr;
  thread_ = std::thread([this] { run(); });
}

void Buckets::complete(int entry) noexcept {
  const std::size_t i = at(entry);
  if (!reached_[i]) return;
  {
    const std::lock_guard lock(mutex_);
    if (--ranges_[range_of_[i]].missing > 0) return;
  }
  changed_.notify_all();
}

void Buckets::finish() {
  {
    const std::lock_guard lock(mutex_);
    all_ = true;
  }
  changed_.notify_all();
  thread_.join();
  if (problem_) std::rethrow_exception(problem_);
}

void Buckets::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

void Buckets::run() noexcept try {
  for (const Range& range : ranges_) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return range.missing == 0 || all_ || stopped_; });
      if (stopped_) return;
    }
    take(range);
  }
} catch (...) {
  problem_ = std::current_exception();
}

void Buckets::take(const Range& range) {
  const auto part = [&](std::size_t i) {
    return std::span(gradients_[i]->data<float>() + range.first, at(range.last - range.first));
  };
  for (std::size_t step = 1; step < gradients_.size(); step *= 2)
    for (std::size_t i = 0; i + step < gradients_.size(); i += 2 * step) {
      const std::span<float> sum = part(i), other = part(i + step);
      for (std::size_t k = 0; k < sum.size(); ++k) sum[k] += other[k];
    }
  const std::span<float> sum = part(0);
  communicator_.all_reduce(sum, 0, Communicator::Channel::gradients);
  float* const total = parameters_.gradients().data<float>() + range.first;
  for (std::size_t k = 0; k < sum.size(); ++k) total[k] += sum[k];
}

}  // namespace slimneck::train
