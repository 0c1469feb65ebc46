// What is known of a network's maps before any of their memory exists: in which order their channels lie, where they
// may lie side by side, how long they are needed.
#pragma once

#include <vector>

#include "slimneck/graph.hpp"

namespace slimneck::bench::onednn {

struct WiringOptions {
  bool free_shuffles = false;  ///< shuffles only rename channels, and weights follow; else channels are in order
  bool join_sums = false;      ///< the last convolution before a sum computes it, too
  index_t block = 0;           ///< of channels: parts of a concat lie in it where they are whole blocks; 0: nowhere
};

struct Wiring {
  /// Channels from `channel` on of the memory of node `root`; no root: memory of its own.
  struct Home {
    int root = -1;
    index_t channel = 0;
    friend bool operator==(const Home&, const Home&) = default;
  };
  /// All by node. Nodes of these graphs have one output each.
  std::vector<char> needed;
  std::vector<int> last_use;                 ///< the last node that reads it; the graph's size for results
  std::vector<std::vector<index_t>> orders;  ///< logical channel in each place
  std::vector<Home> homes;
  std::vector<int> joined;     ///< of a sum: the convolution that computes it; else -1
  std::vector<int> runs_at;    ///< of a convolution: the node at whose turn it runs, itself or a sum
  std::vector<char> in_place;  ///< of a sum: may overwrite its other operand
  std::vector<char> pieces;    ///< of a concat: its parts are pieces of its memory
};

/// Throws Error where operands of a sum have their channels in different orders, and no convolution can be told to
/// follow.
Wiring wire(const Graph& graph, const WiringOptions& options);

}  // namespace slimneck::bench::onednn
