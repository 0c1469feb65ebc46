// Work in every convention and pass: against the programs whose conventions they are, and against loops that count.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "layers/modules/modules.hpp"
#include "shared_data.hpp"
#include "slimneck/cost.hpp"

using namespace slimneck;
using nlohmann::json;

namespace {

index_t extent(index_t size, index_t k, index_t stride, index_t pad, index_t dilation) {
  return (size + 2 * pad - dilation * (k - 1) - 1) / stride + 1;
}

struct Counts {
  index_t forward = 0, input = 0, weight = 0;
};

/// Walks the loops of a convolution over its padded picture and counts products that go into y, dx and dw. `wanted`
/// tells whether anybody needs dx.
Counts counted(const Node& conv, const Shape& x, const Shape& w, bool wanted) {
  const auto at = [&](const char* name) { return conv.attributes.integer(name); };
  const index_t groups = at("groups"), stride = at("stride"), dilation = at("dilation");
  const index_t oh = extent(x.h, w.h, stride, at("pad_h"), dilation);
  const index_t ow = extent(x.w, w.w, stride, at("pad_w"), dilation);
  Counts counts;
  for (index_t n = 0; n < x.n; ++n)
    for (index_t o = 0; o < w.n; ++o)
      for (index_t c = o / (w.n / groups) * w.c, end = c + w.c; c < end; ++c)  // the channels of o's group
        for (index_t i = 0; i < oh; ++i)
          for (index_t j = 0; j < ow; ++j)
            for (index_t u = 0; u < w.h; ++u)
              for (index_t v = 0; v < w.w; ++v) {
                ++counts.forward;                // y[n,o,i,j] += w[o,c,u,v] x[n,c,..]
                ++counts.weight;                 // dw[o,c,u,v] += dy[n,o,i,j] x[n,c,..]
                counts.input += wanted ? 1 : 0;  // dx[n,c,..] += w[o,c,u,v] dy[n,o,i,j]
              }
  return counts;
}

/// Every convolution that an output needs. Its dx is wanted where its input depends on some parameter.
Counts counted(const Graph& graph) {
  std::vector<Value> roots;
  for (const Output& output : graph.outputs()) roots.push_back(output.value);
  const std::vector<char> needed = graph.needed(roots);
  std::vector<char> learns(static_cast<std::size_t>(graph.size()), 0);
  Counts sum;
  for (int i = 0; i < graph.size(); ++i) {
    const Node& node = graph.node(i);
    learns[static_cast<std::size_t>(i)] =
        node.role == Role::parameter || std::any_of(node.inputs.begin(), node.inputs.end(), [&](const Value& v) {
          return v.valid() && learns[static_cast<std::size_t>(v.node)];
        });
    if (node.op != &ops::conv2d || !needed[static_cast<std::size_t>(i)]) continue;
    const Counts counts = counted(node, graph.shape(node.inputs[0]), graph.shape(node.inputs[1]),
                                  learns[static_cast<std::size_t>(node.inputs[0].node)] != 0);
    sum.forward += counts.forward;
    sum.input += counts.input;
    sum.weight += counts.weight;
  }
  return sum;
}

Cost without_norm(Cost cost) {
  cost.norm_elements = 0;
  return cost;
}

}  // namespace

TEST_CASE("every pass of a network has the multiply-adds that its loops have") {
  for (const char* name : {"yolov5n", "slimneck-n", "slimneck-c-n"}) {
    CAPTURE(name);
    const Model model = load_model(name, {.batch = 2, .height = 32, .width = 64});
    const Counts want = counted(model.graph);
    const PassCosts got = model_cost(model).total;
    CHECK(got.forward.macs == want.forward);
    CHECK(got.input_gradient.macs == want.input);
    CHECK(got.weight_gradient.macs == want.weight);
    CHECK(got.other_backward.macs == 0);
    CHECK(got.step().macs == want.forward + want.input + want.weight);
    // The picture needs no gradient: that of the first layer is what is missing.
    CHECK(want.input == want.forward - model_cost(model).layers[0].forward.macs);
  }
}

TEST_CASE("every pass has the multiply-adds that the reference kernels do") {
  // On ones each of them adds one to a sum. Without padding: a tap beside the picture is counted, and adds nothing.
  struct Case {
    Shape x, w;
    kernels::Conv2d geometry;
  };
  const auto sum = [](const Tensor& t) { return std::accumulate(t.data<double>(), t.data<double>() + t.numel(), 0.0); };
  for (const Case& q :
       {Case{{2, 6, 7, 9}, {4, 6, 3, 3}, {}}, Case{{1, 5, 4, 6}, {7, 5, 1, 1}, {}},
        Case{{1, 4, 11, 9}, {6, 4, 3, 3}, {.stride = 2}}, Case{{2, 6, 9, 8}, {4, 3, 3, 3}, {.groups = 2}},
        Case{{1, 4, 9, 7}, {4, 1, 5, 5}, {.groups = 4}}}) {
    CAPTURE(to_string(q.x));
    CAPTURE(to_string(q.w));
    Graph graph;
    const Value x = graph.input("x", q.x), w = graph.parameter("w", {q.w.n, q.w.c, q.w.h, q.w.w});
    const Value y = graph.add(ops::conv2d, {x, w}, {{"stride", q.geometry.stride}, {"groups", q.geometry.groups}});
    graph.output("y", y);
    const auto ones = [](const Shape& shape) {
      Tensor t(shape, DType::f64);
      std::fill_n(t.data<double>(), t.numel(), 1.0);
      return t;
    };
    const Tensor in = ones(q.x), weights = ones(q.w), dy = ones(graph.shape(y));
    Tensor out = ones(graph.shape(y)), dx = ones(q.x), dw = ones(q.w);
    kernels::conv2d_fwd<double>(in.view<double>(), weights.view<double>(), {}, out.view<double>(), q.geometry);
    kernels::conv2d_bwd_x<double>(dy.view<double>(), weights.view<double>(), dx.view<double>(), q.geometry);
    kernels::conv2d_bwd_w<double>(in.view<double>(), dy.view<double>(), dw.view<double>(), q.geometry);
    const PassCosts costs = pass_costs(graph, std::array{x, w});
    CHECK(static_cast<double>(costs.forward.macs) == sum(out));
    CHECK(static_cast<double>(costs.input_gradient.macs) == sum(dx));
    CHECK(static_cast<double>(costs.weight_gradient.macs) == sum(dw));
  }
}

TEST_CASE("what is no convolution is counted apart") {
  const Model model = load_model("slimneck-n", {.height = 64, .width = 64});
  const PassCosts cost = model_cost(model).total;
  index_t norm = 0, act = 0, up = 0;
  const GraphCost nodes = model.graph.cost();
  for (const NodeCost& node : nodes.nodes) {
    const Shape& out = model.graph.shape({node.node, 0});
    if (node.op == "batch_norm") norm += out.numel();
    if (node.op == "silu") act += out.numel();
    if (node.op == "upsample") up += out.numel();
  }
  CHECK(norm > 0);
  CHECK(cost.forward.norm_elements == norm);
  CHECK(cost.forward.act_elements == act);
  CHECK(cost.forward.upsample_elements == up);
  CHECK(cost.other_backward.norm_elements == norm);  // each has one gradient
  CHECK(cost.other_backward.act_elements == act);
  CHECK(cost.forward.bias_adds == 255 * (64 + 16 + 4));  // three heads with biases
  CHECK(cost.weight_gradient.other_flops == cost.forward.bias_adds);
}

TEST_CASE("layers add up to their network") {
  for (const char* name : {"yolov5n", "slimneck-c-n", "slimneck3-n"}) {
    CAPTURE(name);
    const Model model = load_model(name, {.height = 64, .width = 64});
    const ModelCost cost = model_cost(model);
    const ModelStats stats = model_stats(model);
    REQUIRE(cost.layers.size() == model.layers.size());
    Cost forward, step;
    for (std::size_t i = 0; i < cost.layers.size(); ++i) {
      CHECK(cost.layers[i].forward.macs == stats.layers[i].macs);
      forward += cost.layers[i].forward;
      step += cost.layers[i].step();
    }
    for (const FlopConvention& convention : flop_conventions()) {
      CAPTURE(convention.name);
      CHECK(convention.count(forward) == convention.count(stats.cost));
      CHECK(convention.count(step) == convention.count(cost.total.step()));
    }
    CHECK(step.bytes_written == cost.total.step().bytes_written);
  }
}

TEST_CASE("modules cost what docs/gsconv.md derives") {
  using namespace modules;
  // MACs per pixel of a module from c1 to c2 channels in the paper's dialect, or another.
  const auto macs = [](index_t c1, const char* dialect, auto build) {
    Graph graph;
    const Value x = graph.input("x", {1, c1, 2, 3});
    graph.output("y", build(ModuleBuilder(graph, *find_dialect(dialect), "m"), x));
    const index_t all = graph.cost().total.macs;
    CHECK(all % 6 == 0);
    return static_cast<double>(all / 6);
  };
  const auto g = [](double k, double c1, double c2) { return k * k * c1 * c2 / 2 + 25 * c2 / 2; };
  const auto silu = kernels::Activation{kernels::Act::silu};
  for (const index_t width : {16, 48, 128}) {
    CAPTURE(width);
    const auto c = static_cast<double>(width), c1 = c + 8, c2 = 2 * c;
    for (const index_t k : {1, 3})
      CHECK(macs(width + 8, "paper", [&](const ModuleBuilder& b, Value x) {
              return gsconv(b, x, 2 * width, {.k = k}, silu);
            }) == g(static_cast<double>(k), c1, c2));
    CHECK(macs(width + 8, "paper", [&](const ModuleBuilder& b, Value x) {
            return dsconv(b, x, 2 * width, {.k = 3}, silu);
          }) == 9 * c1 + c1 * c2);
    const double hidden_half = 3.5 * c * c + 18.75 * c;
    CHECK(macs(width, "paper", [&](const ModuleBuilder& b, Value x) { return gsbottleneck(b, x, width); }) ==
          hidden_half);
    CHECK(macs(width, "y5", [&](const ModuleBuilder& b, Value x) { return gsbottleneck(b, x, width, 1.0); }) ==
          6 * c * c + 25 * c);
    CHECK(macs(width, "paper", [&](const ModuleBuilder& b, Value x) { return gsbottleneckc(b, x, width); }) ==
          2.5 * c * c + 27.75 * c);
    const double b_cost = 2 * c1 * c + hidden_half + 4 * c * c;
    const auto csp = [&](CspDesign design) {
      return macs(width + 8, "paper",
                  [&](const ModuleBuilder& b, Value x) { return vovgscsp(b, x, 2 * width, 1, 0.5, design); });
    };
    CHECK(csp(CspDesign::b) == b_cost);
    CHECK(csp(CspDesign::c) == b_cost + 11 * c * c);
    CHECK(csp(CspDesign::d) == b_cost + 18 * c * c);
    CHECK(macs(width + 8, "yolov5", [&](const ModuleBuilder& b, Value x) { return c3(b, x, 2 * width); }) ==
          2 * c1 * c + 14 * c * c);
  }
}

TEST_CASE("conventions count what the programs count that they are named after") {
  std::ifstream in(test::test_data("flop_counters.json"));
  REQUIRE(in);
  const json rows = json::parse(in);
  const std::map<std::string, std::string> convention_of{{"thop", "thop_pypi"},
                                                         {"ultralytics-thop", "ultralytics_thop"},
                                                         {"fvcore", "fvcore"},
                                                         {"FlopCounterMode", "conv"}};
  int compared = 0;
  for (const json& row : rows) {
    const std::string name = row["model"], program = row["program"];
    CAPTURE(name);
    CAPTURE(program);
    const Cost cost = model_stats(load_model(name, {.dialect = "y5", .height = 64, .width = 64})).cost;
    const bool folded = row["folded"];
    if (const auto at = convention_of.find(program); at != convention_of.end()) {
      CHECK(find_flop_convention(at->second)->count(folded ? without_norm(cost) : cost) == row["count"]);
      ++compared;
    }
    // YOLOv5 doubles what thop says; torchinfo adds the biases of a folded model to its MACs.
    if (program == "ultralytics-thop" && !folded)
      CHECK(find_flop_convention("thop")->count(cost) == 2 * row["count"].get<index_t>());
    if (program == "torchinfo" && folded)
      CHECK(find_flop_convention("fused_bias")->count(cost) == 2 * row["count"].get<index_t>());
  }
  CHECK(compared == 3 * 2 * 4);
}

TEST_CASE("conventions have names of their own, and one counts everything") {
  std::set<std::string_view> names;
  for (const FlopConvention& convention : flop_conventions()) {
    CHECK(names.insert(convention.name).second);
    CHECK(find_flop_convention(convention.name) == &convention);
  }
  CHECK(find_flop_convention("flops") == nullptr);
  const Cost cost{.macs = 1,
                  .bias_adds = 10,
                  .norm_elements = 100,
                  .act_elements = 1000,
                  .upsample_elements = 10000,
                  .other_flops = 100000};
  CHECK(find_flop_convention("arithmetic")->count(cost) == cost.flops());
  CHECK(find_flop_convention("fvcore")->count(cost) == 10201);
  CHECK(find_flop_convention("thop_old")->giga(cost) == 20422e-9);
}
