// slimneck info: the layers of a model, its parameters and its work.
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "model_table.hpp"
#include "slimneck/cost.hpp"

namespace slimneck::cli {

namespace {

struct InfoArguments {
  ModelArguments model;
  bool json = false;
};

long long ll(index_t number) { return static_cast<long long>(number); }

void print_totals(const Model& model, const ModelStats& stats) {
  const Graph& graph = model.graph;
  const Shape& input = graph.shape({0, 0});
  print(format("\n%s (dialect %s, %s, %s), input %s\n", model.name.c_str(), model.dialect.c_str(),
               model.activation.c_str(), model.shuffle.c_str(), to_string(input).c_str()));
  print(format("layers          %zu\n", model.layers.size()));
  print(format("parameters      %lld\n", ll(stats.parameters)));
  print(format("dead parameters %lld%s\n", ll(stats.dead_parameters),
               stats.dead_parameters > 0 ? " (no output depends on them)" : ""));
  print(format("MACs            %lld\n", ll(stats.macs)));
  for (const FlopConvention& convention : flop_conventions())
    print(format("%-16s%-18s%10.4f  %s\n", &convention == flop_conventions().data() ? "GFLOPs" : "",
                 std::string(convention.name).c_str(), convention.giga(stats.cost),
                 std::string(convention.meaning).c_str()));
  for (const std::string& name : stats.dead) print("dead: " + name + "\n");
}

void print_json(const Model& model, const ModelStats& stats) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const ModelLayer& layer = model.layers[i];
    const ModelStats::Layer& counts = stats.layers[i];
    nlohmann::ordered_json item{{"index", layer.index},   {"from", layer.from},      {"n", layer.repeats},
                                {"module", layer.module}, {"args", layer.arguments}, {"parameters", counts.parameters},
                                {"macs", counts.macs}};
    if (layer.from.size() == 1) item["from"] = layer.from[0];
    // One output is a shape, several (Detect's levels) are a list of shapes.
    if (counts.shapes.size() == 1)
      item["shape"] = counts.shapes[0];
    else
      item["shape"] = counts.shapes;
    layers.push_back(std::move(item));
  }
  nlohmann::ordered_json gflops;
  for (const FlopConvention& convention : flop_conventions())
    gflops[std::string(convention.name)] = convention.giga(stats.cost);
  const nlohmann::ordered_json all{{"name", model.name},
                                   {"dialect", model.dialect},
                                   {"activation", model.activation},
                                   {"shuffle", model.shuffle},
                                   {"parameters", stats.parameters},
                                   {"dead_parameters", stats.dead_parameters},
                                   {"macs", stats.macs},
                                   {"gflops", gflops},
                                   {"layers", layers}};
  print(all.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

void run(const InfoArguments& arguments) {
  const OpenModel open = open_model(arguments.model);
  if (open.weights) static_cast<void>(open.parameters());  // throws when they do not fit
  const ModelStats stats = model_stats(open.model);
  if (arguments.json) return print_json(open.model, stats);
  print(model_table(open.model, stats));
  print_totals(open.model, stats);
}

}  // namespace

void add_info(CLI::App& app) {
  CLI::App* command = app.add_subcommand("info", "layers, parameters, MACs and GFLOPs of a model");
  auto arguments = std::make_shared<InfoArguments>();
  arguments->model.add_to(*command);
  command->add_flag("--json", arguments->json, "print JSON");
  command->footer(
      "Examples:\n  slimneck info --cfg slimneck-s\n  slimneck info --cfg slimneck-c-n --dialect paper --json");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
