// The rewrites that know particular ops; one file each.
#pragma once

#include "graph/rewrite.hpp"

namespace slimneck::rewrites {

/// Does a batch_norm node keep running statistics? Only a state may be written.
inline bool has_memory(const Graph& graph, const Node& norm) {
  return graph.node(norm.inputs[3]).role == Role::state && graph.node(norm.inputs[4]).role == Role::state &&
         graph.node(norm.inputs[5]).role == Role::state;
}

#define SN_REWRITE(name) extern const graph::Rewrite name;
#include "layers/rewrites/rewrites.inc"
#undef SN_REWRITE

}  // namespace slimneck::rewrites
