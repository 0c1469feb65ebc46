// One training on several processes, and a batch in several parts.
//
// Sums over processes, and over the parts of a batch, are taken along one binary tree whose leaves are numbered: with
// the same parts their bits do not depend on how many processes there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "slimneck/tensor.hpp"

namespace slimneck {

/// What processes (or threads that play them) say to each other. Every one calls the same functions in the same order;
/// two threads of one may call at once when they use different channels. All throw IoError, naming the one that is to
/// blame, when another one is gone: they never wait for it in vain.
class SLIMNECK_EXPORT Communicator {
 public:
  /// Conversations that do not hear each other.
  enum class Channel : std::uint8_t { steps, gradients };

  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  /// Number of this one, 0 to size() - 1.
  [[nodiscard]] int rank() const noexcept { return rank_; }
  /// How many there are.
  [[nodiscard]] int size() const noexcept { return size_; }
  /// "rank 1 on host", for messages.
  [[nodiscard]] virtual std::string name(int rank) const;

  /// The numbers become their sums over the first `ranks` ranks, which alone call it; 0: over all. Along the tree:
  /// rank 2i takes in rank 2i + 1, then 4i takes in 4i + 2, and so on.
  void all_reduce(std::span<float> numbers, int ranks = 0, Channel channel = Channel::steps);
  /// Likewise.
  void all_reduce(std::span<double> numbers, int ranks = 0, Channel channel = Channel::steps);
  /// All get the bytes of rank 0.
  void broadcast(std::span<std::byte> bytes, Channel channel = Channel::steps);
  /// Returns when all have called it.
  void barrier();
  /// Throws Error, showing both, in every rank when one has another text than rank 0.
  void require_agreement(const std::string& text);
  /// Does one of them say so?
  [[nodiscard]] bool any(bool mine);

  /// This one ends, for this reason: the others throw instead of waiting. Nothing may be called after it.
  virtual void leave(std::string_view why) noexcept;

 protected:
  /// For those that derive from it: process `rank` of `size`.
  Communicator(int rank, int size) noexcept : rank_(rank), size_(size) {}
  /// Bytes to one other, which receives as many in the same order on the same channel.
  virtual void send(int to, std::span<const std::byte> bytes, Channel channel) = 0;
  /// The counterpart of send.
  virtual void receive(int from, std::span<std::byte> bytes, Channel channel) = 0;

 private:
  template <class T>
  void sum(std::span<T> numbers, int ranks, Channel channel);
  void pass_on(std::span<std::byte> bytes, int ranks, Channel channel);

  int rank_, size_;
};

/// One alone.
SLIMNECK_EXPORT std::unique_ptr<Communicator> make_single();

/// As many as asked for within this process, for threads of it.
SLIMNECK_EXPORT std::vector<std::unique_ptr<Communicator>> make_group(int size);

/// Of the processes that mpirun (or another starter for MPI) has started together; one alone when there was none.
/// Throws Error when there was one and this build has no MPI. At most one exists at a time.
SLIMNECK_EXPORT std::unique_ptr<Communicator> make_communicator();

/// Does this build have MPI?
[[nodiscard]] SLIMNECK_EXPORT bool has_mpi() noexcept;

/// A part of a batch: what a training plan (PlanOptions::part) for some of a batch's pictures asks of those for the
/// others. Plans call it while they run, from the thread that runs them.
class SLIMNECK_EXPORT BatchPart {
 public:
  virtual ~BatchPart() = default;
  /// How many parts of one size have the statistics of batch norms in common. 1: this one has its own.
  [[nodiscard]] virtual index_t parts() const noexcept = 0;
  /// The numbers become their sums over these parts. All parts call it in the same order with as many numbers.
  virtual void sum(std::span<double> numbers) noexcept = 0;
  /// One part of each process: its plan writes running statistics into the parameters, which the plans share.
  [[nodiscard]] virtual bool leads() const noexcept = 0;
  /// Where the backward adds gradients, in the order of Parameters::gradients() and of the plan's type.
  [[nodiscard]] virtual Tensor& gradients() noexcept = 0;
  /// The gradient of entry i of the parameters is complete.
  virtual void complete(int entry) noexcept = 0;
  /// Something went wrong: plans do not go on.
  [[nodiscard]] virtual bool stopped() const noexcept = 0;
};

}  // namespace slimneck
