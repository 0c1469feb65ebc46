// A box on its way from a label to a target: in pixels of the picture that is being made.
#pragma once

#include <algorithm>

#include "slimneck/data.hpp"

namespace slimneck::train {

struct PictureBox {
  int cls = 0;
  double x1 = 0, y1 = 0, x2 = 0, y2 = 0;
};

/// Where a label lies when its picture has width x height pixels and stands at (left, top).
inline PictureBox place(const BoxLabel& label, double width, double height, double left, double top) noexcept {
  const auto x = static_cast<double>(label.x), y = static_cast<double>(label.y);
  const double half_w = static_cast<double>(label.w) / 2, half_h = static_cast<double>(label.h) / 2;
  return {label.cls, width * (x - half_w) + left, height * (y - half_h) + top, width * (x + half_w) + left,
          height * (y + half_h) + top};
}

/// The box cut at the edges of a width x height picture, as parts of it. The last thousandth of a pixel is left out, as
/// YOLOv5 does it.
inline BoxTarget target_of(const PictureBox& box, index_t width, index_t height) noexcept {
  constexpr double edge = 1e-3;
  const auto w = static_cast<double>(width), h = static_cast<double>(height);
  const double x1 = std::clamp(box.x1, 0.0, w - edge), x2 = std::clamp(box.x2, 0.0, w - edge);
  const double y1 = std::clamp(box.y1, 0.0, h - edge), y2 = std::clamp(box.y2, 0.0, h - edge);
  return {0,
          box.cls,
          static_cast<float>((x1 + x2) / 2 / w),
          static_cast<float>((y1 + y2) / 2 / h),
          static_cast<float>((x2 - x1) / w),
          static_cast<float>((y2 - y1) / h)};
}

}  // namespace slimneck::train
