// Pictures of how training and evaluation went: charts, the confusion matrix, labels, mosaics of a batch. They are what
// YOLOv5 saves under the names given here. Text is ASCII; other bytes show as '?'.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "slimneck/detect.hpp"
#include "slimneck/export.hpp"
#include "slimneck/image.hpp"
#include "slimneck/metrics.hpp"

namespace slimneck {

/// A line of a chart.
struct Series {
  std::string name;          ///< in the legend; empty: not listed there
  std::vector<double> x, y;  ///< as many of both; a number that is not finite makes a gap
  bool important = false;    ///< drawn thick, over the others
  bool quiet = false;        ///< drawn thin and grey
};

/// Low and high end of an axis.
using Range = std::array<double, 2>;

/// Lines over a common axis.
struct Chart {
  std::string title, x_label, y_label;    ///< may be empty
  std::vector<Series> series;             ///< in the order of their colours
  std::optional<Range> x_range, y_range;  ///< empty: what the numbers need
};

/// The chart with axes, ticks and, where series have names, a legend. Throws ShapeError on extents below 200 x 150 or
/// above Image's, and when a series' x and y differ in length.
SLIMNECK_EXPORT Image plot_chart(const Chart& chart, index_t width = 1200, index_t height = 800);

/// What a curve of `Metrics` is over: confidence, the last one recall.
enum class MetricCurve : std::uint8_t { f1, precision, recall, precision_recall };

/// F1_curve.png, P_curve.png, R_curve.png and PR_curve.png: every class (up to 20 by name, more in grey) and the mean.
/// `names` of classes; those that lack one show as their number.
SLIMNECK_EXPORT Image plot_metric(const Metrics& metrics, MetricCurve curve, std::span<const std::string> names);

/// results.png from the text of a results.csv: ten panels with losses and metrics over epochs, and each smoothed.
/// `file_name` is for messages. Throws FormatError "FILE:LINE: cause" unless it has YOLOv5's columns and at least one
/// row, all of them numbers; or more than 1000000 rows.
SLIMNECK_EXPORT Image plot_results(std::string_view csv, std::string_view file_name);

/// confusion_matrix.png: predicted over true classes, each column as parts of its class; numbers below 30 classes.
SLIMNECK_EXPORT Image plot_confusion(const ConfusionMatrix& matrix, std::span<const std::string> names);

/// A label as parts of its picture: class, centre, size.
struct PlottedLabel {
  int cls = 0;                       ///< number of its class
  float x = 0, y = 0, w = 0, h = 0;  ///< 0..1
};

/// labels.jpg: how many labels each class has, the boxes around one centre, where centres lie, how large boxes are.
SLIMNECK_EXPORT Image plot_labels(std::span<const PlottedLabel> labels, std::span<const std::string> names);

/// labels_correlogram.jpg: how x, y, width and height of the labels are spread, and each pair of them together.
SLIMNECK_EXPORT Image plot_labels_correlogram(std::span<const PlottedLabel> labels);

/// One picture of a mosaic.
struct Tile {
  Image image;                   ///< as the network sees it
  std::string caption;           ///< its file, as a rule
  std::vector<Detection> boxes;  ///< in pixels of `image`
};

/// train_batchN.jpg, val_batchN_labels.jpg and val_batchN_pred.jpg: the first 16 tiles in a square, with their boxes
/// and class names, and the scores where `scores` says so. Not larger than 1920 pixels. Throws ShapeError without
/// tiles.
SLIMNECK_EXPORT Image plot_mosaic(std::span<const Tile> tiles, std::span<const std::string> names, bool scores);

}  // namespace slimneck
