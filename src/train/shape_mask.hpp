// Outlines of drawn shapes, and which pixels they cover. Whole numbers alone.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "slimneck/tensor.hpp"
#include "train/random.hpp"

namespace slimneck::train {

inline constexpr index_t subpixels = 16;  ///< units of a pixel in which shapes are placed

/// A point, in subpixels or in units of an outline.
struct Point {
  index_t x = 0, y = 0;
};

/// A turn of the plane: cosine and sine in units of 1 / 16384.
struct Turn {
  index_t cosine = 16384, sine = 0;
};

/// Any turn. The half angle's tangent is drawn; that makes cosine and sine fractions of whole numbers.
Turn draw_turn(Random& random) noexcept;

/// A shape: circles around one centre and an outline of corners; what lies within an odd number of them is covered.
struct Shape2d {
  Point centre;                  ///< in subpixels
  std::vector<index_t> circles;  ///< radii in subpixels
  std::vector<Point> corners;    ///< in subpixels of the picture
};

/// Number of the class of rings.
inline constexpr int ring_class = 6;

/// Class `cls` of the data set, its farthest point `radius` subpixels away from its centre.
Shape2d class_shape(int cls, const Point& centre, index_t radius, const Turn& turn);

/// A bar of `width` that runs through `centre` and is `length` long, in subpixels.
Shape2d bar_shape(const Point& centre, index_t length, index_t width, const Turn& turn);

/// How much of each pixel of a rectangle a shape covers.
struct Mask {
  static constexpr int full = 64, half = 32;
  index_t left = 0, top = 0, width = 0, height = 0;  ///< in pixels; the rectangle may lie outside the picture
  std::vector<std::uint8_t> cover;                   ///< 0 .. full, row by row

  [[nodiscard]] int at(index_t x, index_t y) const noexcept {  ///< within the rectangle
    return cover[static_cast<std::size_t>((y - top) * width + x - left)];
  }
};

/// Covers are the sums of four lines in each row of pixels.
Mask mask_of(const Shape2d& shape);

}  // namespace slimneck::train
