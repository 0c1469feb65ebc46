// confusion_matrix.png and labels.jpg.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "train/plot_chart.hpp"
#include "train/plot_density.hpp"

namespace slimneck {
namespace {

using train::Align;
using train::Area;
using train::Canvas;
using train::Density;
using train::edge;
namespace style = train::style;

constexpr std::size_t name_letters = 16;
constexpr index_t margin = 12;

/// Names of the shown classes below or beside their cells of `size` pixels; of many only as many as have room.
class ClassAxis {
 public:
  ClassAxis(std::vector<std::string> names, double size) : names_(std::move(names)), size_(size) {
    step_ = static_cast<std::size_t>(std::ceil(static_cast<double>(train::text_height()) / size_));
  }
  void below(Canvas& canvas, const Area& area) const {
    for (std::size_t i = 0; i < names_.size(); i += step_)
      canvas.text_upwards(at(area.left, i) - train::text_height() / 2, area.bottom() + margin, names_[i], Align::right);
  }
  void beside(Canvas& canvas, const Area& area) const {
    for (std::size_t i = 0; i < names_.size(); i += step_)
      canvas.text(area.left - margin, at(area.top, i) - train::text_height() / 2, names_[i], Align::right);
  }

 private:
  [[nodiscard]] index_t at(index_t first, std::size_t i) const {
    return first + static_cast<index_t>((static_cast<double>(i) + 0.5) * size_);
  }
  std::vector<std::string> names_;
  double size_;
  std::size_t step_ = 1;
};

std::string part_text(double part) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%.2f", part);
  return text.data();
}

void draw_histogram(Canvas& canvas, const Area& area, std::span<const PlottedLabel> labels,
                    std::span<const std::string> names) {
  std::vector<double> counts(std::max<std::size_t>(names.size(), 1), 0);
  for (const PlottedLabel& label : labels)
    if (label.cls >= 0 && static_cast<std::size_t>(label.cls) < counts.size())
      ++counts[static_cast<std::size_t>(label.cls)];
  const double most = std::max(*std::max_element(counts.begin(), counts.end()), 1.0);
  std::vector<std::string> shown;
  std::size_t letters = 1;
  for (const std::string& name : names) {
    shown.push_back(train::shortened(name, name_letters));
    letters = std::max(letters, shown.back().size());
  }
  // The class names take the place of numbers below.
  const index_t room = static_cast<index_t>(letters) * train::text_width("x") + 2 * margin;
  const Chart chart{
      .title = "Labels of each class", .x_label = "", .y_label = "", .series = {}, .x_range = {}, .y_range = {}};
  const train::Axes axes(canvas, {area.left, area.top, area.width, area.height - room}, chart,
                         {0, static_cast<double>(counts.size())}, {0, most * 1.05});
  const Area inside = axes.inside();
  canvas.fill(
      {inside.left - margin / 2, inside.bottom() + 1, inside.width + 4 * margin, area.bottom() - inside.bottom() - 1},
      style::paper);
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const index_t left = edge(inside.width, i, counts.size()), right = edge(inside.width, i + 1, counts.size());
    const auto top = static_cast<index_t>(std::lrint(axes.at(0, counts[i]).y));
    canvas.fill({inside.left + left, top, std::max<index_t>(right - left - (right - left > 4 ? 2 : 0), 1),
                 inside.bottom() - top},
                class_colour(static_cast<int>(i)));
  }
  ClassAxis(shown, static_cast<double>(inside.width) / static_cast<double>(counts.size())).below(canvas, inside);
}

/// The last labels' frames, all around the middle.
void draw_boxes(Canvas& canvas, const Area& area, std::span<const PlottedLabel> labels) {
  constexpr std::size_t most = 1000;
  canvas.text(area.left + area.width / 2, area.top + margin, "Boxes around one centre", Align::centre, style::ink,
              style::title);
  const index_t top = train::text_height(style::title) + 2 * margin,
                side = std::min(area.width, area.height - top) - 4 * margin;
  const Area inside{area.left + (area.width - side) / 2, area.top + top, side, side};
  canvas.frame(inside, style::quiet);
  for (const PlottedLabel& label : labels.last(std::min(labels.size(), most))) {
    const auto extent = [side](float v) {
      return static_cast<index_t>(std::clamp(v, 0.0F, 1.0F) * static_cast<float>(side));
    };
    if (!std::isfinite(label.w) || !std::isfinite(label.h)) continue;
    const index_t w = std::max<index_t>(extent(label.w), 1), h = std::max<index_t>(extent(label.h), 1);
    canvas.frame({inside.left + (side - w) / 2, inside.top + (side - h) / 2, w, h}, class_colour(label.cls));
  }
}

void draw_density(Canvas& canvas, const Area& area, const Density& density, const char* title, const char* x,
                  const char* y, bool down) {
  const Chart chart{.title = title, .x_label = x, .y_label = y, .series = {}, .x_range = {}, .y_range = {}};
  const train::Axes axes(canvas, area, chart, {0, 1}, down ? Range{1, 0} : Range{0, 1});
  density.draw(canvas, axes.inside(), down);
}

}  // namespace

Image plot_confusion(const ConfusionMatrix& matrix, std::span<const std::string> names) {
  constexpr index_t most_shown = 1000, most_written = 30;
  const index_t shown = std::min(matrix.classes(), most_shown);
  const auto cells = static_cast<std::size_t>(shown + 1);
  // The background is the last class, wherever the picture ends.
  const auto class_at = [&](std::size_t i) { return i + 1 == cells ? matrix.classes() : static_cast<index_t>(i); };
  std::vector<std::string> labels;
  for (std::size_t i = 0; i + 1 < cells; ++i)
    labels.push_back(train::shortened(train::name_of_class(names, static_cast<int>(i)), name_letters));
  labels.emplace_back("background");

  const index_t room = static_cast<index_t>(name_letters) * train::text_width("x") + 4 * margin + train::text_height();
  const index_t side = std::max<index_t>(1000, std::min<index_t>(shown * 26, 2600));
  Canvas canvas(room + side + 6 * margin, room + side + 6 * margin);
  const Area inside{room, 5 * margin, side, side};
  canvas.text(inside.left + side / 2, margin, "Confusion Matrix", Align::centre, style::ink, style::title);
  for (std::size_t x = 0; x < cells; ++x) {
    double sum = 0;
    for (std::size_t y = 0; y < cells; ++y) sum += static_cast<double>(matrix.count(class_at(y), class_at(x)));
    for (std::size_t y = 0; y < cells; ++y) {
      const double part = sum > 0 ? static_cast<double>(matrix.count(class_at(y), class_at(x))) / sum : 0;
      const index_t left = edge(side, x, cells), top = edge(side, y, cells);
      const Area cell{inside.left + left, inside.top + top, edge(side, x + 1, cells) - left,
                      edge(side, y + 1, cells) - top};
      canvas.fill(cell, style::shade(part));
      if (shown < most_written && part >= 0.005)  // as YOLOv5, smaller parts stay empty
        canvas.text(cell.left + cell.width / 2, cell.top + (cell.height - train::text_height()) / 2, part_text(part),
                    Align::centre, part > 0.45 ? style::paper : style::ink);
    }
  }
  canvas.frame(inside, style::quiet);
  const ClassAxis axis(labels, static_cast<double>(side) / static_cast<double>(cells));
  axis.below(canvas, inside);
  axis.beside(canvas, inside);
  canvas.text(inside.left + side / 2, canvas.image().height - train::text_height() - margin, "True", Align::centre);
  canvas.text_upwards(margin, inside.top + side / 2, "Predicted", Align::centre);
  return canvas.take();
}

Image plot_labels(std::span<const PlottedLabel> labels, std::span<const std::string> names) {
  constexpr index_t side = 800;
  Density centres, sizes;
  for (const PlottedLabel& label : labels) {
    centres.add(label.x, label.y);
    sizes.add(label.w, label.h);
  }
  Canvas canvas(2 * side, 2 * side);
  draw_histogram(canvas, {0, 0, side, side}, labels, names);
  draw_boxes(canvas, {side, 0, side, side}, labels);
  draw_density(canvas, {0, side, side, side}, centres, "Centres", "x", "y", true);
  draw_density(canvas, {side, side, side, side}, sizes, "Sizes", "width", "height", false);
  return canvas.take();
}

}  // namespace slimneck
