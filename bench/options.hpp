// What the program was asked for.
#pragma once

#include <regex>
#include <string>
#include <vector>

#include "kernels/conv2d/variants.hpp"

namespace slimneck::bench {

struct Options {
  bool ratios = false;    ///< interleave with oneDNN instead of running Google Benchmark
  bool check = false;     ///< compare both sides with the scalar specification instead of timing them
  bool list = false;      ///< print the shape table and stop
  bool networks = false;  ///< whole networks, slimneck's plan and oneDNN's primitives in turns
  std::vector<std::string> cfgs;
  index_t img = 640;
  bool train = false;
  std::string peer = "both";  ///< of networks: "onednn-best", "onednn-framework" or "both"
  std::string json;           ///< file for the rows; empty for none
  kernels::Algorithm algorithm = kernels::Algorithm::best;
  Isa isa = Isa::automatic;  ///< resolved after parsing
  int threads = 1;
  index_t batch = 0;    ///< 0: 1 in inference and for single convolutions, train_batch in training
  double budget = 0.3;  ///< seconds per row
  bool budget_given = false;
  bool epilogue = true;  ///< forward rows with bias and activation, as in the network; off: the bare convolution
  std::string filter;    ///< the text of --benchmark_filter, which Google Benchmark reads too

  static constexpr index_t train_batch = 8;
};

/// Takes the program's own flags out of argv and leaves the others, which are Google Benchmark's. Throws Error with
/// what is wrong.
Options parse(int& argc, char** argv);

/// --benchmark_filter as Google Benchmark understands it: a regular expression to find, '-' in front turns it around.
class Filter {
 public:
  explicit Filter(const std::string& text);
  [[nodiscard]] bool operator()(const std::string& name) const;
  [[nodiscard]] bool negative() const { return negative_; }

 private:
  bool negative_;
  std::regex pattern_;
};

extern const char* const usage;

}  // namespace slimneck::bench
