// The numbers that steer a training: YOLOv5's hyp.yaml.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "slimneck/export.hpp"
#include "slimneck/tensor.hpp"

namespace slimneck {

/// YOLOv5's 28 hyperparameters under its names; the defaults are those of its hyp.scratch-low.yaml.
struct Hyp {
  double lr0 = 0.01;              ///< learning rate after the warm-up
  double lrf = 0.01;              ///< the last epoch's learning rate is about lr0 * lrf
  double momentum = 0.937;        ///< of SGD; beta1 of Adam
  double weight_decay = 5e-4;     ///< of convolution weights, for a batch of 64
  double warmup_epochs = 3;       ///< at least 100 steps are warm-up
  double warmup_momentum = 0.8;   ///< at its begin
  double warmup_bias_lr = 0.1;    ///< at its begin, of biases
  double box = 0.05;              ///< gain of the box loss
  double cls = 0.5;               ///< gain of the class loss, for 80 classes
  double cls_pw = 1;              ///< weight of positive examples in the class loss
  double obj = 1;                 ///< gain of the objectness loss, for pictures of 640 pixels
  double obj_pw = 1;              ///< weight of positive examples in the objectness loss
  double iou_t = 0.2;             ///< not used by YOLOv5's loss either: files have it
  double anchor_t = 4;            ///< an anchor fits a box when no side differs by this factor
  double fl_gamma = 0;            ///< focal loss; 0: none
  double hsv_h = 0.015;           ///< greatest change of the hue, a fraction
  double hsv_s = 0.7;             ///< of the saturation
  double hsv_v = 0.4;             ///< of the value
  double degrees = 0;             ///< greatest rotation
  double translate = 0.1;         ///< greatest shift, a fraction of the picture
  double scale = 0.5;             ///< greatest change of size, a fraction
  double shear = 0;               ///< degrees
  double perspective = 0;         ///< 0..0.001
  double flipud = 0;              ///< probability
  double fliplr = 0.5;            ///< probability
  double mosaic = 1;              ///< probability
  double mixup = 0;               ///< probability
  double copy_paste = 0;          ///< must be 0: it needs outlines, and labels here are boxes
  std::optional<double> anchors;  ///< anchors per level, to be found from the data

  friend bool operator==(const Hyp&, const Hyp&) = default;  ///< equal in every number
};

/// The hyperparameters in a YAML text: each of the 28 exactly once, and `anchors` if wanted. `file_name` is for
/// messages. Throws FormatError "FILE:LINE:COLUMN: cause" on a missing, unknown or repeated key and on a number out of
/// its range.
SLIMNECK_EXPORT Hyp parse_hyp(std::string_view yaml, std::string_view file_name);

/// Throws ShapeError "hyperparameters: NAME is VALUE; wanted a number in A..B" where a number that a program set is
/// none that a file may have.
SLIMNECK_EXPORT void check_hyp(const Hyp& hyp);

/// What parse_hyp reads back to the last bit.
SLIMNECK_EXPORT std::string write_hyp(const Hyp& hyp);

}  // namespace slimneck
