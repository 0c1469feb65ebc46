// What the engine is given by the layers: it names no op itself.
#pragma once

#include <span>

#include "slimneck/op.hpp"

namespace slimneck::graph {

struct Rewrite;

/// In the order in which they run (src/layers/rewrites/rewrites.inc); those after differentiation come last.
std::span<const Rewrite> rewrites() noexcept;

/// Elementwise a + b: the gradient of a value that several nodes read is the sum of theirs.
const OpDef& sum_op() noexcept;

}  // namespace slimneck::graph
