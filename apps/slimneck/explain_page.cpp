#include "explain_page.hpp"

#include "cli.hpp"
#include "page.hpp"

namespace slimneck::cli {

namespace {

std::string row(std::size_t index, const PlanStep& s) {
  std::string html = s.moves ? "<tr class=\"moves\">" : "<tr>";
  html += number_cell(std::to_string(index), static_cast<double>(index));
  for (const std::string& text : {s.op, s.name, s.kernel, to_string(s.shape), s.layout}) html += cell(text);
  const double macs = static_cast<double>(s.cost.macs), read = static_cast<double>(s.bytes_read),
               written = static_cast<double>(s.bytes_written);
  html += number_cell(format("%.2f", macs * 1e-6), macs) + number_cell(format("%.1f", read / 1024), read) +
          number_cell(format("%.1f", written / 1024), written);
  return html + cell((s.port ? "port +" : "arena +") + std::to_string(s.offset)) +
         cell(s.why.empty() ? s.fused : s.why) + "</tr>\n";
}

}  // namespace

std::string explain_page(const std::string& title, const Plan& plan) {
  const std::vector<PlanStep> steps = plan.steps();
  const bool trains = !steps.empty() && steps.back().backward;
  std::string table = table_head("Steps in their order", {{"#", true},
                                                          {"op"},
                                                          {"node"},
                                                          {"kernel"},
                                                          {"shape"},
                                                          {"layout"},
                                                          {"MMACs", true},
                                                          {"KiB read", true},
                                                          {"KiB written", true},
                                                          {"where"},
                                                          {"fused, or why it moves"}});
  for (std::size_t i = 0; i < steps.size(); ++i) table += row(i, steps[i]);
  return page(title,
              memory_facts(plan.stats()) +
                  section("Memory",
                          std::string("Each box is a value: across, the steps that keep it; upwards, its place in "
                                      "the arena. The dashed line is the least that must be kept at once") +
                              (trains ? ", the upright one the beginning of the backward." : "."),
                          "<figure class=\"wide\">" + memory_map(plan) + "</figure>") +
                  section("Steps", "Steps that only move data are coloured.", table + "</tbody></table></div>"));
}

}  // namespace slimneck::cli
