// What the machine can do, measured in the run whose rows are compared with it.
#pragma once

#include <string>
#include <vector>

#include "slimneck/exec.hpp"

namespace slimneck::measure {

/// Binds each of so many threads to a processor of its own while it lives; where there are not so many, nothing.
class Pinned {
 public:
  explicit Pinned(int threads);
  ~Pinned();
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

  /// Of the processors; none where nothing is bound.
  [[nodiscard]] const std::vector<int>& numbers() const noexcept { return numbers_; }

 private:
  std::vector<int> numbers_, allowed_;
};

/// Some ten thousands of multiply-adds on registers, on every thread: work whose time depends on nothing but on whether
/// the processors are one's own.
void multiply_adds(Isa isa, int threads);

/// GFLOP/s of independent multiply-adds on registers, in the vectors of this ISA; the best of some short trials.
double fma_peak(Isa isa, int threads);

struct Bandwidth {
  std::string level;
  std::size_t bytes = 0;  ///< each thread sweeps so many
  double read = 0;        ///< GB/s of all threads together
};

/// Reading arrays that fit into half of each cache level, and one that fits into none.
std::vector<Bandwidth> read_bandwidth(int threads);

/// Bounds of a computation's time that the machine sets: arithmetic at the peak, and memory at the rate of the smallest
/// level that holds what it touches.
struct Roofline {
  double gflops = 0;
  std::vector<Bandwidth> levels;  ///< the smallest first

  /// Measures; takes a second or so.
  static Roofline measure(Isa isa, int threads);
  [[nodiscard]] double seconds(double flops, double bytes) const;
  /// The smallest level that holds so many bytes; the last one where none does.
  [[nodiscard]] const Bandwidth& level(double bytes) const;
  /// Is memory the bound of such a computation?
  [[nodiscard]] bool memory_bound(double flops, double bytes) const;
};

/// That a computation may use here.
int threads_here();

double seconds_now();

}  // namespace slimneck::measure
