#include "page_compare.hpp"

#include "cli.hpp"
#include "compare_report.hpp"
#include "compare_verdict.hpp"
#include "page.hpp"
#include "page_charts.hpp"

namespace slimneck::cli {

namespace {

template <class Chart>
std::string for_each_pass(const Comparison& all, const Chart& chart) {
  std::string html = legend(all) + "<div class=\"figures\">";
  for (const Pass pass : all.options.passes) html += chart(all, pass);
  return html + "</div>";
}

std::string charts(const Comparison& all) {
  return section("Operations against time",
                 "Each mark is a layer. On the dashed line the multiply-adds that a kind saves are time saved; above "
                 "it the "
                 "kind takes more of the time than of the operations.",
                 for_each_pass(all, scatter_chart)) +
         section("Layer by layer",
                 "Bars are time, upright marks multiply-adds, both as parts of the standard convolution's.",
                 for_each_pass(all, bar_chart)) +
         section("Roofline",
                 "What is computed for each byte that the steps move, and how fast. Lines are what this machine did in "
                 "the same "
                 "run: multiply-adds on registers, reading from each level of memory. Winograd's algorithm needs fewer "
                 "multiply-adds than are counted, so that its marks may lie above the roof.",
                 for_each_pass(all, roofline_chart));
}

std::string row_of(const CompareLayer& layer, const CompareRow& row, const Counts& counts) {
  const auto number = [](const char* pattern, double value) { return number_cell(format(pattern, value), value); };
  const double macs = static_cast<double>(row.macs), parameters = static_cast<double>(counts.parameters);
  std::string html = "<tr>" + cell(layer.shape.name) + cell(layer.shape.geometry()) + cell(row.op.title()) +
                     cell(std::string(name_of(row.engine))) + cell(long_name(row.pass)) + number("%.0f", parameters);
  html += number_cell(format("%.3f", 1e-6 * macs), macs);
  html += row.pass == Pass::fwd && counts.paper ? number("%.3f", 1e-6 * static_cast<double>(*counts.paper))
                                                : "<td class=\"n\" data-value=\"NaN\">-</td>";
  html += number("%.1f", 100 * row.macs_vs_sc);
  html += row.time_vs_sc ? number("%.1f", 100 * *row.time_vs_sc) : "<td class=\"n\" data-value=\"NaN\">-</td>";
  html += number("%.4f", row.median_ms) + number("%.1f", 100 * row.spread);
  for (const std::size_t bytes : {row.traffic.unfused, row.traffic.fused, row.traffic.least})
    html += number("%.2f", static_cast<double>(bytes) / (1 << 20));
  return html + number("%.1f", row.intensity()) + number("%.4f", row.roofline_ms) +
         number("%.0f", 100 * row.reached()) + cell(row.memory_bound ? "memory" : "arithmetic") + cell(row.kernels) +
         "</tr>\n";
}

std::string table(const Comparison& all) {
  std::string html = table_head("A row for each layer, kind and pass; a heading sorts", {{"layer"},
                                                                                         {"shape"},
                                                                                         {"kind"},
                                                                                         {"engine"},
                                                                                         {"pass"},
                                                                                         {"parameters", true},
                                                                                         {"MMACs", true},
                                                                                         {"paper's MMACs", true},
                                                                                         {"% MACs", true},
                                                                                         {"% time", true},
                                                                                         {"ms", true},
                                                                                         {"spread %", true},
                                                                                         {"MiB unfused", true},
                                                                                         {"fused", true},
                                                                                         {"least", true},
                                                                                         {"FLOP/B", true},
                                                                                         {"bound ms", true},
                                                                                         {"% of bound", true},
                                                                                         {"bound by"},
                                                                                         {"kernels"}});
  for (const CompareLayer& layer : all.layers)
    for (const CompareRow& row : layer.rows)
      for (std::size_t i = 0; i < layer.counts.size(); ++i)
        if (all.options.ops[i].name() == row.op.name()) html += row_of(layer, row, layer.counts[i]);
  return html + "</tbody></table></div>";
}

std::string formulas(const Comparison& all) {
  std::string html = "<dl>";
  for (const Op& op : all.options.ops)
    if (!op.unfused && !op.kind->why.empty())
      html +=
          "<dt>" + escaped(std::string(op.kind->title)) + "</dt><dd>" + escaped(std::string(op.kind->why)) + "</dd>";
  return html + "</dl>";
}

std::string lead(const Comparison& all) {
  return "<p class=\"lead\">" + escaped(conclusion(all)) + "</p><pre class=\"muted\" style=\"white-space:pre-wrap\">" +
         escaped(machine_text(all)) + "</pre>";
}

}  // namespace

std::string compare_page(const std::string& title, const Comparison& all, const std::string& network) {
  return page(
      title,
      lead(all) + charts(all) + network +
          section("All numbers",
                  "Multiply-adds are exact counts. Spread: interquartile range over median of the pairs with SC, "
                  "of SC its own times. The paper's formula differs from the counts where this says so:",
                  formulas(all) + table(all)),
      json_of(all).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace slimneck::cli
