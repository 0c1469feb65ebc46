// Charts of a comparison, as SVG. Every mark names its row in data-layer, data-op and data-pass, has its numbers in
// data-x and data-y as the JSON has them, and says all of it to whoever points at it or comes by with the keyboard.
#pragma once

#include <string>

#include "compare_run.hpp"

namespace slimneck::cli {

/// Shapes and colours of the kinds.
std::string legend(const Comparison& all);

/// Part of SC's multiply-adds against part of its time, with the diagonal on which both are saved alike.
std::string scatter_chart(const Comparison& all, Pass pass);

/// Part of SC's time, a bar for each layer and kind, with a mark where its multiply-adds end.
std::string bar_chart(const Comparison& all, Pass pass);

/// FLOPs for each byte moved against GFLOP/s, under the roofs of arithmetic and of each level of memory.
std::string roofline_chart(const Comparison& all, Pass pass);

/// A picture of its own: parts of SC's multiply-adds and time, all layers together. `subject` says what they are of.
std::string summary_picture(const Comparison& all, const std::string& subject);

/// "inference", "backward", "training step".
std::string long_name(Pass pass);

}  // namespace slimneck::cli
