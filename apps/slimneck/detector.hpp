// From a picture to detections, as YOLOv5's detect goes.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli.hpp"
#include "slimneck/augmented.hpp"
#include "slimneck/detect.hpp"
#include "slimneck/image.hpp"

namespace slimneck::cli {

struct DetectorOptions {
  ModelArguments model;
  NmsOptions nms{.classes = {}, .max_det = 1000};
  bool square = false;   ///< pad to the whole of --img
  bool augment = false;  ///< look three times
  std::string data;      ///< a data.yaml with the names of the classes; empty: the weights have them
  ExecArguments exec;
};

/// Milliseconds.
struct Times {
  double pre = 0, inference = 0, nms = 0;
};

struct Found {
  std::vector<Detection> detections;
  Times ms;
  index_t net_h = 0, net_w = 0;  ///< extents of the network's input
};

/// Plans are kept by the size of the network's input.
class Detector {
 public:
  /// Throws as open_model does, and when model and options do not fit together.
  explicit Detector(const DetectorOptions& options);

  Found operator()(const Image& image);

  [[nodiscard]] const std::string& name(int cls) const { return names_[static_cast<std::size_t>(cls)]; }
  /// "4 persons, 1 bus, "
  [[nodiscard]] std::string summary(const Found& found) const;
  /// The shape that --img asks for; a picture's own may be smaller.
  [[nodiscard]] const Shape& input() const noexcept { return input_; }

 private:
  const DetectorOptions& options_;
  OpenModel open_;
  Parameters parameters_;
  Shape input_;
  std::vector<std::string> names_;
  std::optional<PlanCache> plans_;
  std::optional<AugmentedPlans> augmented_;
};

}  // namespace slimneck::cli
