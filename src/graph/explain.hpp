// What a program does, in words and numbers.
#pragma once

#include <string>
#include <vector>

#include "graph/program.hpp"

namespace slimneck::graph {

std::string explain(const Program& program, const std::vector<PlanStep>& steps, const PlanStats& stats,
                    const PlanOptions& options);

}  // namespace slimneck::graph
