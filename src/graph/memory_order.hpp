// Memory before anything is lowered: the order of a graph's nodes, and which values the backward computes again.
#pragma once

#include "graph/program.hpp"

namespace slimneck::graph {

/// Takes another order of the nodes, forward and backward each within its segment, where that needs clearly less
/// memory; names it in program.order.
void choose_order(Program& program, Mode mode);

/// Training: as long as more than `most` elements must be kept at once, the largest value that would help is computed
/// again in the backward, just before it is read first. Notes what was chosen in the program.
void choose_recomputed(Program& program, std::size_t most);

}  // namespace slimneck::graph
