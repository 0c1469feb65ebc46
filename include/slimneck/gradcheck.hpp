// Are the gradients derivatives? Central differences and adjoint identities in double precision, on the reference plan.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "slimneck/plan.hpp"

namespace slimneck {

/// How derivatives are tried.
struct GradientCheckOptions {
  std::uint64_t seed = 1;  ///< of the numbers that are drawn
  double epsilon =
      1e-6;  ///< step of the central difference; divided by the root of their count when all numbers move at once
  double absolute = 1e-5;       ///< allowed |numeric - analytic| ...
  double relative = 1e-3;       ///< ... plus this times |analytic|
  index_t every_element = 200;  ///< up to so many numbers each one is moved alone; beyond, random directions are taken
  int directions = 8;           ///< how many random directions
  bool initialise = true;       ///< draw parameters in -1..1 (variances and gammas positive); else leave what there is
};

/// What a check found.
struct GradientCheckResult {
  index_t samples = 0;       ///< derivatives compared
  double worst = 0;          ///< largest |numeric - analytic| / (absolute + relative |analytic|); passed when <= 1
  std::string worst_at;      ///< name of the input or parameter
  int linear_operands = 0;   ///< operands in which the graph is linear: checked without differences, too
  double worst_adjoint = 0;  ///< largest |<y,g> - <x,dx>| / sum |y g| over them
  /// Something was compared, and nothing was beyond its tolerance.
  [[nodiscard]] bool passed() const noexcept { return samples > 0 && worst <= 1 && worst_adjoint <= 1e-9; }
};

/// Checks d(sum of results times random weights) / d(inputs and parameters) of the graph in training.
/// parameters must be f64; its values are restored.
SLIMNECK_EXPORT GradientCheckResult check_gradients(const Graph& graph, Parameters& parameters,
                                                    const GradientCheckOptions& options = {});

/// A graph of the op alone: every operand an input, the outputs that carry a gradient the results "y", "y1", ...
SLIMNECK_EXPORT Graph graph_of_case(const OpDef& op, const OpCase& example);

}  // namespace slimneck
