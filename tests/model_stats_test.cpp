// Published counts: parameters, multiply-adds and shapes of the networks, and of single modules.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "layers/modules/modules.hpp"
#include "shared_data.hpp"
#include "slimneck/cost.hpp"
#include "slimneck/model.hpp"
#include "slimneck/weights.hpp"

using namespace slimneck;
using nlohmann::json;

namespace {

json golden(const char* file) {
  std::ifstream in(test::test_data(file));
  REQUIRE_MESSAGE(in, file);
  return json::parse(in);
}

/// The library's name for a row of the table.
std::string name_of(const json& model) {
  const std::string neck = model["neck"], scale = model["scale"];
  if (neck == "c3") return "yolov5" + scale;
  return (neck == "slim" ? "slimneck" : neck == "slimc" ? "slimneck-c" : neck) + "-" + scale;
}

void check_layers(const json& want, const Model& model, const ModelStats& stats) {
  REQUIRE(stats.layers.size() == want.size());
  for (std::size_t i = 0; i < want.size(); ++i) {
    const ModelStats::Layer& got = stats.layers[i];
    CAPTURE(i);
    CHECK(got.parameters == want[i]["params"]);
    CHECK(got.dead_parameters == want[i]["dead_params"]);
    CHECK(got.macs == want[i]["conv_macs"]);
    CHECK(model.layers[i].repeats == want[i]["n"]);
    const json& out = want[i]["out"];
    CHECK(json(got.shapes) == (out[0].is_array() ? out : json::array({out})));
  }
}

/// Builds one module between an input of c1 x h x w and an output.
template <class Build>
Graph module_graph(const json& at, const char* c1, Build build) {
  Graph graph;
  const Value x = graph.input("x", {1, at[c1], at["h"], at["w"]});
  const ModuleBuilder b(graph, *find_dialect("paper"), "m");
  graph.output("y", build(b, x, at["c2"].get<index_t>(), ModuleBuilder::ConvArgs{.k = at["k"]}, b.act(true)));
  return graph;
}

void check_cost(const Graph& graph, const json& want) {
  index_t weights = 0;
  for (const Node& node : graph.nodes())
    if (node.role == Role::parameter && node.dims.size() == 4) weights += node.shapes[0].numel();
  CHECK(weights == want["weights"]);
  CHECK(graph.cost().total.macs == want["macs"]);
}

std::set<std::string> state_names(const Graph& graph) {
  std::set<std::string> names;
  for (const Node& node : graph.nodes())
    if (node.role == Role::parameter || node.role == Role::state) CHECK(names.insert(node.name).second);
  return names;
}

}  // namespace

TEST_CASE("thirty networks have the published parameters, multiply-adds and shapes") {
  const json table = golden("model_stats.json");
  REQUIRE(table["models"].size() == 30);
  for (const json& want : table["models"]) {
    const std::string name = name_of(want), dialect = want["family"];
    CAPTURE(name);
    CAPTURE(dialect);
    const Model model = load_model(name, {.dialect = dialect});
    const ModelStats stats = model_stats(model);
    CHECK(model.name == name);
    CHECK(model.warnings.empty());
    CHECK(stats.parameters == want["params"]);
    CHECK(stats.dead_parameters == want["dead_params"]);
    CHECK(stats.macs == want["conv_macs"]);
    // The table's numbers are the same integers, divided the same way.
    for (const std::string convention : {"conv", "thop", "thop_old", "fused_bias"})
      CHECK(find_flop_convention(convention)->giga(stats.cost) == want["gflops_" + convention]);
    CHECK(stats.dead.empty() == (stats.dead_parameters == 0));
    for (const std::string& parameter : stats.dead) CHECK(parameter.find(".res.") != std::string::npos);
    check_layers(want["layers"], model, stats);
  }
}

TEST_CASE("single modules cost what their formulas say") {
  const json table = golden("conv_costs.json");
  REQUIRE(table.size() == 9);
  for (const json& at : table) {
    CAPTURE(at["k"]);
    CAPTURE(at["c1"]);
    CAPTURE(at["c2"]);
    check_cost(module_graph(at, "c1", modules::conv), at["sc"]);
    check_cost(module_graph(at, "c2", modules::dwconv), at["dw"]);
    check_cost(module_graph(at, "c1", modules::dsconv), at["dsc"]);
    check_cost(module_graph(at, "c1", modules::gsconv), at["gsconv"]);
    check_cost(module_graph(at, "c1", modules::gsconvns), at["gsconvns"]);
    check_cost(module_graph(at, "c1", modules::ghostconv), at["ghost"]);
  }
}

TEST_CASE("parameters and state are named and shaped as in published weight files") {
  const auto compare = [](const std::filesystem::path& file, const Model& model) {
    const SafeTensors weights = SafeTensors::read(file);
    std::set<std::string> wanted;
    for (const auto& entry : weights.entries()) wanted.insert(entry.name);
    std::set<std::string> ours = state_names(model.graph);
    // Some files leave out the counters, which inference does not need.
    std::erase_if(ours,
                  [&](const std::string& n) { return n.ends_with("num_batches_tracked") && !wanted.contains(n); });
    CHECK(ours == wanted);
    for (const Node& node : model.graph.nodes())
      if (const auto* entry = weights.find(node.name); entry != nullptr && node.role != Role::computed)
        CHECK_MESSAGE(entry->dims == node.dims, node.name);
  };
  const auto yolov5n = test::shared_data("data/weights/yolov5n-v7.0.safetensors");
  const auto slim = test::shared_data("golden/model/yolov5n_slim_nc3_weights.safetensors");
  if (!yolov5n || !slim) {
    MESSAGE("skipped: the large reference data are not here");
    return;
  }
  compare(*yolov5n, load_model("yolov5n"));
  compare(*slim, load_model("slimneck-n", {.dialect = "y5", .classes = 3}));
}
