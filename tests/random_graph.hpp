// Random graphs for tests of plans: a seed decides everything. The text says how a graph was made, for messages.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "slimneck/graph.hpp"

namespace slimneck::test {

struct RandomGraph {
  Graph graph;
  std::string text;
  std::set<std::string_view> made_of;  ///< names of modules, or of ops
};

/// Three to eight modules of the library's list, between them sums and slices, in one dialect with one activation.
/// Values have several readers; every batch norm sees at least eight values, because over fewer it mostly amplifies
/// rounding.
RandomGraph random_modules(std::uint64_t seed);

/// Convolutions, and ops that move, add and compare: exact on small whole numbers.
RandomGraph random_integers(std::uint64_t seed);

}  // namespace slimneck::test
