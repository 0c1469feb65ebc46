// YOLOv5's detection loss, with its gradient.
//
// For each level (a map of cells) and each labelled box: every anchor whose sides differ from the box's by less than a
// factor is responsible for it, in the cell of the box's centre and in the two neighbours that are nearest to it. Then
//   box loss         mean over the responsible (cell, anchor) pairs of 1 - q, q = CIoU or EIoU of predicted box and
//   label objectness loss  mean over all cells of BCE with the target max(q, 0), or 0 where no pair is responsible
//   class loss       mean over responsible pairs and classes of BCE with the label's class
//   loss = batch * sum over levels of (gain_box box + gain_obj balance_level obj + gain_cls cls)
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "slimneck/export.hpp"
#include "slimneck/hyp.hpp"
#include "slimneck/tensor.hpp"

namespace slimneck {

/// A labelled box of a batch: `image` counts within the batch, the box is in parts of the network's input.
struct BoxTarget {
  int image = 0;                                                         ///< which picture of the batch
  int cls = 0;                                                           ///< number of its class
  float x = 0, y = 0, w = 0, h = 0;                                      ///< centre and size, 0..1
  friend bool operator==(const BoxTarget&, const BoxTarget&) = default;  ///< equal in every member
};

/// Which measure of overlap the box loss takes.
/// ciou: complete IoU, YOLOv5's (Zheng et al. 2020). eiou: efficient IoU (Zhang et al. 2021), with which Slim-Neck's
/// authors trained.
enum class BoxLoss : std::uint8_t { ciou, eiou };

/// A measure of overlap and its derivatives.
struct Overlap {
  double value = 0;               ///< 1 for equal boxes, below 0 for distant ones
  std::array<double, 4> slope{};  ///< with respect to the first box's centre x, y, width, height
};

/// Of two boxes given as centre x, y, width, height; the first one's sides are above 0. In CIoU the weight of the
/// aspect term is held constant, as YOLOv5 does.
SLIMNECK_EXPORT Overlap overlap(BoxLoss measure, const std::array<double, 4>& box, const std::array<double, 4>& label);

/// A loss per element and its derivative with respect to the logit.
struct Entropy {
  double value = 0, slope = 0;  ///< the loss; its derivative
};

/// Binary cross-entropy of a logit with a target in 0..1; positive examples count `positive` times. With gamma > 0 the
/// focal loss of it (alpha 0.25).
SLIMNECK_EXPORT Entropy binary_entropy(double logit, double target, double positive, double gamma);

/// What the loss is made with.
struct LossOptions {
  double box = 0.05, obj = 1, cls = 0.5;  ///< gains, as they multiply
  double obj_pw = 1, cls_pw = 1;          ///< weights of positive examples
  double anchor_t = 4;                    ///< factor by which a side of a box may differ from its anchor's
  double fl_gamma = 0;                    ///< focal loss
  double label_smoothing = 0;             ///< class targets are 1 - half of it and half of it
  BoxLoss measure = BoxLoss::ciou;        ///< of the box loss
  bool autobalance = false;               ///< each training step moves the levels' balance towards equal losses
};

/// The options that hyperparameters give for a network of `levels` levels, for pictures of img pixels: YOLOv5 scales
/// its gains by the number of levels and of classes, and by the picture's area.
SLIMNECK_EXPORT LossOptions loss_options(const Hyp& hyp, index_t levels, index_t classes, index_t img);

/// The loss of a batch in its parts, with their gains, without the factor of the batch.
struct LossParts {
  double box = 0, obj = 0, cls = 0;                                      ///< sums over the levels
  [[nodiscard]] double sum() const noexcept { return box + obj + cls; }  ///< the loss of a batch of one
  friend bool operator==(const LossParts&, const LossParts&) = default;  ///< equal in every part
};

/// What the loss of a part of a batch needs of the whole batch, and what it gives for it.
struct BatchShare {
  index_t batch = 0;               ///< pictures of the whole batch
  std::vector<double> pairs;       ///< responsible pairs of the whole batch in each level
  std::vector<double> objectness;  ///< each level's objectness loss without gains, as far as this part makes it
};

/// A (cell, anchor) pair that is responsible for a label.
struct Match {
  int image = 0, anchor = 0, cell_y = 0, cell_x = 0, cls = 0;  ///< where the prediction lies; the label's class
  std::array<double, 4> box{};  ///< the label in cells: centre relative to the cell's corner, width, height
};

/// The loss of one network. Not for several threads at a time when autobalance is on.
class SLIMNECK_EXPORT DetectionLoss {
 public:
  /// anchors in pixels, width and height in turn, for each level; strides in pixels. Throws ShapeError when they do not
  /// belong together.
  DetectionLoss(const std::vector<std::vector<double>>& anchors, std::span<const index_t> strides, index_t classes,
                const LossOptions& options);

  /// The loss of raw results, one n x anchors*(5+classes) x h x w view for each level, any strides. Each target's image
  /// is below n and its class below `classes`. `gradients`: empty, or a view for each level, which receives the
  /// derivative of the loss (with the factor of the batch). The numbers are computed in double (the pairs, as YOLOv5
  /// does, in T) and do not depend on the number of threads. Throws ShapeError when something does not fit.
  template <class T>
  LossParts operator()(std::span<const View<const T>> heads, std::span<const BoxTarget> targets,
                       std::span<const View<T>> gradients = {});

  /// As the above for a part of a batch: losses and gradients are this part's share of the whole batch's, and their
  /// sums over the parts are what the whole batch gives. The balance is not moved: rebalance() does it.
  template <class T>
  LossParts part(std::span<const View<const T>> heads, std::span<const BoxTarget> targets,
                 std::span<const View<T>> gradients, BatchShare& share) const;
  /// Moves the balance, with autobalance, by the objectness losses of a whole batch.
  void rebalance(std::span<const double> objectness);

  /// The pairs of one level with rows x columns cells, in YOLOv5's order: by neighbour, anchor, target.
  template <class T>
  [[nodiscard]] std::vector<Match> match(std::size_t level, index_t rows, index_t columns,
                                         std::span<const BoxTarget> targets) const;

  /// Weights of the levels' objectness losses, which autobalance changes.
  [[nodiscard]] std::vector<double>& balance() noexcept { return balance_; }

 private:
  template <class T>
  LossParts level_loss(std::size_t level, View<const T> head, std::span<const BoxTarget> targets,
                       const View<T>* gradient, const BatchShare& share, double& objectness) const;
  template <class T>
  void check(std::span<const View<const T>> heads, std::span<const BoxTarget> targets,
             std::span<const View<T>> gradients) const;

  std::vector<std::vector<double>> anchors_;  ///< in cells
  std::vector<index_t> strides_;
  index_t classes_;
  LossOptions options_;
  std::vector<double> balance_;
};

}  // namespace slimneck
