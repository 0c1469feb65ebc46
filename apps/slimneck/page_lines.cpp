#include "page_lines.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cli.hpp"
#include "page.hpp"

namespace slimneck::cli {

namespace {

constexpr double width = 420, height = 270, left = 52, right = 12, top = 12, bottom = 40;
constexpr std::size_t colours = 8, most_marks = 60;

/// From numbers to pixels, with the lines of its grid.
struct Axis {
  double low = 0, high = 1, from = 0, to = 1, distance = 1;

  Axis(Range range, double begin, double end, int parts, double least = 0) : from(begin), to(end) {
    const double span = range[1] > range[0] ? range[1] - range[0] : std::max(std::abs(range[0]), 1.0);
    const double rough = span / parts, power = std::pow(10, std::floor(std::log10(rough)));
    distance = std::max(least, power * (rough <= power ? 1 : rough <= 2 * power ? 2 : rough <= 5 * power ? 5 : 10));
    low = std::floor(range[0] / distance + 1e-9) * distance;
    high = std::ceil((range[1] > range[0] ? range[1] : range[0] + span) / distance - 1e-9) * distance;
  }
  [[nodiscard]] double at(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

/// Epochs have no halves.
bool whole_steps(const Chart& chart) {
  return std::all_of(chart.series.begin(), chart.series.end(), [](const Series& series) {
    return std::all_of(series.x.begin(), series.x.end(), [](double v) { return v == std::floor(v); });
  });
}

/// What the numbers need, all lines together.
Range range_of(const Chart& chart, const std::optional<Range>& given, std::vector<double> Series::*values) {
  if (given) return *given;
  Range range{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
  for (const Series& series : chart.series)
    for (const double v : series.*values)
      if (std::isfinite(v)) range = {std::min(range[0], v), std::max(range[1], v)};
  return range[0] <= range[1] ? range : Range{0, 1};
}

std::string text_at(double x, double y, const std::string& text, const char* anchor, const char* kind = "") {
  return format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, kind) + escaped(text) +
         "</text>";
}

std::string grid(const Chart& chart, const Axis& x, const Axis& y) {
  std::string svg;
  const auto line = [&](double x1, double y1, double x2, double y2) {
    svg += format("<line class=\"axis\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", x1, y1, x2, y2);
  };
  for (double v = x.low; v <= x.high + x.distance / 2; v += x.distance) {
    line(x.at(v), y.to, x.at(v), y.from);
    svg += text_at(x.at(v), y.from + 15, format("%g", std::abs(v) < x.distance / 2 ? 0 : v), "middle", "muted");
  }
  for (double v = y.low; v <= y.high + y.distance / 2; v += y.distance) {
    line(x.from, y.at(v), x.to, y.at(v));
    svg += text_at(x.from - 5, y.at(v) + 4, format("%g", std::abs(v) < y.distance / 2 ? 0 : v), "end", "muted");
  }
  return svg + text_at((x.from + x.to) / 2, height - 7, chart.x_label, "middle");
}

std::string stroke_of(const Series& series, std::size_t index) {
  if (series.quiet) return "var(--line)";
  return series.important ? "var(--fg)" : "var(--s" + std::to_string((index + 1) % colours) + ")";
}

std::string line_of(const Series& series, const std::string& stroke, const Axis& x, const Axis& y) {
  std::string path;
  bool pen = false;
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    const bool shown = std::isfinite(series.x[i]) && std::isfinite(series.y[i]);
    if (shown) path += format("%s%.1f %.1f", pen ? "L" : "M", x.at(series.x[i]), y.at(series.y[i]));
    pen = shown;
  }
  return path.empty() ? ""
                      : format("<path fill=\"none\" stroke-width=\"%s\" stroke=\"%s\" d=\"%s\"/>",
                               series.important ? "2.5" : "1.5", stroke.c_str(), path.c_str());
}

std::string marks_of(const Chart& chart, const Series& series, const std::string& stroke, const Axis& x,
                     const Axis& y) {
  std::string svg;
  if (series.x.size() > most_marks || series.quiet) return svg;
  for (std::size_t i = 0; i < series.x.size(); ++i)
    if (std::isfinite(series.x[i]) && std::isfinite(series.y[i]))
      svg += format(
                 "<circle class=\"point\" tabindex=\"0\" role=\"img\" r=\"3\" cx=\"%.1f\" cy=\"%.1f\" fill=\"%s\" "
                 "data-x=\"%.9g\" data-y=\"%.9g\" aria-label=\"",
                 x.at(series.x[i]), y.at(series.y[i]), stroke.c_str(), series.x[i], series.y[i]) +
             escaped((series.name.empty() ? chart.title : series.name) +
                     format(", %s %g: %.5g", chart.x_label.c_str(), series.x[i], series.y[i])) +
             "\"/>";
  return svg;
}

std::string keys_of(const Chart& chart) {
  std::string html;
  for (std::size_t i = 0; i < chart.series.size(); ++i)
    if (const Series& series = chart.series[i]; !series.name.empty())
      html +=
          "<span style=\"white-space:nowrap;margin-right:1em\"><span aria-hidden=\"true\" style=\"display:inline-block;"
          "width:1em;height:3px;vertical-align:.25em;background:" +
          stroke_of(series, i) + "\"></span> " + escaped(series.name) + "</span> ";
  return html;
}

}  // namespace

std::string line_figure(const Chart& chart) {
  const Axis x(range_of(chart, chart.x_range, &Series::x), left, width - right, 6, whole_steps(chart) ? 1 : 0);
  const Axis y(range_of(chart, chart.y_range, &Series::y), height - bottom, top, 5);
  std::string svg =
      format("<svg class=\"lines\" viewBox=\"0 0 %.0f %.0f\" role=\"group\" aria-label=\"", width, height) +
      escaped(chart.title) + "\">" + grid(chart, x, y);
  for (std::size_t i = 0; i < chart.series.size(); ++i) {
    const std::string stroke = stroke_of(chart.series[i], i);
    svg += line_of(chart.series[i], stroke, x, y) + marks_of(chart, chart.series[i], stroke, x, y);
  }
  const std::string keys = keys_of(chart);
  return "<figure style=\"max-width:410px\"><figcaption>" + escaped(chart.title) + (keys.empty() ? "" : "<br>" + keys) +
         "</figcaption>" + svg + "</svg></figure>";
}

std::string confusion_table(const ConfusionMatrix& matrix, std::span<const std::string> names) {
  constexpr index_t most = 50;
  const index_t classes = matrix.classes();
  if (classes > most) return {};
  const auto name = [&](index_t i) {
    return i < classes ? escaped(names[static_cast<std::size_t>(i)]) : std::string("background");
  };
  std::string html =
      "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Confusion matrix\"><table>"
      "<caption>Rows: predicted. Columns: true.</caption><thead><tr><th scope=\"col\"></th>";
  for (index_t t = 0; t <= classes; ++t) html += "<th scope=\"col\" class=\"n\">" + name(t) + "</th>";
  html += "</tr></thead><tbody>\n";
  std::vector<double> sums(static_cast<std::size_t>(classes) + 1, 0);
  for (index_t p = 0; p <= classes; ++p)
    for (index_t t = 0; t <= classes; ++t) sums[static_cast<std::size_t>(t)] += static_cast<double>(matrix.count(p, t));
  for (index_t p = 0; p <= classes; ++p) {
    html += "<tr><th scope=\"row\">" + name(p) + "</th>";
    for (index_t t = 0; t <= classes; ++t) {
      const index_t count = matrix.count(p, t);
      const double part = count == 0 ? 0 : static_cast<double>(count) / sums[static_cast<std::size_t>(t)];
      html +=
          format("<td class=\"n\" style=\"background:color-mix(in srgb,var(--s5) %.0f%%,transparent)\">", 70 * part);
      html += count == 0 ? "</td>"
                         : format("%.2f <small class=\"muted\">%lld</small></td>", part, static_cast<long long>(count));
    }
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>";
}

}  // namespace slimneck::cli
