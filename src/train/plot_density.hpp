// How often pairs of numbers in 0..1 occur, as a picture.
#pragma once

#include <array>

#include "train/plot_canvas.hpp"

namespace slimneck::train {

/// Where cell i of n begins in an area `extent` pixels wide.
inline index_t edge(index_t extent, std::size_t i, std::size_t n) noexcept {
  return extent * static_cast<index_t>(i) / static_cast<index_t>(n);
}

/// A heat map of counts.
class Density {
 public:
  static constexpr std::size_t cells = 50;
  /// The row or column of a number; what lies outside counts at the edge.
  static std::size_t cell_of(double value);

  /// What is not finite is left out.
  void add(double x, double y);
  /// y grows downwards, as in pictures, or upwards, as in charts.
  void draw(Canvas& canvas, const Area& area, bool down) const;

 private:
  std::array<std::array<double, cells>, cells> counts_{};
};

}  // namespace slimneck::train
