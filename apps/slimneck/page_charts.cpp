#include "page_charts.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "cli.hpp"
#include "compare_verdict.hpp"
#include "page.hpp"

namespace slimneck::cli {

std::string long_name(Pass pass) {
  switch (pass) {
    case Pass::fwd: return "inference";
    case Pass::bwd: return "backward";
    case Pass::fwdbwd: return "training step";
  }
  return "";
}

namespace {

/// Outlines of about 10 pixels around 0,0.
constexpr std::array<const char*, 6> outlines{"M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z",
                                              "M-4 -4h8v8h-8z",
                                              "M0 -5.5L5.5 0L0 5.5L-5.5 0z",
                                              "M0 -5.5L5.2 4H-5.2z",
                                              "M0 5.5L5.2 -4H-5.2z",
                                              "M-5 -1.7h3.3v-3.3h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3z"};
constexpr std::size_t colours = 8;

std::size_t index_of(const Comparison& all, const Op& op) {
  std::size_t i = 0;
  while (all.options.ops[i].name() != op.name()) ++i;
  return i;
}

std::string mark(std::size_t op, double x, double y, const std::string& attributes) {
  return format("<path class=\"point\" transform=\"translate(%.2f %.2f)\" fill=\"var(--s%zu)\" d=\"", x, y,
                op % colours) +
         outlines[op % outlines.size()] + "\"" + attributes + "/>";
}

std::string percent(double part) { return format("%.0f %%", 100 * part); }

/// Whose mark it is, for scripts and for people.
std::string identity(const CompareLayer& layer, const CompareRow& row, double x, double y) {
  const std::string time = row.time_vs_sc ? percent(*row.time_vs_sc) + " of SC's time" : "no ratio of times";
  const std::string label = row.op.title() + ", " + layer.shape.name + " " + layer.shape.geometry() + ", " +
                            long_name(row.pass) + ": " + percent(row.macs_vs_sc) + " of SC's MACs, " + time +
                            format(", %.3f ms, %.0f %% of its bound", row.median_ms, 100 * row.reached());
  return " tabindex=\"0\" role=\"img\" aria-label=\"" + escaped(label) + "\" data-layer=\"" +
         escaped(layer.shape.name) + "\" data-op=\"" + row.op.name() + "\" data-pass=\"" +
         std::string(name_of(row.pass)) + format("\" data-x=\"%.9g\" data-y=\"%.9g\"", x, y);
}

std::string text_at(double x, double y, const std::string& text, const char* anchor = "start", const char* kind = "") {
  return format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor, kind) + escaped(text) +
         "</text>";
}

std::string line(double x1, double y1, double x2, double y2, const char* kind = "axis") {
  return format("<line class=\"%s\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", kind, x1, y1, x2, y2);
}

/// The chart's box; `scale` tells a script how numbers become places.
std::string begin_svg(const std::string& kind, Pass pass, const std::string& label, double width, double height,
                      const std::string& scale) {
  return format("<svg class=\"%s\" data-pass=\"%s\" viewBox=\"0 0 %.0f %.0f\" role=\"group\" aria-label=\"",
                kind.c_str(), std::string(name_of(pass)).c_str(), width, height) +
         escaped(label) + "\" " + scale + ">";
}

std::string figure(const std::string& svg, const std::string& caption) {
  return "<figure><figcaption>" + escaped(caption) + "</figcaption>" + svg + "</figure>";
}

/// Rows of the library itself in one direction, all kinds but SC unless asked for.
template <class F>
void each_row(const Comparison& all, Pass pass, bool with_sc, const F& visit) {
  for (const CompareLayer& layer : all.layers)
    for (const CompareRow& row : layer.rows)
      if (row.pass == pass && row.engine == Engine::slimneck && (with_sc || row.op.name() != "sc")) visit(layer, row);
}

/// Between the lines of a linear axis: 25, 50, 100, 200 ... %, so that there are not too many.
double line_distance(double most) {
  double distance = 0.25;
  while (most / distance > 6.5) distance *= 2;
  return distance;
}

/// The largest part of SC's that is shown, in quarters.
double top_of(const Comparison& all, Pass pass) {
  double top = 1;
  each_row(all, pass, false, [&](const CompareLayer&, const CompareRow& row) {
    top = std::max({top, row.macs_vs_sc, row.time_vs_sc.value_or(0)});
  });
  return std::ceil(top * 4) / 4;
}

}  // namespace

std::string legend(const Comparison& all) {
  std::string html = "<p>";
  for (std::size_t i = 0; i < all.options.ops.size(); ++i)
    html +=
        "<span style=\"white-space:nowrap;margin-right:1.2em\"><svg style=\"display:inline-block;width:14px;"
        "vertical-align:-2px\" viewBox=\"-7 -7 14 14\" aria-hidden=\"true\"><path fill=\"var(--s" +
        std::to_string(i % colours) + ")\" d=\"" + outlines[i % outlines.size()] + "\"/></svg> " +
        escaped(all.options.ops[i].title()) + "</span> ";
  return html + "</p>";
}

std::string scatter_chart(const Comparison& all, Pass pass) {
  constexpr double width = 420, height = 400, left = 48, top = 10, side = 350;
  const double most = top_of(all, pass), scale = side / most;
  const double bottom = top + side;
  std::string svg =
      begin_svg("scatter", pass, "Part of SC's multiply-adds against part of its time, " + long_name(pass), width,
                height, format("data-x0=\"%g\" data-y0=\"%g\" data-scale=\"%.9g\"", left, bottom, scale));
  for (double part = 0; part <= most + 1e-9; part += line_distance(most)) {
    const double x = left + part * scale, y = bottom - part * scale;
    svg += line(x, top, x, bottom) + line(left, y, left + side, y);
    svg += text_at(x, bottom + 16, percent(part), "middle", "muted") +
           text_at(left - 5, y + 4, percent(part), "end", "muted");
  }
  svg += line(left, bottom, left + side, top, "mark");
  svg += text_at(left + 8, top + 16, "slower than its MACs promise", "start", "muted") +
         text_at(left + side - 6, bottom - 8, "faster", "end", "muted") +
         text_at(left + side / 2, bottom + 32, "% of SC's MACs (dashed: FLOPs saved = time saved)", "middle");
  each_row(all, pass, false, [&](const CompareLayer& layer, const CompareRow& row) {
    if (!row.time_vs_sc) return;
    svg += mark(index_of(all, row.op), left + row.macs_vs_sc * scale, bottom - *row.time_vs_sc * scale,
                identity(layer, row, row.macs_vs_sc, *row.time_vs_sc));
  });
  return figure(svg + "</svg>", "% of SC's time, " + long_name(pass));
}

std::string bar_chart(const Comparison& all, Pass pass) {
  constexpr double width = 420, left = 8, label = 15, bar = 9, gap = 8, right = 44, foot = 24;
  const std::size_t kinds = all.options.ops.size();
  const double most = top_of(all, pass), scale = (width - left - right) / most;
  const double each = label + static_cast<double>(kinds) * bar + gap,
               height = static_cast<double>(all.layers.size()) * each + foot;
  std::string svg = begin_svg("bars", pass, "Part of SC's time for each layer, " + long_name(pass), width, height,
                              format("data-x0=\"%g\" data-scale=\"%.9g\"", left, scale));
  for (double part = 0; part <= most + 1e-9; part += 2 * line_distance(most))
    svg += line(left + part * scale, 0, left + part * scale, height - foot) +
           text_at(left + part * scale, height - 8, percent(part), part > 0 ? "middle" : "start", "muted");
  double y = 0;
  for (const CompareLayer& layer : all.layers) {
    svg += text_at(left + 3, y + label - 4, layer.shape.name + " " + layer.shape.geometry());
    for (const CompareRow& row : layer.rows) {
      if (row.pass != pass || row.engine != Engine::slimneck) continue;
      const std::size_t op = index_of(all, row.op);
      const double at = y + label + static_cast<double>(op) * bar, macs = left + row.macs_vs_sc * scale;
      if (row.time_vs_sc)
        svg += format("<rect class=\"point\" x=\"%g\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" fill=\"var(--s%zu)\"",
                      left, at, *row.time_vs_sc * scale, bar - 1, op % colours) +
               identity(layer, row, row.macs_vs_sc, *row.time_vs_sc) + "/>" +
               format("<text x=\"%.1f\" y=\"%.1f\" font-size=\"9\" class=\"muted\">%.0f</text>",
                      left + *row.time_vs_sc * scale + 3, at + bar - 2, 100 * *row.time_vs_sc);
      else
        svg += format("<text x=\"%.1f\" y=\"%.1f\" font-size=\"9\" class=\"muted\">too noisy</text>", left + 3,
                      at + bar - 2);
      svg += line(macs, at - 0.5, macs, at + bar - 0.5, "macs");
    }
    y += each;
  }
  return figure(svg + "</svg>", "% of SC's time, " + long_name(pass) + "; upright marks: % of its MACs");
}

namespace {

/// A logarithmic axis in powers of two.
struct LogAxis {
  double low = 0, high = 0;  ///< exponents
  double from = 0, to = 0;   ///< pixels

  void cover(double value) {
    low = std::min(low, std::floor(std::log2(value)));
    high = std::max(high, std::ceil(std::log2(value)));
  }
  [[nodiscard]] double at(double value) const { return from + (std::log2(value) - low) / (high - low) * (to - from); }
};

std::string short_number(double v) { return v >= 1 ? format("%.0f", v) : format("1/%.0f", 1 / v); }

std::string roofs(const Comparison& all, const LogAxis& x, const LogAxis& y) {
  std::string svg;
  const double peak = all.peaks.gflops, first = std::exp2(x.low), last = std::exp2(x.high);
  svg += line(x.at(first), y.at(peak), x.at(last), y.at(peak), "roof") +
         text_at(x.at(last) - 4, y.at(peak) - 5, format("%.0f GFLOP/s multiply-adds", peak), "end");
  double label = -1e9;  // of the level before
  for (const measure::Bandwidth& level : all.peaks.levels) {
    const double end = std::min(last, peak / level.read), begin = std::max(first, std::exp2(y.low) / level.read);
    if (begin >= end) continue;
    svg += line(x.at(begin), y.at(begin * level.read), x.at(end), y.at(end * level.read), "roof");
    const double at = std::min(y.at(begin * level.read) - 8, y.from - 4);
    if (at - label > 12) svg += text_at(x.at(begin) + 6, label = at, level.level, "start", "muted");
  }
  return svg;
}

}  // namespace

std::string roofline_chart(const Comparison& all, Pass pass) {
  constexpr double width = 420, height = 330, left = 44, right = 10, top = 12, bottom = 40;
  LogAxis x{0, 5, left, width - right}, y{4, 6, height - bottom, top};
  const auto gflops = [](const CompareRow& row) { return 2e-6 * static_cast<double>(row.macs) / row.median_ms; };
  y.cover(all.peaks.gflops * 1.5);
  each_row(all, pass, true, [&](const CompareLayer&, const CompareRow& row) {
    x.cover(row.intensity());
    y.cover(gflops(row));
  });
  std::string svg =
      begin_svg("roofline", pass, "Roofline, " + long_name(pass), width, height,
                format("data-xlow=\"%g\" data-xhigh=\"%g\" data-xfrom=\"%g\" data-xto=\"%g\" data-ylow=\"%g\" "
                       "data-yhigh=\"%g\" data-yfrom=\"%g\" data-yto=\"%g\"",
                       x.low, x.high, x.from, x.to, y.low, y.high, y.from, y.to));
  for (double e = x.low; e <= x.high; ++e)
    svg += line(x.at(std::exp2(e)), y.to, x.at(std::exp2(e)), y.from) +
           text_at(x.at(std::exp2(e)), y.from + 15, short_number(std::exp2(e)), "middle", "muted");
  for (double e = y.low; e <= y.high; ++e)
    svg += line(x.from, y.at(std::exp2(e)), x.to, y.at(std::exp2(e))) +
           text_at(x.from - 5, y.at(std::exp2(e)) + 4, short_number(std::exp2(e)), "end", "muted");
  svg += roofs(all, x, y) + text_at((x.from + x.to) / 2, height - 8, "FLOPs for each byte moved", "middle");
  each_row(all, pass, true, [&](const CompareLayer& layer, const CompareRow& row) {
    svg += mark(index_of(all, row.op), x.at(row.intensity()), y.at(gflops(row)),
                identity(layer, row, row.intensity(), gflops(row)));
  });
  return figure(svg + "</svg>", "GFLOP/s, " + long_name(pass));
}

// ---- A picture of its own -------------------------------------------------------------------------------------------

namespace {

constexpr const char* picture_style =
    "svg{background:var(--bg)}text{fill:var(--fg);font:14px "
    "system-ui,sans-serif}.muted{fill:var(--muted);font-size:12px}"
    ".title{font-size:16px;font-weight:600}.axis{stroke:var(--line)}";

}  // namespace

std::string summary_picture(const Comparison& all, const std::string& subject) {
  constexpr double width = 720, left = 150, right = 60, bar = 15, top = 62, gap = 14;
  const double scale = (width - left - right) / 1.0;
  const std::vector<Pass>& passes = all.options.passes;
  struct Bar {
    std::string label;
    std::optional<double> part;
    int colour;
  };
  std::string body;
  double y = top, most = 1;
  for (const Op& op : all.options.ops) {
    std::vector<Bar> bars{{"MACs", op.name() == "sc" ? 1 : share_of(all, op, passes[0]).macs, 0}};
    for (std::size_t i = 0; i < passes.size(); ++i)
      bars.push_back({"time, " + long_name(passes[i]), share_of(all, op, passes[i]).time, static_cast<int>(i) + 1});
    body += text_at(left - 12, y + bar * static_cast<double>(bars.size()) / 2 + 5, op.title(), "end");
    for (const Bar& b : bars) {
      const double part = std::min(b.part.value_or(0), most);
      body +=
          format("<rect x=\"%g\" y=\"%g\" width=\"%.1f\" height=\"%g\" fill=\"var(--s%d)\"><title>%s</title></rect>",
                 left, y, part * scale, bar - 2, b.colour, escaped(op.title() + ", " + b.label).c_str());
      body += text_at(left + part * scale + 5, y + bar - 4, b.part ? percent(*b.part) : "too noisy", "start", "muted");
      y += bar;
    }
    y += gap;
  }
  std::string keys = text_at(16, 26, "Of the standard convolution (SC): " + subject, "start", "title");
  double x = left;
  for (std::size_t i = 0; i <= passes.size(); ++i) {
    const std::string name = i == 0 ? "multiply-adds" : "time, " + long_name(passes[i - 1]);
    keys += format("<rect x=\"%g\" y=\"40\" width=\"11\" height=\"11\" fill=\"var(--s%zu)\"/>", x, i) +
            text_at(x + 16, 50, name, "start", "muted");
    x += 36 + 7.0 * static_cast<double>(name.size());
  }
  const std::string where = format("%s, %s, %d thread%s, batch %lld", all.machine.c_str(),
                                   std::string(name_of(all.options.exec.isa)).c_str(), all.options.exec.threads,
                                   all.options.exec.threads == 1 ? "" : "s", static_cast<long long>(all.options.batch));
  const double height = y + 24;
  return format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", width,
                height) +
         escaped(conclusion(all)) + "\"><style>" + palette() + picture_style + "</style>" +
         format("<rect width=\"%.0f\" height=\"%.0f\" fill=\"var(--bg)\"/>", width, height) + keys + body +
         text_at(16, height - 10, where, "start", "muted") + "</svg>\n";
}

}  // namespace slimneck::cli
