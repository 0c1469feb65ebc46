// What the numbers of a comparison say.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "compare_run.hpp"

namespace slimneck::cli {

/// Part of SC's multiply-adds and of its time that a kind takes, over all layers together.
struct Share {
  double macs = 0;
  std::optional<double> time;  ///< none where a layer has none
};
Share share_of(const Comparison& all, const Op& op, Pass pass);

/// Geometric mean, over the layers of one kernel extent, of (part of SC's time) / (part of SC's multiply-adds): 1 where
/// the operations saved are the time saved.
struct MeanGap {
  Op op;
  Pass pass = Pass::fwd;
  index_t k = 0;
  int layers = 0;
  double mean = 0;
};
/// Of the library's own plans, for every kind but SC; extents and passes apart.
std::vector<MeanGap> mean_gaps(const Comparison& all);

/// A layer in which a kind takes a larger part of the time than of the multiply-adds.
struct Above {
  const CompareLayer* layer = nullptr;
  const CompareRow* row = nullptr;
  double gap = 0;
  std::string why;
};
/// By more than `tolerance`, the worst first; the reasons follow from the bounds of the rows.
std::vector<Above> layers_above(const Comparison& all, const Op& op, double tolerance = 0.05);

/// "GSConv has 55 % of the MACs of SC over these 10 layers and takes 59 % of its time in inference ...", or why nothing
/// can be said.
std::string conclusion(const Comparison& all);

}  // namespace slimneck::cli
