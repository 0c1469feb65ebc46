// The layers of a model as a table.
#pragma once

#include "slimneck/model.hpp"

namespace slimneck::cli {

/// Prints YOLOv5's table, and behind it what its own leaves out.
void print_model_table(const Model& model, const ModelStats& stats);

}  // namespace slimneck::cli
