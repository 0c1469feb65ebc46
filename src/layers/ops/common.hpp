// What the op files share: shape checks with one wording, and the spelling of common tables.
#pragma once

#include <initializer_list>
#include <string>

#include "slimneck/graph.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::ops {

using Kind = AttributeSpec::Kind;
using Shapes = std::span<const Shape>;

/// An operand that was left out has this shape.
inline bool absent(const Shape& s) { return s.n == 0 && s.c == 0; }

inline void require_inputs(Shapes inputs, std::size_t least, std::size_t most) {
  if (inputs.size() < least || inputs.size() > most)
    throw ShapeError(std::to_string(inputs.size()) + " inputs came, " + std::to_string(least) +
                     (most == least ? "" : " to " + std::to_string(most)) + " are wanted");
}

inline void require_shape(const char* what, const Shape& came, const Shape& wanted) {
  if (!(came == wanted))
    throw ShapeError(std::string(what) + " is " + to_string(came) + ", wanted " + to_string(wanted));
}

/// One number per channel of x.
inline Shape channel_vector(const Shape& x) { return {1, x.c, 1, 1}; }

inline void require_at_least(const char* what, index_t came, index_t least) {
  if (came < least)
    throw ShapeError(std::string(what) + " is " + std::to_string(came) + ", wanted at least " + std::to_string(least));
}

/// Geometry beyond this has no meaning for a picture, and below it no sum of a few terms overflows.
inline constexpr index_t largest_extent = index_t{1} << 31;

inline void require_at_most(const char* what, index_t came, index_t most = largest_extent) {
  if (came > most)
    throw ShapeError(std::string(what) + " is " + std::to_string(came) + ", wanted at most " + std::to_string(most));
}

/// The activation that attributes "act" (a kernels::Act) and "slope" name; throws ShapeError when there is no such one.
kernels::Activation activation_attribute(const Attributes& a);

/// OpDef::in_place of ops that may write over their first input.
inline constexpr std::size_t first_input[] = {0};

/// OpDef::recompute of ops that simply run again.
inline Recipe run_again(const Node& node, int /*self*/, int /*output*/) {
  return {node.op, node.inputs, node.attributes};
}

inline std::string_view elementwise_maps(const Attributes&, Shapes inputs) {
  return inputs.size() == 1 ? "-a>-a" : "-a,-a>-a";
}

}  // namespace slimneck::ops
