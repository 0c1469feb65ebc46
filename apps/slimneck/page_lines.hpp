// Line charts and the confusion matrix for pages, as SVG in the page's colours.
#pragma once

#include <string>

#include "slimneck/metrics.hpp"
#include "slimneck/plot.hpp"

namespace slimneck::cli {

/// The chart as a figure. Lines of few points have a mark at each, which tells its numbers.
std::string line_figure(const Chart& chart);

/// The confusion matrix as a table: each column as parts of its true class. Up to 50 classes; more: nothing.
std::string confusion_table(const ConfusionMatrix& matrix, std::span<const std::string> names);

}  // namespace slimneck::cli
