// Runs of plans as a file that chrome://tracing and Perfetto show.
#pragma once

#include <string>
#include <vector>

#include "slimneck/plan.hpp"

namespace slimneck::cli {

struct Traced {
  std::string name;
  const std::vector<PlanStep>* steps = nullptr;
  const Timeline* timeline = nullptr;  ///< of one run
};

/// Each run is a process with a row for the forward and one for the backward. Throws IoError.
void write_trace(const std::string& path, const std::vector<Traced>& runs);

}  // namespace slimneck::cli
