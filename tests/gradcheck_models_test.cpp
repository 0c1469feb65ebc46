// Whole networks: are the gradients of every model of the library derivatives? Central differences along random
// directions of all inputs and parameters at once, in double precision.
#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "slimneck/gradcheck.hpp"
#include "slimneck/model.hpp"

using namespace slimneck;

TEST_SUITE_BEGIN("gradcheck_models");

namespace {

Model small_model(const std::string& name, const std::string& dialect) {
  ModelOptions options;
  options.dialect = dialect;
  options.batch = 2;
  options.height = options.width = 64;
  return load_model(name, options);
}

GradientCheckResult check(const Graph& graph, int directions) {
  Parameters parameters(graph, DType::f64);
  GradientCheckOptions options;
  options.initialise = false;
  options.directions = directions;
  return check_gradients(graph, parameters, options);
}

/// The same ops on the same values.
bool same(const Graph& a, const Graph& b) {
  return std::equal(
      a.nodes().begin(), a.nodes().end(), b.nodes().begin(), b.nodes().end(), [](const Node& x, const Node& y) {
        return x.op == y.op && x.role == y.role && x.name == y.name && x.attributes.items() == y.attributes.items() &&
               x.inputs == y.inputs && x.shapes == y.shapes;
      });
}

}  // namespace

TEST_CASE("the gradients of every model are derivatives") {
  int checked = 0;
  for (const std::string& name : model_names()) {
    const Model paper = small_model(name, "paper"), y5 = small_model(name, "y5");
    const bool equal = same(paper.graph, y5.graph);
    // The dialects differ in GS modules only; twice the same graph would tell nothing more.
    CHECK(equal == name.starts_with("yolov5"));
    for (const Model* model : {&paper, &y5}) {
      if (equal && model == &y5) continue;
      const auto start = std::chrono::steady_clock::now();
      const int directions = name.back() == 'n' ? 8 : name.back() == 's' ? 2 : 1;
      const GradientCheckResult result = check(model->graph, directions);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      MESSAGE(name << " (" << (equal ? "both dialects" : model->dialect) << "): worst difference / allowed "
                   << result.worst << ", " << seconds.count() << " s");
      CAPTURE(name);
      CAPTURE(model->dialect);
      CHECK(result.samples == directions);
      CHECK(result.passed());
      ++checked;
    }
  }
  CHECK(checked >= 2 * 15 + 5);
}

namespace {

/// The op with a gradient twice as large as it should be: for its inputs, and for everything before them.
template <const OpDef* op>
OpDef doubled() {
  OpDef wrong = *op;
  wrong.gradient = [](GradientContext& context) {
    op->gradient(context);
    op->gradient(context);
  };
  return wrong;
}

/// The graph with another op at one node.
Graph with_op(const Graph& graph, int at, const OpDef& op) {
  Graph copy;
  for (int i = 0; i < graph.size(); ++i) {
    const Node& n = graph.node(i);
    if (n.role == Role::input)
      copy.input(n.name, n.shapes.at(0));
    else if (n.role == Role::parameter)
      copy.parameter(n.name, n.dims, n.init);
    else if (n.role == Role::state)
      copy.state(n.name, n.dims, n.init);
    else
      copy.add(i == at ? op : *n.op, n.inputs, n.attributes, n.name);
  }
  REQUIRE(copy.size() == graph.size());
  copy.set_outputs(graph.outputs());
  for (const Update& u : graph.updates()) copy.update(u.state, u.value);
  return copy;
}

}  // namespace

TEST_CASE("one wrong gradient in a whole network is seen") {
  const Graph graph = small_model("slimneck-n", "y5").graph;
  const OpDef wrong[] = {doubled<&ops::conv2d>(), doubled<&ops::silu>(),     doubled<&ops::channel_shuffle>(),
                         doubled<&ops::concat>(), doubled<&ops::max_pool>(), doubled<&ops::upsample>(),
                         doubled<&ops::add>()};
  for (const OpDef& op : wrong) {
    std::vector<int> nodes;
    for (int i = 0; i < graph.size(); ++i)
      if (graph.node(i).op != nullptr && graph.node(i).op->name == op.name) nodes.push_back(i);
    CAPTURE(op.name);
    REQUIRE_FALSE(nodes.empty());
    for (const int node : {nodes.front(), nodes.back()}) {
      const GradientCheckResult result = check(with_op(graph, node, op), 1);
      MESSAGE(op.name << " '" << graph.node(node).name << "': difference / allowed " << result.worst);
      CHECK_FALSE(result.passed());
    }
  }
  CHECK(check(with_op(graph, -1, ops::silu), 1).passed());
}

TEST_SUITE_END();
