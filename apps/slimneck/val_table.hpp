// The table of a validation, as YOLOv5 prints it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "slimneck/metrics.hpp"

namespace slimneck::cli {

/// A line of the table: of all classes, or of one.
struct ValRow {
  int cls = -1;  ///< its number; -1: all
  std::string name;
  index_t images = 0, labels = 0;
  double p = 0, r = 0, ap50 = 0, ap = 0;
};

/// The row of all classes, then those of the classes that have labels. With `coco` the average precisions are COCO's.
std::vector<ValRow> val_rows(const Metrics& metrics, const CocoMetrics* coco, std::span<const std::string> names);

/// The line above the rows, and a row, each without a line's end.
std::string val_head();
std::string val_line(const ValRow& row);

}  // namespace slimneck::cli
