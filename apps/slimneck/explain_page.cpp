#include "explain_page.hpp"

#include <algorithm>
#include <array>

#include "cli.hpp"

namespace slimneck::cli {

namespace {

/// Text of a model file may hold anything.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  return out;
}

double mib(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

constexpr const char* style =
    "body{font:14px system-ui,sans-serif;margin:2em auto;max-width:1200px;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;font-size:12px}td,th{padding:2px 8px;text-align:left;white-space:nowrap}"
    "td.n,th.n{text-align:right}tr:nth-child(even){background:#f4f4f4}tr.moves{background:#fde3c8}"
    ".scroll{overflow-x:auto}svg{background:#fafafa;border:1px solid #ddd;width:100%;height:auto}"
    "rect:hover{stroke:#000}dl{display:grid;grid-template-columns:max-content auto;gap:2px 1em}dd{margin:0}";

/// Of boxes by the step that makes them: neighbours in time differ.
constexpr std::array colours{"#7fb3d5", "#f0b27a", "#82c99d", "#d7a1c4", "#c9c27a", "#a3a8e0", "#e59a92", "#7cc7c3"};

constexpr double width = 1160, height = 460, left = 60, bottom = 24;

/// Time by address: each value is a box as long as it is kept and as high as its bytes.
std::string memory_map(const std::vector<PlanBuffer>& buffers, const PlanStats& stats, std::size_t forward_steps) {
  const double bytes = std::max<double>(1, static_cast<double>(stats.arena_bytes)),
               steps = std::max<double>(1, static_cast<double>(stats.steps));
  const auto x = [&](double step) { return left + step / steps * (width - left); };
  const auto y = [&](double offset) { return (1 - offset / bytes) * (height - bottom); };
  std::string svg = format("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"memory map\">", width, height);
  for (const PlanBuffer& b : buffers) {
    const double from = x(b.first_step), to = x(b.last_step + 1), top = y(static_cast<double>(b.offset + b.bytes));
    const char* colour = colours[static_cast<std::size_t>(b.first_step) % colours.size()];
    svg += format(
        "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\" "
        "stroke=\"#fff\" stroke-width=\"0.4\"><title>",
        from, top, to - from, y(static_cast<double>(b.offset)) - top, colour);
    svg += escaped(b.name) + format(": %.3f MiB at %zu, steps %d to %d</title></rect>", mib(b.bytes), b.offset,
                                    b.first_step, b.last_step);
  }
  const double bound = y(static_cast<double>(stats.arena_lower_bound));
  svg += format("<line x1=\"%.0f\" x2=\"%.0f\" y1=\"%.2f\" y2=\"%.2f\" stroke=\"#c00\" stroke-dasharray=\"6 4\"/>",
                left, width, bound, bound);
  if (forward_steps < stats.steps)
    svg += format("<line x1=\"%.2f\" x2=\"%.2f\" y1=\"0\" y2=\"%.0f\" stroke=\"#444\"/>",
                  x(static_cast<double>(forward_steps)), x(static_cast<double>(forward_steps)), height - bottom);
  svg += format(
      "<text x=\"4\" y=\"14\" font-size=\"12\">%.1f MiB</text><text x=\"4\" y=\"%.0f\" font-size=\"12\">0</text>"
      "<text x=\"%.0f\" y=\"%.0f\" font-size=\"12\">step 0</text>"
      "<text x=\"%.0f\" y=\"%.0f\" font-size=\"12\" text-anchor=\"end\">%zu</text></svg>",
      mib(stats.arena_bytes), height - bottom, left, height - 6, width - 4, height - 6, stats.steps);
  return svg;
}

std::string facts(const PlanStats& stats) {
  std::string moved;
  for (const auto& [what, bytes] : stats.bytes_moved)
    moved += (moved.empty() ? "" : ", ") + escaped(what) + format(" %.2f MiB", mib(bytes));
  return "<dl>" +
         format(
             "<dt>arena</dt><dd>%.2f MiB, %.3f of the least that must be kept at once (%.2f MiB)</dd>",
             mib(stats.arena_bytes),
             static_cast<double>(stats.arena_bytes) / std::max<double>(1, static_cast<double>(stats.arena_lower_bound)),
             mib(stats.arena_lower_bound)) +
         format("<dt>inputs, outputs, constants</dt><dd>%.2f MiB</dd>", mib(stats.persistent_bytes)) +
         format("<dt>packed parameters</dt><dd>%.2f MiB</dd>", mib(stats.packed_bytes)) +
         format("<dt>workspace</dt><dd>%.2f MiB</dd>", mib(stats.workspace_bytes)) + "<dt>only moved</dt><dd>" +
         (moved.empty() ? "nothing" : moved) + "</dd>" +
         format("<dt>lone activations</dt><dd>%zu</dd></dl>", stats.lone_activations);
}

std::string row(std::size_t index, const PlanStep& s) {
  std::string html = s.moves ? "<tr class=\"moves\">" : "<tr>";
  html += format("<td class=\"n\">%zu</td>", index);
  const std::string notes = s.why.empty() ? s.fused : s.why;
  for (const std::string& text : {s.op, s.name, s.kernel, to_string(s.shape), s.layout})
    html += "<td>" + escaped(text) + "</td>";
  html += format("<td class=\"n\">%.2f</td><td class=\"n\">%.1f</td><td class=\"n\">%.1f</td><td>%s +%zu</td><td>",
                 static_cast<double>(s.cost.macs) * 1e-6, static_cast<double>(s.bytes_read) / 1024,
                 static_cast<double>(s.bytes_written) / 1024, s.port ? "port" : "arena", s.offset);
  return html + escaped(notes) + "</td></tr>\n";
}

}  // namespace

std::string explain_page(const std::string& title, const Plan& plan) {
  const PlanStats stats = plan.stats();
  const std::vector<PlanStep> steps = plan.steps();
  const auto forward = static_cast<std::size_t>(
      std::count_if(steps.begin(), steps.end(), [](const PlanStep& s) { return !s.backward; }));
  std::string html = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>" + escaped(title) +
                     "</title><style>" + style + "</style><h1>" + escaped(title) + "</h1>" + facts(stats) +
                     "<h2>Memory</h2><p>Each box is a value: across, the steps that keep it; upwards, its place in the "
                     "arena. The dashed line is the least that must be kept at once";
  html += forward < steps.size() ? ", the upright one the beginning of the backward.</p>" : ".</p>";
  html += memory_map(plan.buffers(), stats, forward) + "<h2>Steps</h2><div class=\"scroll\"><table><tr>";
  for (const char* head : {"#", "op", "node", "kernel", "shape", "layout", "MMACs", "KiB read", "KiB written", "where",
                           "fused, or why it moves"})
    html += std::string("<th>") + head + "</th>";
  html += "</tr>\n";
  for (std::size_t i = 0; i < steps.size(); ++i) html += row(i, steps[i]);
  return html + "</table></div></html>\n";
}

}  // namespace slimneck::cli
