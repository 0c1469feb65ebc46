// What the machine can do, measured in the run whose rows are compared with it.
#pragma once

#include <string>
#include <vector>

#include "slimneck/exec.hpp"

namespace slimneck::measure {

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
  std::vector<Bandwidth> levels;

  /// Measures; takes a second or so.
  static Roofline measure(Isa isa, int threads);
  [[nodiscard]] double seconds(double flops, double bytes) const;
};

/// That a computation may use here.
int threads_here();

double seconds_now();

}  // namespace slimneck::measure
