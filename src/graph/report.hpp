// What a program is made of, as data: steps, pieces of the arena, sums.
#pragma once

#include <vector>

#include "graph/program.hpp"

namespace slimneck::graph {

std::vector<PlanStep> steps_of(const Program& program, const Parameters& parameters, DType type);
std::vector<PlanBuffer> buffers_of(const Program& program, DType type);
PlanStats stats(const Program& program, const std::vector<PlanStep>& steps, DType type);

/// PlanStats::arena_lower_bound.
std::size_t arena_lower_bound(const Program& program, DType type);

}  // namespace slimneck::graph
