// A network as a page shows it: its modules as a tree, each with its multiply-adds and time, and the plan's memory.
#pragma once

#include <string>
#include <vector>

#include "slimneck/model.hpp"
#include "slimneck/plan.hpp"

namespace slimneck::cli {

/// Median milliseconds of the steps of a plan, from runs of it.
struct StepTimes {
  std::vector<PlanStep> steps;
  std::vector<double> ms;
};
StepTimes time_steps(Plan& plan, bool train, int runs);

/// The sections "Network" and "Memory".
std::string network_sections(const Model& model, const Plan& plan, const StepTimes& times);

}  // namespace slimneck::cli
