// Line charts inside a part of a picture.
#pragma once

#include "slimneck/plot.hpp"
#include "train/plot_canvas.hpp"

namespace slimneck::train {

/// Where an axis has its ticks: multiples of 1, 2 or 5 times a power of ten.
struct Ticks {
  double first = 0, step = 1;
  std::size_t count = 0;
  [[nodiscard]] double at(std::size_t i) const { return first + static_cast<double>(i) * step; }
  [[nodiscard]] std::string text(std::size_t i) const;
};
Ticks ticks_of(const Range& range, int most);

/// The frame of a chart: maps numbers to pixels and draws axes, ticks and titles.
class Axes {
 public:
  /// `area` has room for the texts, too.
  Axes(Canvas& canvas, const Area& area, const Chart& chart, const Range& x, const Range& y);

  [[nodiscard]] const Area& inside() const noexcept { return inside_; }
  [[nodiscard]] Point at(double x, double y) const;

 private:
  void draw(Canvas& canvas, const Area& area, const Chart& chart) const;

  Area inside_;
  Range x_, y_;
};

/// A whole chart; the legend stands right of it.
void draw_chart(Canvas& canvas, const Area& area, const Chart& chart);

/// The name of a class, or its number.
std::string name_of_class(std::span<const std::string> names, int cls);

}  // namespace slimneck::train
