// How good detections are: average precision by the rules of YOLOv5, COCO and Pascal VOC, and the confusion matrix.
// Equal scores keep the order of pictures, then of detections; a score that is NaN comes last.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "slimneck/detect.hpp"
#include "slimneck/export.hpp"
#include "slimneck/tensor.hpp"

namespace slimneck {

/// An object that is really there: corners in pixels of the picture that detections are in, too.
struct Truth {
  int cls = 0;                           ///< number of its class, from 0
  float x1 = 0, y1 = 0, x2 = 0, y2 = 0;  ///< left, top, right, bottom
  bool crowd = false;                    ///< COCO's iscrowd: many objects in one box
  double area = -1;                      ///< of the object's outline, in square pixels; negative: the box's
};

/// One picture: what was found and what is there.
struct Judged {
  std::vector<Detection> detections;  ///< in any order
  std::vector<Truth> truth;           ///< in any order
};

// ---- YOLOv5's rule --------------------------------------------------------------------------------------------------

inline constexpr std::size_t iou_steps = 10;       ///< IoU 0.5, 0.55 ... 0.95
inline constexpr std::size_t curve_points = 1000;  ///< evenly over 0..1, both ends included

/// A figure at every curve point.
using Curve = std::vector<double>;

/// One class of which there are labels.
struct ClassMetrics {
  int cls = 0;                         ///< its number
  index_t labels = 0;                  ///< objects of it
  double p = 0, r = 0, f1 = 0;         ///< at the common confidence, IoU 0.5
  std::array<double, iou_steps> ap{};  ///< at each IoU
  Curve precision, recall, f1_curve;   ///< over the confidence, IoU 0.5
  Curve precision_at_recall;           ///< over the recall, IoU 0.5

  /// At IoU 0.5.
  [[nodiscard]] double ap50() const noexcept { return ap.front(); }
  /// Mean over 0.5 to 0.95.
  [[nodiscard]] SLIMNECK_EXPORT double ap50_95() const noexcept;
};

/// YOLOv5's one number to choose weights by: 0.1 mAP50 + 0.9 mAP50-95.
[[nodiscard]] constexpr double fitness_of(double map50, double map50_95) noexcept {
  return 0.1 * map50 + 0.9 * map50_95;
}

/// Means over the classes that have labels; 0 where there are none.
struct Metrics {
  index_t images = 0, labels = 0;     ///< that were judged
  double p = 0, r = 0, f1 = 0;        ///< at `confidence`
  double map50 = 0, map50_95 = 0;     ///< mean average precision at IoU 0.5, and over 0.5 to 0.95
  double confidence = 0;              ///< where the smoothed mean F1 is highest
  std::vector<ClassMetrics> classes;  ///< that have labels, in the order of their numbers

  /// What weights are chosen by.
  [[nodiscard]] double fitness() const noexcept { return fitness_of(map50, map50_95); }
};

/// YOLOv5's rule (version 7), in float32 where it is: at each IoU a detection goes to the label of its class that it
/// overlaps most, and of several the one of the highest score is right. AP is the area under the envelope of precision,
/// interpolated at 101 recalls. Crowds are left out, as they are of YOLO's label files.
SLIMNECK_EXPORT Metrics yolov5_metrics(std::span<const Judged> pictures);

/// Which of one picture's detections are right at each IoU, in the order of `detections`.
SLIMNECK_EXPORT std::vector<std::array<bool, iou_steps>> match_yolov5(const Judged& picture);

/// Area under the curve that falling scores give, `recall` rising: YOLOv5's 101-point interpolation. Throws ShapeError
/// when the two differ in length.
SLIMNECK_EXPORT double average_precision(std::span<const double> recall, std::span<const double> precision);

// ---- COCO's rule ----------------------------------------------------------------------------------------------------

/// Average precision of one class.
struct CocoClass {
  int cls = 0;              ///< its number
  double ap = 0, ap50 = 0;  ///< over IoU 0.5 to 0.95, and at 0.5; -1 where all its objects are crowds
};

/// The twelve figures of COCO's evaluation; -1 where nothing is to be found.
struct CocoMetrics {
  /// What they are called, in COCO's order.
  static constexpr std::array<std::string_view, 12> names{"AP",  "AP50", "AP75",  "APsmall", "APmedium", "APlarge",
                                                          "AR1", "AR10", "AR100", "ARsmall", "ARmedium", "ARlarge"};
  std::array<double, 12> figures{};  ///< under those names
  std::vector<CocoClass> classes;    ///< that have labels, in the order of their numbers

  /// Mean over IoU 0.5 to 0.95.
  [[nodiscard]] double ap() const noexcept { return figures[0]; }
  /// At IoU 0.5.
  [[nodiscard]] double ap50() const noexcept { return figures[1]; }
};

/// COCO's rule for boxes, with the figures of pycocotools: detections in falling score take the free object that they
/// overlap most; precision is read at 101 recalls; at most 1, 10 or 100 detections a class and picture; small is below
/// 32 x 32 pixels, large above 96 x 96; what hits a crowd or an object of another size counts neither way.
SLIMNECK_EXPORT CocoMetrics coco_metrics(std::span<const Judged> pictures);

// ---- Pascal VOC's rule ----------------------------------------------------------------------------------------------

/// How VOC's precision-recall curve becomes a number.
enum class VocPoints : std::uint8_t {
  eleven,  ///< until 2009: mean of the envelope at recall 0, 0.1 ... 1
  every    ///< since 2010: area under the envelope
};

/// Average precision of class `cls` at the overlap `iou`, by Pascal VOC's rule: boxes hold their last pixel, a
/// detection goes to the object that it overlaps most, and only the first is right. Without such objects: 0.
SLIMNECK_EXPORT double voc_average_precision(std::span<const Judged> pictures, int cls, double iou, VocPoints points);

// ---- Confusion matrix -----------------------------------------------------------------------------------------------

/// Which class was taken for which, by YOLOv5's rule: detections above `conf`, of any class, go to the labels that they
/// overlap most, above `iou`. As there, detections beside every label of a picture count as background only where
/// another one of that picture hit a label.
class SLIMNECK_EXPORT ConfusionMatrix {
 public:
  /// For classes 0..classes-1; throws ShapeError unless there is at least one.
  explicit ConfusionMatrix(index_t classes, float conf = 0.25F, float iou = 0.45F);

  /// Counts one more picture. Throws ShapeError on a class number that is out of range; nothing is counted then.
  void add(const Judged& picture);

  /// Without background.
  [[nodiscard]] index_t classes() const noexcept { return classes_; }
  /// Objects of class `truth` that were found as class `predicted`. Class number classes() is the background: objects
  /// that were missed, detections where nothing is.
  [[nodiscard]] index_t count(index_t predicted, index_t truth) const;

 private:
  index_t classes_;
  float conf_, iou_;
  std::map<std::pair<index_t, index_t>, index_t> counts_;  // by predicted and true class; most pairs never occur
};

}  // namespace slimneck
