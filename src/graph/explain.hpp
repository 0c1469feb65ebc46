// What a program does, in words and numbers.
#pragma once

#include <string>

#include "graph/program.hpp"

namespace slimneck::graph {

std::string explain(const Program& program, const PlanOptions& options);
PlanStats stats(const Program& program, const PlanOptions& options);

}  // namespace slimneck::graph
