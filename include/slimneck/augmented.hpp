// Test-time augmentation: the network looks at a picture at three sizes, once mirrored, and all of that is one result.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "slimneck/export.hpp"
#include "slimneck/model.hpp"
#include "slimneck/plan.hpp"

namespace slimneck {

/// One of the ways in which a picture is shown to the network.
struct Look {
  double scale = 1;       ///< of both extents
  bool mirrored = false;  ///< left is right
};

/// Those of YOLOv5's --augment, in the order of the result's rows.
inline constexpr std::array<Look, 3> augmented_looks{{{1, false}, {0.83, true}, {0.67, false}}};

/// What the network sees of pictures of this shape: extents are scaled and rounded up to a multiple of `stride`; at
/// scale 1 they stay as they are. Throws ShapeError unless extents, stride and scale are positive.
SLIMNECK_EXPORT Shape look_shape(const Shape& pictures, const Look& look, index_t stride);

/// Writes the look into `out`, which has look_shape() of some stride: bilinear without antialiasing (PyTorch's
/// interpolate without align_corners), its extents rounded down, in the top left corner; the rest is 0.447. Plain
/// views. Throws ShapeError when the look does not fit into `out`.
SLIMNECK_EXPORT void look_at(View<const float> pictures, const Look& look, View<float> out);

/// A network with Detect that looks at every picture in all of augmented_looks. Keeps a plan for each size.
class SLIMNECK_EXPORT AugmentedPlans {
 public:
  /// Keeps the plans for `most` shapes of input(). `parameters` outlive it. Throws Error when the model has no Detect.
  AugmentedPlans(const Model& model, Parameters& parameters, const PlanOptions& options = {}, std::size_t most = 8);

  /// Where pictures of this shape are to be written (extents are multiples of the model's stride), before forward().
  /// Compiles what is not there yet. Throws as Plan does. Valid until the next input().
  [[nodiscard]] View<float> input(const Shape& shape);

  /// Decoded rows of all looks for each picture, n x 1 x rows x (5 + classes), in pixels of the picture as it was
  /// written: what non_max_suppression takes. As in YOLOv5 the rows of the coarsest level at scale 1 and of the finest
  /// one at the smallest scale are left out. Valid until the next forward() or input(). Throws Error before input().
  View<const float> forward();

 private:
  /// Rows of a look that count.
  struct Range {
    index_t first = 0, count = 0;
  };
  [[nodiscard]] Range kept_rows(std::size_t look, const Shape& seen) const;

  PlanCache plans_;
  std::vector<index_t> strides_;
  std::vector<index_t> anchors_;  ///< of each level
  index_t stride_ = 1;            ///< the largest
  Tensor pictures_, rows_;
};

}  // namespace slimneck
