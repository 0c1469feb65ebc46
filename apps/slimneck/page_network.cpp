#include "page_network.hpp"

#include <algorithm>
#include <charconv>
#include <memory>

#include "cli.hpp"
#include "measure/turns.hpp"
#include "page.hpp"

namespace slimneck::cli {

StepTimes time_steps(Plan& plan, bool train, int runs) {
  StepTimes times{plan.steps(), {}};
  Timeline timeline = plan.timeline();
  std::vector<std::vector<double>> all(times.steps.size());
  for (int run = -1; run < runs; ++run) {  // the first one warms up
    plan.forward(&timeline);
    if (train) plan.backward(&timeline);
    plan.wait();
    if (run < 0) continue;
    for (std::size_t i = 0; i < all.size(); ++i) all[i].push_back(timeline.steps[i].ms());
  }
  for (const std::vector<double>& step : all) times.ms.push_back(measure::quantile(step, 0.5));
  return times;
}

namespace {

/// A module with what is in it, in the order of the steps.
struct Branch {
  std::string name, detail;
  std::vector<std::unique_ptr<Branch>> parts;
  index_t macs = 0;
  double ms = 0;

  Branch& part(const std::string& part_name) {
    for (const std::unique_ptr<Branch>& p : parts)
      if (p->name == part_name) return *p;
    parts.push_back(std::make_unique<Branch>());
    parts.back()->name = part_name;
    return *parts.back();
  }
};

/// "model.13.cv1.conv" is the step `conv` of `cv1` of layer 13.
std::vector<std::string> path_of(const std::string& name) {
  std::vector<std::string> path;
  for (std::size_t at = 0; at <= name.size();) {
    const std::size_t dot = std::min(name.find('.', at), name.size());
    path.push_back(name.substr(at, dot - at));
    at = dot + 1;
  }
  return path;
}

/// What a layer is, as the model file calls it.
std::string title_of(const Model& model, const std::string& index) {
  int layer = -1;
  std::from_chars(index.data(), index.data() + index.size(), layer);
  const bool known = layer >= 0 && layer < static_cast<int>(model.layers.size());
  return known ? index + " " + model.layers[static_cast<std::size_t>(layer)].module : index;
}

Branch tree_of(const Model& model, const StepTimes& times) {
  Branch root;
  root.name = model.name;
  for (std::size_t i = 0; i < times.steps.size(); ++i) {
    const PlanStep& step = times.steps[i];
    std::vector<std::string> path = path_of(step.name);
    if (path.size() > 1 && path[0] == "model") {
      path.erase(path.begin());
      path[0] = title_of(model, path[0]);
    }
    path.push_back(step.op + (step.backward ? ", backward" : ""));
    Branch* at = &root;
    for (std::size_t k = 0; k <= path.size(); ++k) {
      at->macs += step.cost.macs;
      at->ms += times.ms[i];
      if (k < path.size()) at = &at->part(path[k]);
    }
    at->detail = step.kernel + ", " + to_string(step.shape);
  }
  return root;
}

std::string row(const Branch& b, const Branch& root) {
  const double part = root.ms > 0 ? b.ms / root.ms : 0;
  return "<span class=\"row\"><b>" + escaped(b.name) +
         (b.detail.empty() ? "" : " <small>" + escaped(b.detail) + "</small>") + "</b>" +
         format(
             "<span>%.2f</span><span>%.3f</span><i title=\"%.1f %% of the time\"><i "
             "style=\"width:%.1f%%\"></i></i></span>",
             1e-6 * static_cast<double>(b.macs), b.ms, 100 * part, 100 * part);
}

std::string attributes(const Branch& b) {
  return format(" data-macs=\"%lld\" data-ms=\"%.9g\"", static_cast<long long>(b.macs), b.ms);
}

// NOLINTNEXTLINE(misc-no-recursion): as deep as modules lie in one another
void write(const Branch& b, const Branch& root, std::string& html) {
  if (b.parts.empty()) {
    html += "<div class=\"leaf\"" + attributes(b) + ">" + row(b, root) + "</div>";
    return;
  }
  html += std::string("<details") + (&b == &root ? " open" : "") + attributes(b) + "><summary>" + row(b, root) +
          "</summary>";
  for (const std::unique_ptr<Branch>& part : b.parts) write(*part, root, html);
  html += "</details>\n";
}

}  // namespace

std::string network_sections(const Model& model, const Plan& plan, const StepTimes& times) {
  const Branch root = tree_of(model, times);
  std::string tree =
      "<p><button class=\"tool\" type=\"button\" data-unfold=\"true\">Unfold all</button> "
      "<button class=\"tool\" type=\"button\" data-unfold=\"false\">Fold all</button></p>"
      "<div class=\"tree\"><div class=\"leaf muted\"><span class=\"row\"><b>module</b><span>MMACs</span><span>ms</span>"
      "<i style=\"background:none\"></i></span></div>";
  write(root, root, tree);
  const bool trains = !times.steps.empty() && times.steps.back().backward;
  return section("Network",
                 escaped(model.name) + (trains ? ", a training step" : ", inference") +
                     ": every module with what it holds, its multiply-adds and the median time of its steps.",
                 tree + "</div>") +
         section(
             "Memory",
             std::string("Where the plan keeps its values: across, the steps that keep one; upwards, its place in the "
                         "arena. The dashed line is the least that must be kept at once") +
                 (trains ? ", the upright one the beginning of the backward." : "."),
             "<figure class=\"wide\">" + memory_map(plan) + "</figure>" + memory_facts(plan.stats()));
}

}  // namespace slimneck::cli
