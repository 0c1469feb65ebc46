// Heat maps, and labels_correlogram.jpg, which is made of them.
#include "train/plot_density.hpp"

#include <algorithm>
#include <cmath>

#include "train/plot_chart.hpp"

namespace slimneck {

namespace train {

std::size_t Density::cell_of(double value) {
  return static_cast<std::size_t>(std::lround(std::clamp(value, 0.0, 1.0) * static_cast<double>(cells - 1)));
}

void Density::add(double x, double y) {
  if (std::isfinite(x) && std::isfinite(y)) ++counts_[cell_of(y)][cell_of(x)];
}

void Density::draw(Canvas& canvas, const Area& area, bool down) const {
  double most = 1;
  for (const auto& row : counts_) most = std::max(most, *std::max_element(row.begin(), row.end()));
  for (std::size_t y = 0; y < cells; ++y)
    for (std::size_t x = 0; x < cells; ++x) {
      const double count = counts_[down ? y : cells - 1 - y][x];
      if (count == 0) continue;
      const index_t left = edge(area.width, x, cells), top = edge(area.height, y, cells);
      canvas.fill({area.left + left, area.top + top, edge(area.width, x + 1, cells) - left,
                   edge(area.height, y + 1, cells) - top},
                  style::shade(0.15 + 0.85 * std::sqrt(count / most)));
    }
}

}  // namespace train

namespace {

using train::Area;
using train::Canvas;
namespace style = train::style;

struct Variable {
  const char* name;
  float PlottedLabel::*number;
};

constexpr std::array<Variable, 4> variables{
    {{"x", &PlottedLabel::x}, {"y", &PlottedLabel::y}, {"width", &PlottedLabel::w}, {"height", &PlottedLabel::h}}};

Chart empty_chart(const char* x, const char* y) {
  return {.title = "", .x_label = x, .y_label = y, .series = {}, .x_range = {}, .y_range = {}};
}

void draw_alone(Canvas& canvas, const Area& area, std::span<const PlottedLabel> labels, const Variable& v) {
  constexpr std::size_t bins = train::Density::cells;
  std::array<double, bins> counts{};
  for (const PlottedLabel& label : labels)
    if (const double value = label.*v.number; std::isfinite(value)) ++counts[train::Density::cell_of(value)];
  const double most = std::max(*std::max_element(counts.begin(), counts.end()), 1.0);
  const train::Axes axes(canvas, area, empty_chart(v.name, "of the most"), {0, 1}, {0, 1});
  const Area& inside = axes.inside();
  for (std::size_t i = 0; i < bins; ++i) {
    const index_t left = train::edge(inside.width, i, bins), right = train::edge(inside.width, i + 1, bins);
    const auto height = static_cast<index_t>(std::lrint(counts[i] / most * static_cast<double>(inside.height)));
    canvas.fill({inside.left + left, inside.bottom() - height, std::max<index_t>(right - left - 1, 1), height},
                style::accent);
  }
}

void draw_pair(Canvas& canvas, const Area& area, std::span<const PlottedLabel> labels, const Variable& across,
               const Variable& up) {
  train::Density density;
  for (const PlottedLabel& label : labels) density.add(label.*across.number, label.*up.number);
  const train::Axes axes(canvas, area, empty_chart(across.name, up.name), {0, 1}, {0, 1});
  density.draw(canvas, axes.inside(), false);
}

}  // namespace

Image plot_labels_correlogram(std::span<const PlottedLabel> labels) {
  constexpr index_t side = 420;
  Canvas canvas(side * static_cast<index_t>(variables.size()), side * static_cast<index_t>(variables.size()));
  for (std::size_t row = 0; row < variables.size(); ++row)
    for (std::size_t column = 0; column <= row; ++column) {
      const Area area{side * static_cast<index_t>(column), side * static_cast<index_t>(row), side, side};
      if (column == row)
        draw_alone(canvas, area, labels, variables[row]);
      else
        draw_pair(canvas, area, labels, variables[column], variables[row]);
    }
  canvas.text(canvas.image().width - side / 8, side / 8, "Labels: centre and size", train::Align::right, style::ink,
              style::title);
  return canvas.take();
}

}  // namespace slimneck
