// What every kind of communicator does alike: the tree.
#include <algorithm>
#include <bit>
#include <cstring>

#include "slimneck/error.hpp"
#include "slimneck/parallel.hpp"

namespace slimneck {

namespace {

class Single final : public Communicator {
 public:
  Single() : Communicator(0, 1) {}

 protected:
  void send(int /*to*/, std::span<const std::byte> /*bytes*/, Channel /*channel*/) override {}
  void receive(int /*from*/, std::span<std::byte> /*bytes*/, Channel /*channel*/) override {}
};

/// The step of the tree at which a rank other than 0 hands its sum on: its lowest bit.
int lowest_bit(int rank) { return rank & -rank; }

}  // namespace

std::unique_ptr<Communicator> make_single() { return std::make_unique<Single>(); }

std::string Communicator::name(int rank) const { return "rank " + std::to_string(rank); }

void Communicator::leave(std::string_view /*why*/) noexcept {}

template <class T>
void Communicator::sum(std::span<T> numbers, int ranks, Channel channel) {
  if (ranks == 0) ranks = size_;
  if (ranks == 1) return;
  const int until = rank_ == 0 ? ranks : lowest_bit(rank_);
  std::vector<T> other(rank_ + 1 < ranks && until > 1 ? numbers.size() : 0);
  for (int step = 1; step < until; step *= 2) {
    if (rank_ + step >= ranks) continue;
    receive(rank_ + step, std::as_writable_bytes(std::span(other)), channel);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] += other[i];
  }
  if (rank_ > 0) send(rank_ - lowest_bit(rank_), std::as_bytes(numbers), channel);
  pass_on(std::as_writable_bytes(numbers), ranks, channel);
}

/// From rank 0 down the same tree.
void Communicator::pass_on(std::span<std::byte> bytes, int ranks, Channel channel) {
  if (rank_ > 0) receive(rank_ - lowest_bit(rank_), bytes, channel);
  const int first = rank_ == 0 ? static_cast<int>(std::bit_ceil(static_cast<unsigned>(ranks))) : lowest_bit(rank_);
  for (int step = first / 2; step >= 1; step /= 2)
    if (rank_ + step < ranks) send(rank_ + step, bytes, channel);
}

void Communicator::all_reduce(std::span<float> numbers, int ranks, Channel channel) { sum(numbers, ranks, channel); }
void Communicator::all_reduce(std::span<double> numbers, int ranks, Channel channel) { sum(numbers, ranks, channel); }
void Communicator::broadcast(std::span<std::byte> bytes, Channel channel) { pass_on(bytes, size_, channel); }

void Communicator::barrier() {
  double nothing = 0;
  all_reduce(std::span(&nothing, 1));
}

bool Communicator::any(bool mine) {
  double count = mine ? 1 : 0;
  all_reduce(std::span(&count, 1));
  return count > 0;
}

void Communicator::require_agreement(const std::string& text) {
  std::uint64_t length = text.size();
  broadcast(std::as_writable_bytes(std::span(&length, 1)));
  std::string first(text, 0, rank_ == 0 ? text.size() : 0);
  first.resize(length);
  broadcast(std::as_writable_bytes(std::span(first)));
  std::vector<double> differs(static_cast<std::size_t>(size_));
  differs[static_cast<std::size_t>(rank_)] = text == first ? 0 : 1;
  all_reduce(std::span(differs));
  const auto other = std::find(differs.begin(), differs.end(), 1.0);
  if (other == differs.end()) return;
  try {
    barrier();  // nobody ends before all have heard what is wrong
  } catch (const IoError&) {
    // One has heard it already, and ended.
  }
  if (text != first) throw Error(name(rank_) + " has '" + text + "', " + name(0) + " has '" + first + "'");
  throw Error(name(static_cast<int>(other - differs.begin())) + " does not agree with " + name(rank_) +
              ", which has '" + text + "'");
}

}  // namespace slimneck
