// The layers of a model as a table.
#pragma once

#include <string>

#include "slimneck/model.hpp"

namespace slimneck::cli {

/// YOLOv5's table, and behind it what its own leaves out.
std::string model_table(const Model& model, const ModelStats& stats);

}  // namespace slimneck::cli
