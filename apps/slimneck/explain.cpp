// slimneck explain: what a plan does, step by step.
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "explain_page.hpp"
#include "slimneck/files.hpp"

namespace slimneck::cli {

namespace {

using Json = nlohmann::ordered_json;

struct ExplainArguments {
  ModelArguments model;
  std::string mode = "infer", html;
  index_t batch = 1;
  bool json = false;
  ExecArguments exec;
};

Json shape_of(const Shape& s) { return {s.n, s.c, s.h, s.w}; }

Json node_of(const PlanStep& s) {
  return {{"name", s.name},
          {"op", s.op},
          {"pass", s.backward ? "backward" : "forward"},
          {"kernel", s.kernel},
          {"fused", s.fused},
          {"moved_because", s.why},
          {"in_place", s.in_place},
          {"shape", shape_of(s.shape)},
          {"layout", s.layout},
          {"macs", s.cost.macs},
          {"bytes_read", s.bytes_read},
          {"bytes_written", s.bytes_written},
          {"memory", s.port ? "port" : "arena"},
          {"offset", s.offset}};
}

/// The ops that one looks for are always there, with 0.
Json moved_of(const PlanStats& stats) {
  Json moved{{"shuffle", 0}, {"concat", 0}, {"upsample", 0}, {"reorder", 0}, {"copy", 0}};
  for (const auto& [what, bytes] : stats.bytes_moved) moved[what == "channel_shuffle" ? "shuffle" : what] = bytes;
  return moved;
}

void print_json(const ExplainArguments& arguments, const Model& model, const Plan& plan) {
  const PlanStats stats = plan.stats();
  Json nodes = Json::array(), buffers = Json::array(), again = Json::array();
  for (const PlanStep& s : plan.steps()) nodes.push_back(node_of(s));
  for (const PlanBuffer& b : plan.buffers())
    buffers.push_back({{"name", b.name},
                       {"offset", b.offset},
                       {"bytes", b.bytes},
                       {"first_step", b.first_step},
                       {"last_step", b.last_step}});
  for (const auto& [name, bytes] : stats.recomputed) again.push_back({{"name", name}, {"bytes", bytes}});
  const Exec exec = arguments.exec.exec();
  const Json all{{"model", model.name},
                 {"mode", arguments.mode},
                 {"isa", kernels_name(exec)},
                 {"bytes_moved", moved_of(stats)},
                 {"lone_activations", stats.lone_activations},
                 {"arena_peak", stats.arena_bytes},
                 {"arena_lower_bound", stats.arena_lower_bound},
                 {"order", stats.order},
                 {"kept_bytes", stats.kept_bytes},
                 {"recomputed", again},
                 {"weights_bytes", stats.packed_bytes},
                 {"persistent_bytes", stats.persistent_bytes},
                 {"workspace_bytes", stats.workspace_bytes},
                 {"nodes", nodes},
                 {"buffers", buffers}};
  print(all.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void run(const ExplainArguments& arguments) {
  OpenModel open = open_model(arguments.model);
  Parameters parameters = open.parameters();
  const PlanOptions options = arguments.exec.plan(arguments.mode == "train" ? Mode::train : Mode::infer);
  const Plan plan(with_batch(open.model.graph, arguments.batch), parameters, options);
  if (!arguments.html.empty()) {
    const std::string title = open.model.name + (options.mode == Mode::train ? ", training" : ", inference") +
                              ", batch " + std::to_string(arguments.batch);
    const Uninterrupted shield;
    write_text(arguments.html, explain_page(title, plan));
    if (!arguments.json) return print("The plan is in " + arguments.html + "\n");
  }
  if (arguments.json)
    print_json(arguments, open.model, plan);
  else
    print(plan.explain());
}

}  // namespace

void add_explain(CLI::App& app) {
  CLI::App* command = app.add_subcommand("explain", "the steps of a model's plan: kernels, layouts, bytes, memory");
  auto arguments = std::make_shared<ExplainArguments>();
  arguments->model.add_to(*command);
  command->add_option("--mode", arguments->mode, "infer or train (infer)")->check(CLI::IsMember({"infer", "train"}));
  command->add_option("--batch", arguments->batch, "pictures at once (1)")->check(integer_in(1, 4096));
  command->add_flag("--json", arguments->json, "print JSON");
  command->add_option("--html", arguments->html, "write a page with a picture of the memory")->type_name("FILE");
  arguments->exec.add_to(*command, true);
  arguments->exec.add_memory(*command);
  command->footer(
      "Examples:\n  slimneck explain --cfg slimneck-n --mode train --img 320\n"
      "  slimneck explain --cfg yolov5n --html plan.html");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
