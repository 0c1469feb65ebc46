// slimneck and oneDNN in turns.
#pragma once

#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "measure/machine.hpp"
#include "pair_clock.hpp"
#include "side.hpp"

namespace slimneck::bench {

using measure::Bandwidth;
using measure::fma_peak;
using measure::read_bandwidth;
using measure::seconds_now;

struct Measured : PairTimes {
  Row row;
  index_t batch = 1;
  double peak_fraction = 0;  ///< multiply-adds of slimneck over what the FMA peak just then allows
  std::string slimneck_kernel, peer_kernel;
};

/// Prints the table while it measures, then the summary; writes the JSON file if asked. Returns the exit status: 1 when
/// two sides disagree.
int run_ratios(const Options& options);

/// Compares both sides of the wanted rows with the scalar specification. Returns 1 when one of them is wrong.
int run_check(const Options& options);

// report.cpp
/// "slimneck avx512, oneDNN 2.6.3, 1 thread, best algorithm"
std::string run_text(const Options& options);
/// Throws Error when the file does not take everything.
void write_rows(const std::string& path, const std::string& json);
void print_heading(const Options& options, double peak, const std::vector<Bandwidth>& levels,
                   const std::vector<Bandwidth>& together);
void print_class(const std::string& kind);
void print_row(const Measured& m);
void print_failure(const Row& row, const std::string& why);
void print_summary(const std::vector<Measured>& all);
/// What all rows ran on, and the peers' versions.
struct Machine {
  std::string isa;
  int threads = 1;
  std::vector<std::pair<std::string, std::string>> libraries;
};
void write_json(const std::string& path, const std::vector<Measured>& all, const Machine& machine);

}  // namespace slimneck::bench
