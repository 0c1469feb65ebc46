// Rotation, scaling, shear, shift and perspective of a picture and of the boxes in it.
#pragma once

#include <array>

#include "slimneck/image.hpp"
#include "train/picture_box.hpp"

namespace slimneck::train {

/// Maps (x, y, 1) of the old picture to the new one; row by row.
using Matrix3 = std::array<std::array<double, 3>, 3>;

/// What a warp does, in the order perspective, rotation and scale (around the picture's centre), shear, shift.
struct WarpNumbers {
  double degrees = 0;               ///< counter-clockwise
  double scale = 1;                 ///< of both sides
  double shear_x = 0, shear_y = 0;  ///< degrees
  double x = 0.5, y = 0.5;          ///< where the old centre goes, in parts of the new picture
  double tilt_x = 0, tilt_y = 0;    ///< perspective
};

/// The matrix from a picture of `from` to one of `to` pixels.
Matrix3 warp_matrix(const WarpNumbers& numbers, const Extents& from, const Extents& to) noexcept;

/// The picture under the matrix, cut to `to` on grey (114) ground: bilinear with OpenCV's grid of 1/32 pixel and its
/// arithmetic (warpAffine, warpPerspective).
Image warp(const Image& image, const Matrix3& matrix, const Extents& to);

/// What becomes of a box.
struct WarpedBox {
  PictureBox box;     ///< around the corners' new places, cut at the picture's edges
  bool keep = false;  ///< enough of it is left: 2 pixels either way, a tenth of the area, no needle
};
WarpedBox warp_box(const PictureBox& box, const Matrix3& matrix, double scale, const Extents& to) noexcept;

}  // namespace slimneck::train
