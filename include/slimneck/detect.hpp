// From decoded network rows to detections.
#pragma once

#include <span>
#include <vector>

#include "slimneck/export.hpp"
#include "slimneck/image.hpp"
#include "slimneck/tensor.hpp"

namespace slimneck {

/// A found object: corners in pixels, score 0..1, class number.
struct Detection {
  float x1 = 0, y1 = 0, x2 = 0, y2 = 0, score = 0;                       ///< left, top, right, bottom; confidence
  int cls = 0;                                                           ///< number of its class, from 0
  friend bool operator==(const Detection&, const Detection&) = default;  ///< equal in every member
};

/// What suppression keeps; YOLOv5's names and defaults.
struct NmsOptions {
  float conf = 0.25F;        ///< objectness and score must exceed this
  float iou = 0.45F;         ///< a box is dropped when it overlaps a better one by more than this
  std::vector<int> classes;  ///< keep only these; empty: all
  bool agnostic = false;     ///< boxes of different classes suppress each other, too
  bool multi_label = false;  ///< a row gives one detection per class above conf, not only its best class
  index_t max_det = 300;     ///< most detections returned
  index_t max_nms = 30000;   ///< most candidates considered, best scores first
  float max_wh = 7680;       ///< classes are kept apart by moving boxes class * max_wh pixels
};

/// Non-maximum suppression for one picture. `pred` is 1 x 1 x rows x (5 + classes): centre x, y, width, height
/// (pixels), objectness, class probabilities; any strides. Returns detections by falling score; equal scores keep the
/// order of rows, then classes. All arithmetic is float32 in the order of YOLOv5's, so the result is the same to the
/// last bit. Rows whose score is NaN or whose box is not finite are never kept. Throws ShapeError on another shape and
/// on options out of range (conf and iou in 0..1, limits not negative).
SLIMNECK_EXPORT std::vector<Detection> non_max_suppression(View<const float> pred, const NmsOptions& options = {});

/// Moves detections from the pixels of a net_h x net_w letterboxed input back to those of its h x w picture, and cuts
/// them at its edges, in float32 as YOLOv5 does.
SLIMNECK_EXPORT void scale_boxes(std::span<Detection> detections, index_t net_h, index_t net_w, index_t h, index_t w);
/// The same where it is known how the picture came into its input: as YOLOv5 does in validation, by the ratio of its
/// height before and after scaling.
SLIMNECK_EXPORT void scale_boxes(std::span<Detection> detections, const Letterbox& geometry, index_t h, index_t w);

}  // namespace slimneck
