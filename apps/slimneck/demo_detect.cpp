#include "cli.hpp"
#include "demo.hpp"
#include "page.hpp"
#include "page_network.hpp"
#include "slimneck/evaluate.hpp"
#include "slimneck/metrics.hpp"
#include "train_report.hpp"
#include "val_files.hpp"

namespace slimneck::cli {

namespace fs = std::filesystem;

namespace {

/// Modules, times and memory of the plan that looks at one picture.
std::string network_part(OpenModel& open, Parameters& parameters) {
  constexpr int runs = 9;
  const Graph graph = results_only(open.model.graph);
  Plan plan(graph, parameters, PlanOptions{});
  return network_sections(open.model, plan, time_steps(plan, false, runs));
}

}  // namespace

std::string show_detection(const DemoArguments& arguments, const DemoData& data) {
  constexpr index_t net_size = 320, batch = 16;
  ModelArguments model;
  model.weights = default_weights().string();
  model.img = {net_size};
  OpenModel open = open_model(model);
  Parameters parameters = open.parameters();
  const ModelStats stats = model_stats(open.model);

  EvaluateOptions options;
  options.batch = batch;
  options.img = net_size;
  Evaluator evaluator(open.model, parameters, data.test, options);
  const ValFilesOptions saved{.folder = {.project = arguments.output.string(), .name = "found", .exist_ok = true}};
  ValFiles files(saved, data.test, data.config.names, "");
  const Evaluation found =
      evaluator([&](const Batch& pictures, std::span<const Judged> judged) { files.add(pictures, judged); });
  const Metrics metrics = yolov5_metrics(found.judged);
  files.finish(metrics);

  const std::string sentence = format(
      "%s (%.2f M parameters, %.2f GMACs at %lldx%lld) with the weights of %s finds %.0f of %lld objects in %lld "
      "pictures that were drawn a moment ago, at a precision of %.2f: mAP 0.5 is %.3f, mAP 0.5:0.95 is %.3f. The "
      "network takes %.1f ms a picture.",
      open.model.name.c_str(), 1e-6 * static_cast<double>(stats.parameters), 1e-9 * static_cast<double>(stats.macs),
      static_cast<long long>(net_size), static_cast<long long>(net_size),
      fs::path(model.weights).filename().string().c_str(), metrics.r * static_cast<double>(metrics.labels),
      static_cast<long long>(metrics.labels), static_cast<long long>(metrics.images), metrics.p, metrics.map50,
      metrics.map50_95, found.ms.inference);
  const fs::path picture = files.directory() / "val_batch0_pred.jpg";
  print("\n" + sentence + "\n  " + picture.string() + "\n\n");
  flush_output();
  return section("Finding shapes", escaped(sentence),
                 picture_figure(picture, "The first of them, with what was found and how sure the network is.") +
                     class_table("What was found, class by class", val_rows(metrics, nullptr, data.config.names))) +
         network_part(open, parameters);
}

}  // namespace slimneck::cli
