// Graphs without running them, as far as that goes: shapes, needs, costs, differentiation, rewrites, channel maps.
#include "slimneck/graph.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string>
#include <vector>

#include "engine_case.hpp"
#include "graph/layout.hpp"
#include "graph/rewrite.hpp"
#include "layers/modules/modules.hpp"
#include "slimneck/gradcheck.hpp"
#include "slimneck/ops.hpp"

using namespace slimneck;
using namespace slimneck::graph;

using test::check_same;
using test::exec_of;

TEST_SUITE_BEGIN("graph");

namespace {

using Names = std::vector<std::string_view>;

/// The ops of the computed nodes in order.
Names op_names(const Graph& graph) {
  Names names;
  for (const Node& n : graph.nodes())
    if (n.role == Role::computed) names.push_back(n.op->name);
  return names;
}

const Rewrite& rewrite(std::string_view name) {
  const auto list = rewrites();
  const auto at = std::find_if(list.begin(), list.end(), [&](const Rewrite& r) { return r.name == name; });
  REQUIRE(at != list.end());
  return *at;
}

Graph module_graph(const Shape& x, const std::function<Value(const ModuleBuilder&, Value)>& build,
                   const char* dialect = "yolov5") {
  Graph graph;
  const ModuleBuilder b(graph, *find_dialect(dialect), "m");
  graph.output("y", build(b, graph.input("x", x)));
  return graph;
}

Value bn(Graph& graph, Value x) { return ModuleBuilder(graph, *find_dialect("yolov5"), "bn").batch_norm(x); }

}  // namespace

// ---- Graph ---------------------------------------------------------------------------------------------------------

TEST_CASE("a graph for other inputs has the shapes of one built for them") {
  const auto build = [](const ModuleBuilder& b, Value x) { return modules::vovgscsp(b, modules::sppf(b, x, 16), 16); };
  const Shape small{1, 8, 8, 8}, large{3, 8, 13, 21};
  const Graph moved = module_graph(small, build).with_inputs({&large, 1}), built = module_graph(large, build);
  REQUIRE(moved.size() == built.size());
  for (int i = 0; i < moved.size(); ++i) CHECK(moved.node(i).shapes == built.node(i).shapes);
  CHECK(moved.cost().total.macs == built.cost().total.macs);

  const std::vector<Shape> two{small, small};
  CHECK_THROWS_WITH_AS(static_cast<void>(moved.with_inputs(two)), "with_inputs: more shapes than the graph has inputs",
                       ShapeError);
  CHECK_THROWS_AS(static_cast<void>(moved.with_inputs({})), ShapeError);
  const Shape other_channels{1, 9, 8, 8}, huge{1, 8, index_t{1} << 30, index_t{1} << 30};
  CHECK_THROWS_AS(static_cast<void>(moved.with_inputs({&other_channels, 1})), ShapeError);
  CHECK_THROWS_AS(static_cast<void>(moved.with_inputs({&huge, 1})), ShapeError);
}

TEST_CASE("needed flags what values depend on, sources included") {
  Graph graph;
  const Value x = graph.input("x", {1, 2, 3, 3}), unread = graph.input("unread", {1, 2, 3, 3});
  const Value a = graph.add(ops::silu, {x}), b = graph.add(ops::relu, {x}), c = graph.add(ops::add, {a, unread});
  const std::array<Value, 2> one{a, Value{}};
  CHECK(graph.needed(one) == std::vector<char>{1, 0, 1, 0, 0});
  CHECK(graph.needed({&c, 1}) == std::vector<char>{1, 1, 1, 0, 1});
  CHECK(graph.needed({&b, 1}) == std::vector<char>{1, 0, 0, 1, 0});
  CHECK(graph.needed({}) == std::vector<char>(5, 0));
}

TEST_CASE("costs and dead parameters are those counted by hand") {
  Graph graph;
  const Value x = graph.input("x", {1, 2, 4, 4}), w = graph.parameter("w", {3, 2, 3, 3});
  const Value bias = graph.parameter("bias", {3}), dead = graph.parameter("dead", {5});
  const Attributes pad{{"pad_h", index_t{1}}, {"pad_w", index_t{1}}};
  const Value y = graph.add(ops::conv2d, {x, w, bias}, pad, "first");
  const Value z = graph.add(ops::conv2d, {graph.add(ops::silu, {y}), graph.parameter("v", {3, 3, 1, 1})}, {}, "second");
  graph.add(ops::relu, {dead});
  graph.output("z", z);

  const GraphCost cost = graph.cost();
  REQUIRE(cost.nodes.size() == 3);
  CHECK(cost.nodes[0].name == "first");
  CHECK(cost.nodes[0].cost.macs == 3 * 16 * 2 * 9);
  CHECK(cost.nodes[0].cost.bias_adds == 48);
  CHECK(cost.nodes[0].cost.bytes_read == 4 * (32 + 54 + 3));
  CHECK(cost.nodes[0].cost.bytes_written == 4 * 48);
  CHECK(cost.nodes[0].parameters == 57);
  CHECK(cost.nodes[1].cost.act_elements == 48);
  CHECK(cost.nodes[2].cost.macs == 48 * 3);
  CHECK(cost.total.macs == 864 + 144);
  CHECK(cost.total.flops() == 2 * (864 + 144) + 48 + 48);  // multiply-adds, biases, activations
  CHECK(cost.total.bytes_written == 3 * 4 * 48);
  CHECK(cost.parameters == 54 + 3 + 5 + 9);
  CHECK(cost.dead_parameters == 5);
  CHECK(cost.dead == std::vector<std::string>{"dead"});
}

TEST_CASE("a parameter that two nodes read is counted once") {
  Graph graph;
  const Value w = graph.parameter("w", {2, 2, 1, 1});
  const Value y = graph.add(ops::conv2d, {graph.input("x", {1, 2, 2, 2}), w});
  graph.output("z", graph.add(ops::conv2d, {y, w}));
  const GraphCost cost = graph.cost();
  CHECK(cost.nodes[0].parameters == 4);
  CHECK(cost.nodes[1].parameters == 0);
  CHECK(cost.parameters == 4);
}

TEST_CASE("attributes have kinds, outputs have names, values have a graph") {
  Graph graph;
  const Value x = graph.input("x", {1, 4, 4, 4}), w = graph.parameter("w", {4, 4, 1, 1});
  const std::vector<index_t> list{0};
  CHECK_THROWS_WITH_AS(graph.add(ops::conv2d, {x, w}, {{"stride", 1.0}}),
                       "conv2d: attribute 'stride' must be an integer", ShapeError);
  CHECK_THROWS_WITH_AS(graph.add(ops::conv2d, {x, w}, {{"stride", list}}),
                       "conv2d: attribute 'stride' must be an integer", ShapeError);
  CHECK_THROWS_WITH_AS(graph.add(ops::leaky_relu, {x}, {{"slope", list}}),
                       "leaky_relu: attribute 'slope' must be a number", ShapeError);
  CHECK_THROWS_WITH_AS(graph.add(ops::channel_shuffle, {x}, {{"source", index_t{0}}}),
                       "channel_shuffle: attribute 'source' must be a list", ShapeError);
  CHECK_THROWS_WITH_AS(graph.add(ops::slice, {x}, {{"first", index_t{0}}}), "slice: attribute 'count' is missing",
                       ShapeError);
  const Value y = graph.add(ops::leaky_relu, {x}, {{"slope", index_t{2}}});
  CHECK(graph.node(y).attributes.real("slope") == 2.0);
  CHECK_THROWS_AS(static_cast<void>(graph.node(y).attributes.integer("slope")), ShapeError);
  CHECK_THROWS_AS(static_cast<void>(graph.node(y).attributes.real("no")), ShapeError);

  graph.output("y", y);
  CHECK_THROWS_WITH_AS(graph.output("y", x), "the graph already has an output 'y'", ShapeError);
  CHECK_THROWS_AS(graph.output("z", {99, 0}), ShapeError);
  CHECK_THROWS_AS(graph.output("z", {y.node, 1}), ShapeError);
  CHECK_THROWS_AS(graph.add(ops::relu, {Value{99, 0}}), ShapeError);
  CHECK_THROWS_AS(graph.parameter("p", {1, 1, 1, 1, 1}), ShapeError);
  CHECK_THROWS_AS(graph.parameter("p", {-1}), ShapeError);
  const int before = graph.size();
  CHECK_THROWS_AS(graph.add(ops::max_pool, {x}), ShapeError);
  CHECK(graph.size() == before);  // a node that does not fit leaves nothing behind
}

// ---- differentiate -------------------------------------------------------------------------------------------------

TEST_CASE("the gradient of a value that three nodes read is a sum of three") {
  Graph graph;
  const Value x = graph.input("x", {1, 2, 3, 2}), a = graph.add(ops::silu, {x}, {}, "a");
  graph.output("p", graph.add(ops::relu, {a}));
  graph.output("q", graph.add(ops::mish, {a}));
  graph.output("r", graph.add(ops::sigmoid, {a}));
  const Graph backward = differentiate(graph, {&x, 1});
  const auto sums = std::count_if(backward.nodes().begin(), backward.nodes().end(),
                                  [](const Node& n) { return n.name == "a.grad_sum" && n.op == &ops::add; });
  CHECK(sums == 2);
  CHECK(backward.gradients().size() == 1);
  Parameters parameters(graph, DType::f64);
  CHECK(check_gradients(graph, parameters).passed());
}

TEST_CASE("a parameter that is used twice gets both contributions") {
  Graph graph;
  const Value x = graph.input("x", {1, 3, 2, 2}), w = graph.parameter("w", {3, 3, 1, 1}, {1, {}});
  graph.output("y", graph.add(ops::conv2d, {graph.add(ops::conv2d, {x, w}), w}));
  const Graph backward = differentiate(graph, {&w, 1});
  CHECK(backward.gradients().size() == 2);
  for (const Gradient& g : backward.gradients()) CHECK(g.of == w);
  Parameters parameters(graph, DType::f64);
  CHECK(check_gradients(graph, parameters).passed());
}

TEST_CASE("only results are differentiated, only what they depend on, only with respect to what was asked") {
  Graph graph;
  const Value x = graph.input("x", {1, 2, 2, 2}), w = graph.parameter("w", {2, 2, 1, 1}, {1, {}});
  const Value probed = graph.parameter("probed", {2, 2, 1, 1}, {1, {}}), unused = graph.parameter("unused", {2});
  const Value shown = graph.parameter("shown", {2, 2, 1, 1}, {1, {}});
  const Value y = graph.add(ops::conv2d, {x, w});
  graph.output("y", y);
  graph.output("look", graph.add(ops::conv2d, {y, probed}), OutputKind::probe);
  graph.output("boxes", graph.add(ops::conv2d, {y, shown}), OutputKind::inference);
  const std::array<Value, 4> parameters_only{w, probed, shown, unused};
  const Graph backward = differentiate(graph, parameters_only);
  REQUIRE(backward.gradients().size() == 1);
  CHECK(backward.gradients()[0].of == w);
  // Nothing leads to the input, so no convolution is turned round for it.
  const Names names = op_names(backward);
  CHECK(std::count(names.begin(), names.end(), "conv2d_bwd_x") == 0);
  CHECK(std::count(names.begin(), names.end(), "conv2d_bwd_w") == 1);
  const auto upstream = std::count_if(backward.nodes().begin(), backward.nodes().end(),
                                      [](const Node& n) { return n.role == Role::gradient; });
  CHECK(upstream == 1);

  const Graph with_input = differentiate(graph, {&x, 1});
  REQUIRE(with_input.gradients().size() == 1);
  CHECK(with_input.gradients()[0].of == x);
  const Names turned = op_names(with_input);
  CHECK(std::count(turned.begin(), turned.end(), "conv2d_bwd_w") == 0);

  Parameters parameters(graph, DType::f64);
  Plan plan(graph, parameters, {Mode::train, exec_of(DType::f64, 8), false});
  std::fill_n(plan.input<double>().data, 8, 1.0);
  std::fill_n(plan.output_gradient<double>("y").data, 8, 1.0);
  plan.forward();
  plan.backward();
  for (const Parameters::Entry& e : parameters.entries()) {
    const View<double> g = parameters.gradient<double>(e);
    const bool zero = std::all_of(g.data, g.data + g.shape.numel(), [](double v) { return v == 0; });
    CHECK(zero == (e.name != "w"));
  }
}

// ---- Rewrites ------------------------------------------------------------------------------------------------------

TEST_CASE("conv, batch norm and activation become one node") {
  const Graph graph = module_graph({2, 3, 6, 5}, [](const ModuleBuilder& b, Value x) {
    return modules::conv(b.scope("1"), modules::conv(b.scope("0"), x, 4, {.k = 3, .s = 2}, b.act(true)), 5, {}, {});
  });
  CHECK(op_names(graph) == Names{"conv2d", "batch_norm", "silu", "conv2d", "batch_norm"});
  const Rewrite& fuse = rewrite("fuse_conv_bn_act");
  CHECK_FALSE(fuse.always);
  const Graph infer = fuse.apply(graph, Mode::infer), train = fuse.apply(graph, Mode::train);
  CHECK(op_names(infer) == Names{"bn_fold", "conv_bn_act", "bn_fold", "conv_bn_act"});
  CHECK(infer.updates().empty());
  CHECK(op_names(train) == Names{"conv_bn_act", "bn_running", "conv_bn_act", "bn_running"});
  CHECK(train.updates().size() == 6);
  CHECK(infer.shape(infer.outputs()[0].value) == graph.shape(graph.outputs()[0].value));
  check_same(graph);
}

TEST_CASE("what lies between is not fused away when somebody else reads it") {
  Graph graph;
  const Value x = graph.input("x", {2, 3, 4, 4}), w = graph.parameter("w", {4, 3, 1, 1}, {1, {}});
  const Value z = graph.add(ops::conv2d, {x, w}, {}, "conv"), n = bn(graph, z), y = graph.add(ops::silu, {n});
  graph.output("y", y);
  const Rewrite& fuse = rewrite("fuse_conv_bn_act");
  SUBCASE("the convolution is an output") {
    graph.output("z", z, OutputKind::probe);
    CHECK(op_names(fuse.apply(graph, Mode::infer)) == Names{"conv2d", "batch_norm", "silu"});
  }
  SUBCASE("the norm is read twice") {
    graph.output("both", graph.add(ops::add, {n, y}));
    CHECK(op_names(fuse.apply(graph, Mode::infer)) == Names{"bn_fold", "conv_bn_act", "silu", "add"});
  }
  check_same(graph);
}

TEST_CASE("GSConv's halves become a pair") {
  const Graph graph = module_graph(
      {2, 3, 5, 6}, [](const ModuleBuilder& b, Value x) { return modules::gsconv(b, x, 8, {.k = 3}, b.act(true)); });
  const Rewrite &fuse = rewrite("fuse_conv_bn_act"), &pair = rewrite("fuse_gs_pair");
  CHECK_FALSE(pair.always);
  const Graph infer = fuse.apply(graph, Mode::infer), train = fuse.apply(graph, Mode::train);
  CHECK(op_names(infer) == Names{"bn_fold", "conv_bn_act", "bn_fold", "conv_bn_act", "concat", "channel_shuffle"});
  CHECK(op_names(pair.apply(infer, Mode::infer)) ==
        Names{"bn_fold", "bn_fold", "gs_pair", "concat", "channel_shuffle"});
  CHECK(op_names(pair.apply(train, Mode::train)) ==
        Names{"gs_pair", "bn_running", "bn_running", "concat", "channel_shuffle"});
  CHECK(pair.apply(train, Mode::train).updates().size() == 6);
  check_same(graph);
}

TEST_CASE("halves that differ, or that do not meet in a concat, are no pair") {
  const kernels::Activation silu{kernels::Act::silu, 0}, none{};
  const auto fused = [](const Graph& graph) {
    Names names =
        op_names(rewrite("fuse_gs_pair").apply(rewrite("fuse_conv_bn_act").apply(graph, Mode::infer), Mode::infer));
    std::erase(names, "bn_fold");
    return names;
  };
  const auto build = [&](const kernels::Activation& second, index_t stride, bool concat) {
    return module_graph({2, 3, 6, 6}, [&](const ModuleBuilder& b, Value x) {
      const Value a = modules::conv(b.scope("1"), x, 4, {}, silu);
      const Value d = modules::dwconv(b.scope("2"), a, 4, {.k = 5, .s = stride}, second);
      return concat ? b.concat({a, d}) : d;
    });
  };
  CHECK(fused(build(silu, 1, true)) == Names{"gs_pair", "concat"});
  CHECK(fused(build(none, 1, true)) == Names{"conv_bn_act", "conv_bn_act", "concat"});
  CHECK(fused(build(silu, 1, false)) == Names{"conv_bn_act", "conv_bn_act"});
  CHECK(fused(build(silu, 2, false)) == Names{"conv_bn_act", "conv_bn_act"});
  for (const Graph& graph : {build(none, 1, true), build(silu, 1, false), build(silu, 2, false)}) check_same(graph);
}

/// The computed ops after these rewrites, for inference, but for what parameters alone decide.
Names inferred(Graph graph, std::initializer_list<const char*> names) {
  for (const char* name : names) graph = rewrite(name).apply(graph, Mode::infer);
  Names ops = op_names(graph);
  std::erase(ops, "bn_fold");
  return ops;
}

TEST_CASE("a sum goes into the end of a convolution, where the sum stood") {
  Graph graph;
  const ModuleBuilder b(graph, *find_dialect("yolov5"), "m");
  const Value x = graph.input("x", {2, 4, 5, 6});
  const Value r = modules::conv(b.scope("r"), x, 4, {}, b.act(true));
  const Value y = modules::conv(b.scope("y"), r, 4, {.k = 3}, b.act(true));
  SUBCASE("the other summand is read elsewhere") {
    graph.output("s", graph.add(ops::add, {r, y}));
    CHECK(op_names(graph).back() == "add");
    CHECK(inferred(graph, {"fuse_conv_bn_act", "fuse_residual"}) == Names{"conv_bn_act", "conv_bn_act"});
    const Graph train = rewrite("fuse_conv_bn_act").apply(graph, Mode::train);
    CHECK(op_names(rewrite("fuse_residual").apply(train, Mode::train)) == op_names(train));
  }
  SUBCASE("the convolution is read elsewhere") {
    graph.output("s", graph.add(ops::add, {r, y}));
    graph.output("y", y);
    CHECK(inferred(graph, {"fuse_conv_bn_act", "fuse_residual"}) == Names{"conv_bn_act", "conv_bn_act", "add"});
  }
  SUBCASE("the other summand is a parameter, which lies in no blocks") {
    graph.output("s", graph.add(ops::add, {y, graph.parameter("p", {2, 4, 5, 6}, {1, {}})}));
    CHECK(inferred(graph, {"fuse_conv_bn_act", "fuse_residual"}) == Names{"conv_bn_act", "conv_bn_act", "add"});
  }
  SUBCASE("twice the same") {
    graph.output("s", graph.add(ops::add, {y, y}));
    CHECK(inferred(graph, {"fuse_conv_bn_act", "fuse_residual"}) == Names{"conv_bn_act", "conv_bn_act", "add"});
  }
  SUBCASE("sums of sums") {
    const Value first = graph.add(ops::add, {y, x});
    const Value z = modules::dwconv(b.scope("z"), first, 4, {.k = 3}, b.act(true));
    graph.output("s", graph.add(ops::add, {first, z}));
    CHECK(inferred(graph, {"fuse_conv_bn_act", "fuse_residual"}) == Names{"conv_bn_act", "conv_bn_act", "conv_bn_act"});
  }
  SUBCASE("two convolutions of one input") {
    graph.output("s", graph.add(ops::add, {modules::conv(b.scope("z"), x, 4, {}, {}), y}));
    CHECK(inferred(graph, {"fuse_conv_bn_act", "fuse_residual"}) == Names{"conv_bn_act", "conv_bn_act", "conv_bn_act"});
  }
  check_same(graph);
}

TEST_CASE("pools of one map become a chain") {
  const Graph graph = module_graph({2, 8, 11, 7}, [](const ModuleBuilder& b, Value x) {
    return modules::spp(b, x, 8, {5, 13, 9, 1});
  });
  const Graph infer = rewrite("chain_max_pool").apply(graph, Mode::infer);
  std::vector<index_t> windows;
  for (const Node& n : infer.nodes())
    if (n.op == &ops::max_pool) windows.push_back(n.attributes.integer("kernel"));
  CHECK(windows == std::vector<index_t>{5, 9, 5, 1});  // 13 and 9 both stand on 5
  CHECK(op_names(rewrite("chain_max_pool").apply(graph, Mode::train)) == op_names(graph));
  check_same(graph);
}

TEST_CASE("a 1x1 convolution comes before the upsample that it alone reads") {
  const auto build = [](index_t k, bool read_twice) {
    Graph graph;
    const ModuleBuilder b(graph, *find_dialect("yolov5"), "m");
    const Value up = graph.add(ops::upsample, {graph.input("x", {2, 6, 4, 3})}, {{"factor", index_t{2}}});
    const Value y = modules::conv(b.scope("y"), up, 6, {.k = k}, b.act(true));
    graph.output("y", read_twice ? b.concat({y, up}) : y);
    return graph;
  };
  const auto delayed = [](const Graph& g) { return inferred(g, {"fuse_conv_bn_act", "delay_upsample"}); };
  CHECK(delayed(build(1, false)) == Names{"conv_bn_act", "upsample"});
  CHECK(delayed(build(3, false)) == Names{"upsample", "conv_bn_act"});
  CHECK(delayed(build(1, true)) == Names{"upsample", "conv_bn_act", "concat"});
  for (const Graph& graph : {build(1, false), build(3, false), build(1, true)}) check_same(graph);
}

TEST_CASE("batch norm in training is three ops") {
  Graph graph;
  graph.output("y", graph.add(ops::silu, {bn(graph, graph.input("x", {2, 3, 4, 5}))}));
  const Rewrite& expand = rewrite("expand_batch_norm");
  CHECK(expand.always);
  CHECK(op_names(expand.apply(graph, Mode::infer)) == Names{"batch_norm", "silu"});
  const Graph train = expand.apply(graph, Mode::train);
  CHECK(op_names(train) == Names{"bn_stats", "bn_apply", "bn_running", "silu"});
  REQUIRE(train.updates().size() == 3);
  for (const Update& u : train.updates()) CHECK(train.node(u.state).role == Role::state);
  check_same(graph);
}

// ---- Channel maps --------------------------------------------------------------------------------------------------

TEST_CASE("identity maps are rounded up to blocks") {
  CHECK(padded_identity(3, 1) == ChannelMap{0, 1, 2});
  CHECK(padded_identity(3, 4) == ChannelMap{0, 1, 2, -1});
  CHECK(padded_identity(4, 4) == ChannelMap{0, 1, 2, 3});
  CHECK(padded_identity(5, 4) == ChannelMap{0, 1, 2, 3, 4, -1, -1, -1});
}

TEST_CASE("a concat joins maps, holes stay where they are") {
  CHECK(joined({}) == ChannelMap{});
  CHECK(joined({{0, 1, 2, -1}, {1, 0}}) == ChannelMap{0, 1, 2, -1, 4, 3});
  CHECK(joined({{-1, 0}, {-1, -1}, {0, -1}}) == ChannelMap{-1, 0, -1, -1, 1, -1});
}

TEST_CASE("a shuffle renames channels") {
  // y = (x0, x2, x1, x3): x's channel 2, at position 2, is y's channel 1.
  CHECK(permuted({0, 1, 2, 3}, {0, 2, 1, 3}) == ChannelMap{0, 2, 1, 3});
  CHECK(permuted({0, 1, 2}, {1, 2, 0}) == ChannelMap{2, 0, 1});
  CHECK(permuted({2, -1, 0, 1}, {1, 2, 0}) == ChannelMap{1, -1, 2, 0});
  CHECK(permuted({}, {1, 0}) == ChannelMap{});
  CHECK(permuted({0, 1}, {0, -1}) == ChannelMap{});
  CHECK(permuted({0, 1}, {0, 0}) == ChannelMap{});
  CHECK(permuted({0, 1}, {0, 2}) == ChannelMap{});
  // Interleave after deinterleave renames everything back.
  const std::vector<index_t> in = shuffle_source(6, ShuffleKind::interleave);
  const std::vector<index_t> out = shuffle_source(6, ShuffleKind::deinterleave);
  CHECK(permuted(permuted(padded_identity(6, 4), in), out) == padded_identity(6, 4));
}

TEST_CASE("a part of a map must lie in whole blocks of its own") {
  const ChannelMap x{0, 1, 2, -1, 3, 4, 5, -1};
  Part part = part_of(x, {3, 4, 5}, 4);
  CHECK(part.first == 4);
  CHECK(part.map == ChannelMap{0, 1, 2, -1});
  part = part_of(x, {2, 0, 1}, 4);  // any order: it is renamed
  CHECK(part.first == 0);
  CHECK(part.map == ChannelMap{1, 2, 0, -1});
  CHECK(part_of(x, {2, 3}, 4).map.empty());        // its blocks hold others too
  CHECK(part_of(x, {0, 1}, 4).map.empty());        // likewise
  CHECK(part_of(x, {0, 1, 2, 7}, 4).map.empty());  // x has no channel 7
  CHECK(part_of(x, {0, 1}, 1).map == ChannelMap{0, 1});
  CHECK(part_of(x, {2, 3}, 1).map == ChannelMap{0, -1, 1});  // a hole between them comes along
  CHECK(part_of({}, {0}, 1).map.empty());
  CHECK(part_of(x, {}, 1).map.empty());
}

TEST_CASE("a gather list says where every position comes from") {
  CHECK(gather_list({}, 3, {}, 3, nullptr) == std::vector<index_t>{0, 1, 2});
  CHECK(gather_list({}, 3, {2, -1, 0, 1}, 3, nullptr) == std::vector<index_t>{2, -1, 0, 1});
  CHECK(gather_list({2, -1, 0, 1}, 3, {}, 3, nullptr) == std::vector<index_t>{2, 3, 0});
  const std::vector<index_t> swap{1, 0}, pad{-1, 0, 1, -1};
  CHECK(gather_list({0, 1, -1, -1}, 2, {0, 1, -1, -1}, 2, &swap) == std::vector<index_t>{1, 0, -1, -1});
  CHECK(gather_list({1, 0}, 2, {}, 4, &pad) == std::vector<index_t>{-1, 1, 0, -1});
}

TEST_CASE("signatures are two letters per operand") {
  const Signature dense = parse_signature("-a,ba,-b>-b");
  REQUIRE(dense.inputs.size() == 3);
  REQUIRE(dense.outputs.size() == 1);
  CHECK(dense.inputs[0].n == '-');
  CHECK(dense.inputs[0].c == 'a');
  CHECK(dense.inputs[1].n == 'b');
  CHECK(dense.inputs[1].c == 'a');
  CHECK(dense.outputs[0].c == 'b');
  const Signature two = parse_signature("-a>-a,a-");
  CHECK(two.inputs.size() == 1);
  REQUIRE(two.outputs.size() == 2);
  CHECK(two.outputs[1].n == 'a');
  CHECK(two.outputs[1].c == '-');
  CHECK(parse_signature("").outputs.empty());
}

TEST_CASE("a node whose weights are no parameter has no signature") {
  Graph graph;
  const Value x = graph.input("x", {1, 3, 2, 2}), w = graph.parameter("w", {3, 3, 1, 1});
  const Value y = graph.add(ops::conv2d, {x, w}), z = graph.add(ops::conv2d, {y, graph.add(ops::relu, {w})});
  CHECK(signatures_of(graph)[static_cast<std::size_t>(y.node)].outputs.size() == 1);
  CHECK(signatures_of(graph)[static_cast<std::size_t>(z.node)].outputs.empty());
  graph.output("z", z);
  const Graph backward = differentiate(graph, {&w, 1});
  const std::vector<Signature> signatures = signatures_of(backward);
  int free = 0, plain = 0;  // of the two weight gradients one goes to the parameter, one on through relu
  for (int i = 0; i < backward.size(); ++i)
    if (backward.node(i).op == &ops::conv2d_bwd_w)
      ++(signatures[static_cast<std::size_t>(i)].outputs.empty() ? plain : free);
  CHECK(free == 1);
  CHECK(plain == 1);
}

TEST_CASE("every op's signature has an operand for each input and output") {
  int seen = 0;
  for (const OpDef* op : all_ops()) {
    if (!op->cases || !op->maps) continue;
    for (const OpCase& example : op->cases()) {
      if (example.real) continue;
      const Graph graph = graph_of_case(*op, example);
      const Node& node = graph.nodes().back();
      const Signature s = parse_signature(op->maps(node.attributes, input_shapes(graph, node)));
      if (s.outputs.empty()) continue;
      CAPTURE(op->name);
      CHECK(s.inputs.size() == node.inputs.size());
      CHECK(s.outputs.size() == node.shapes.size());
      ++seen;
    }
  }
  CHECK(seen >= 15);
}

TEST_SUITE_END();
