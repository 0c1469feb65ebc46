// A comparison as text, JSON and CSV.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "compare_run.hpp"

namespace slimneck::cli {

/// Machine, instruction set, peaks: what every number belongs to.
std::string machine_text(const Comparison& all);

/// A line for each layer, in tables of at most 100 columns: one where the kinds fit, else several.
std::string summary(const Comparison& all);

/// Everything about one layer: counts, the paper's formulas, and a line for each kind and pass.
std::string details(const Comparison& all, const CompareLayer& layer);

/// Geometric means over the layers, those above them, and what was left out.
std::string model_text(const Comparison& all);

nlohmann::ordered_json json_of(const Comparison& all);
/// Its "rows", a line each.
std::string csv_of(const nlohmann::ordered_json& comparison);

}  // namespace slimneck::cli
