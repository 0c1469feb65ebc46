#include "train/plot_chart.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace slimneck {
namespace train {
namespace {

constexpr std::size_t legend_letters = 30;
constexpr index_t margin = 12;

/// What the finite numbers span; a little more, so that no line runs along the frame.
Range range_of(const std::vector<Series>& series, std::vector<double> Series::*axis, double more) {
  Range range{0, 1};
  bool any = false;
  for (const Series& s : series)
    for (const double v : s.*axis) {
      if (!std::isfinite(v)) continue;
      range = any ? Range{std::min(range[0], v), std::max(range[1], v)} : Range{v, v};
      any = true;
    }
  double width = range[1] - range[0];
  if (!(width > std::abs(range[0]) * 1e-12)) width = std::max(std::abs(range[0]), 1e-3);
  return {range[0] - width * more, range[1] + width * more};
}

std::string number(double value, int digits) {
  std::array<char, 40> text{};
  const int length = std::snprintf(text.data(), text.size(), "%.*g", digits, value);
  return {text.data(), static_cast<std::size_t>(length)};
}

bool named(const Series& s) { return !s.name.empty(); }

index_t legend_width(const Chart& chart) {
  std::size_t letters = 0;
  for (const Series& s : chart.series) letters = std::max(letters, std::min(s.name.size(), legend_letters));
  return letters == 0 ? 0 : static_cast<index_t>(letters) * text_width("x") + 4 * margin;
}

struct Look {
  Colour colour;
  double thickness;
};

Look look_of(const Series& s, std::size_t number) {
  if (s.important) return {style::ink, style::bold};
  if (s.quiet) return {style::quiet, style::line / 2};
  return {style::series(number), style::line};
}

void draw_legend(Canvas& canvas, index_t left, index_t top, const Chart& chart) {
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const Series& s = chart.series[i];
    if (!named(s)) continue;
    const Look look = look_of(s, i);
    const double middle = static_cast<double>(top) + static_cast<double>(text_height()) * 0.4;
    canvas.path({{static_cast<double>(left), middle}, {static_cast<double>(left + 2 * margin), middle}}, look.thickness,
                look.colour);
    canvas.text(left + 3 * margin, top, shortened(s.name, legend_letters));
    top += text_height() + margin;
  }
}

void draw_series(Canvas& canvas, const Axes& axes, const Series& s, const Look& look) {
  std::vector<Point> points;
  for (std::size_t i = 0; i < s.x.size(); ++i) points.push_back(axes.at(s.x[i], s.y[i]));
  canvas.path(points, look.thickness, look.colour);
}

}  // namespace

std::string Ticks::text(std::size_t i) const {
  const double value = at(i);
  // Rounding must not leave 1e-17 where 0 is meant.
  return number(std::abs(value) < step / 2 ? 0 : value, 6);
}

Ticks ticks_of(const Range& range, int most) {
  const double width = range[1] - range[0];
  if (!(width > 0) || !std::isfinite(width)) return {range[0], 1, 1};
  const double power = std::pow(10, std::floor(std::log10(width / most)));
  double step = power * 10;
  for (const double factor : {5.0, 2.0, 1.0})
    if (power * factor * most >= width) step = power * factor;
  Ticks ticks{std::ceil(range[0] / step - 1e-9) * step, step, 0};
  ticks.count = static_cast<std::size_t>(std::floor((range[1] - ticks.first) / step + 1e-9)) + 1;
  return ticks;
}

Axes::Axes(Canvas& canvas, const Area& area, const Chart& chart, const Range& x, const Range& y)
    : inside_(area), x_(x), y_(y) {
  const auto room = [](const std::string& text, index_t scale) {
    return text.empty() ? margin : text_height(scale) + 2 * margin;
  };
  const Ticks ticks = ticks_of(y_, 6);
  index_t numbers = 0;
  for (std::size_t i = 0; i < ticks.count; ++i) numbers = std::max(numbers, text_width(ticks.text(i)));
  const index_t left = room(chart.y_label, style::text) + numbers + margin;
  const index_t below = room(chart.x_label, style::text) + text_height() + margin;
  const index_t above = room(chart.title, style::title);
  inside_.left += left;
  inside_.width = std::max<index_t>(inside_.width - left - 2 * margin, 1);
  inside_.top += above;
  inside_.height = std::max<index_t>(inside_.height - above - below, 1);
  draw(canvas, area, chart);
}

Point Axes::at(double x, double y) const {
  return {static_cast<double>(inside_.left) + (x - x_[0]) / (x_[1] - x_[0]) * static_cast<double>(inside_.width),
          static_cast<double>(inside_.bottom()) - (y - y_[0]) / (y_[1] - y_[0]) * static_cast<double>(inside_.height)};
}

void Axes::draw(Canvas& canvas, const Area& area, const Chart& chart) const {
  const index_t middle = inside_.left + inside_.width / 2;
  const Ticks across = ticks_of(x_, static_cast<int>(std::max<index_t>(inside_.width / 100, 2)));
  for (std::size_t i = 0; i < across.count; ++i) {
    const auto x = static_cast<index_t>(std::lrint(at(across.at(i), y_[0]).x));
    canvas.fill({x, inside_.top, 1, inside_.height}, style::grid);
    canvas.text(x, inside_.bottom() + margin, across.text(i), Align::centre, style::faint);
  }
  const Ticks up = ticks_of(y_, 6);
  for (std::size_t i = 0; i < up.count; ++i) {
    const auto y = static_cast<index_t>(std::lrint(at(x_[0], up.at(i)).y));
    canvas.fill({inside_.left, y, inside_.width, 1}, style::grid);
    canvas.text(inside_.left - margin, y - text_height() / 2, up.text(i), Align::right, style::faint);
  }
  canvas.frame(inside_, style::quiet);
  canvas.text(middle, area.top + margin, chart.title, Align::centre, style::ink, style::title);
  canvas.text(middle, area.bottom() - text_height() - margin / 2, chart.x_label, Align::centre);
  canvas.text_upwards(area.left + margin, inside_.top + inside_.height / 2, chart.y_label, Align::centre);
}

void draw_chart(Canvas& canvas, const Area& area, const Chart& chart) {
  for (const Series& s : chart.series)
    if (s.x.size() != s.y.size())
      throw ShapeError("plot: series '" + s.name + "' has " + std::to_string(s.x.size()) + " x and " +
                       std::to_string(s.y.size()) + " y");
  const index_t legend = legend_width(chart);
  const Range x = chart.x_range.value_or(range_of(chart.series, &Series::x, 0.02));
  const Range y = chart.y_range.value_or(range_of(chart.series, &Series::y, 0.05));
  const Axes axes(canvas, {area.left, area.top, area.width - legend, area.height}, chart, x, y);
  for (const bool important : {false, true})
    for (std::size_t i = 0; i < chart.series.size(); ++i)
      if (chart.series[i].important == important)
        draw_series(canvas, axes, chart.series[i], look_of(chart.series[i], i));
  draw_legend(canvas, axes.inside().right() + margin, axes.inside().top, chart);
}

std::string name_of_class(std::span<const std::string> names, int cls) {
  return cls >= 0 && static_cast<std::size_t>(cls) < names.size() ? names[static_cast<std::size_t>(cls)]
                                                                  : std::to_string(cls);
}

}  // namespace train

namespace {

/// "person 0.812"
std::string with_number(const std::string& name, double value, std::size_t letters) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), " %.3f", value);
  return train::shortened(name, letters) + text.data();
}

/// The highest point of a curve: "all classes 0.62 at 0.271".
std::string peak(const Curve& curve) {
  const auto at = std::max_element(curve.begin(), curve.end());
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "all classes %.2f at %.3f", *at,
                static_cast<double>(at - curve.begin()) / static_cast<double>(curve_points - 1));
  return text.data();
}

struct CurveText {
  const char *title, *x, *y;
  Curve ClassMetrics::*values;
};

CurveText text_of(MetricCurve curve) {
  switch (curve) {
    case MetricCurve::f1: return {"F1-Confidence Curve", "Confidence", "F1", &ClassMetrics::f1_curve};
    case MetricCurve::precision:
      return {"Precision-Confidence Curve", "Confidence", "Precision", &ClassMetrics::precision};
    case MetricCurve::recall: return {"Recall-Confidence Curve", "Confidence", "Recall", &ClassMetrics::recall};
    case MetricCurve::precision_recall: break;
  }
  return {"Precision-Recall Curve", "Recall", "Precision", &ClassMetrics::precision_at_recall};
}

}  // namespace

Image plot_chart(const Chart& chart, index_t width, index_t height) {
  if (width < 200 || height < 150)
    throw ShapeError("plot_chart: " + std::to_string(width) + " x " + std::to_string(height) +
                     " pixels, wanted at least 200 x 150");
  train::Canvas canvas(width, height);
  train::draw_chart(canvas, {0, 0, width, height}, chart);
  return canvas.take();
}

Image plot_metric(const Metrics& metrics, MetricCurve curve, std::span<const std::string> names) {
  constexpr std::size_t most_named = 20, letters = 20;
  const CurveText text = text_of(curve);
  const bool over_recall = curve == MetricCurve::precision_recall;
  const bool list = metrics.classes.size() <= most_named;
  Chart chart{.title = text.title,
              .x_label = text.x,
              .y_label = text.y,
              .series = {},
              .x_range = Range{0, 1},
              .y_range = Range{0, 1.02}};
  Curve axis(curve_points), mean(curve_points, 0);
  for (std::size_t i = 0; i < curve_points; ++i)
    axis[i] = static_cast<double>(i) / static_cast<double>(curve_points - 1);
  for (const ClassMetrics& own : metrics.classes) {
    const Curve& values = own.*text.values;
    const std::string name = train::name_of_class(names, own.cls);
    const std::string entry = over_recall ? with_number(name, own.ap50(), letters) : train::shortened(name, letters);
    chart.series.push_back({list ? entry : "", axis, values, false, !list});
    for (std::size_t i = 0; i < curve_points; ++i) mean[i] += values[i] / static_cast<double>(metrics.classes.size());
  }
  chart.series.push_back({over_recall ? with_number("all classes", metrics.map50, letters) + " mAP@0.5" : peak(mean),
                          axis, mean, true, false});
  return plot_chart(chart);
}

}  // namespace slimneck
