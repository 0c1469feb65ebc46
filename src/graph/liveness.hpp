// Which values must be kept at once when a graph runs in its order, in logical elements: no padding, holes or copies.
#pragma once

#include <vector>

#include "slimneck/graph.hpp"

namespace slimneck::graph {

/// A value and the nodes, first to last, at which it must be there. A concat is no value: its parts are; a value that
/// only slices and shuffles read is what those see of it.
struct Life {
  Value value;
  int first = 0, last = 0;
  index_t elements = 0;
};

struct Liveness {
  std::vector<Life> lives;
  std::vector<index_t> elements;  ///< at each node
  [[nodiscard]] index_t peak() const;
};

/// Flags of the nodes that outputs, running statistics and gradients need.
std::vector<char> running(const Graph& graph);

/// The forward segment is what outputs and running statistics need, and stands before the rest: the number of nodes up
/// to its last one.
int forward_nodes(const Graph& graph);

/// Computed nodes that depend on parameters and state alone.
std::vector<char> constants(const Graph& graph);

/// Flags of the nodes whose output is other values, put together or looked at.
std::vector<char> movements(const Graph& graph);

/// Values that leave the graph do not count: they lie where the caller reads them. A node that may write over an
/// operand whose last reader it is does.
Liveness liveness(const Graph& graph, const std::vector<char>& running, const std::vector<char>& movement);

}  // namespace slimneck::graph
