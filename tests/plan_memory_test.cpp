// What a plan does to need less memory: results over operands, another order of the nodes, values computed again.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "engine_case.hpp"
#include "graph/liveness.hpp"
#include "graph/memory_order.hpp"
#include "graph/rewrite.hpp"
#include "layers/modules/modules.hpp"
#include "random_graph.hpp"
#include "slimneck/model.hpp"
#include "slimneck/ops.hpp"

using namespace slimneck;

using test::AllNumbers;
using test::check_same;

TEST_SUITE_BEGIN("plan_memory");

namespace {

index_t count_of(const Graph& g, const OpDef& op, std::size_t inputs) {
  return std::count_if(g.nodes().begin(), g.nodes().end(),
                       [&](const Node& n) { return n.op == &op && n.inputs.size() == inputs; });
}

/// The graph with its backward, as a training plan sees it before and after the sums have gone into convolutions.
struct Backward {
  Graph before, after;
};

Backward backward_of(const Graph& graph) {
  std::vector<Value> wrt;
  for (int i = 0; i < graph.size(); ++i)
    if (graph.node(i).role == Role::parameter || graph.node(i).role == Role::input) wrt.push_back({i, 0});
  Graph before = differentiate(graph, wrt);
  for (const graph::Rewrite& r : graph::rewrites())
    if (r.late) return {before, r.apply(before, Mode::train)};
  FAIL("there is no rewrite after differentiation");
  return {};
}

std::vector<PlanStep> training_steps(const Graph& graph) {
  Parameters parameters(graph);
  return Plan(graph, parameters, {.mode = Mode::train, .exec = {}, .input_gradients = true}).steps();
}

index_t in_place(const std::vector<PlanStep>& steps, std::string_view op) {
  return std::count_if(steps.begin(), steps.end(), [&](const PlanStep& s) { return s.op == op && s.in_place; });
}
index_t all_of(const std::vector<PlanStep>& steps, std::string_view op) {
  return std::count_if(steps.begin(), steps.end(), [&](const PlanStep& s) { return s.op == op; });
}

/// Everything that a training run leaves, with so many bytes for the arena (0: as many as it likes).
AllNumbers trained(const Graph& graph, std::size_t memory, const Exec& exec = {}, PlanStats* stats = nullptr) {
  Parameters parameters(graph);
  test::fill<float>(parameters);
  Plan plan(graph, parameters, {.mode = Mode::train, .exec = exec, .input_gradients = true, .memory = memory});
  if (stats) *stats = plan.stats();
  return test::run_once<float>(graph, plan, parameters, Mode::train);
}

}  // namespace

TEST_CASE("later writers of a gradient add to what the first one wrote") {
  Graph graph;
  const ModuleBuilder b(graph, *find_dialect("yolov5"), "m");
  const Value x = graph.input("x", {2, 8, 9, 7});
  const Value v = modules::conv(b.scope("v"), x, 12, {}, b.act(true));
  SUBCASE("three convolutions of one value") {
    graph.output("a", modules::conv(b.scope("a"), v, 8, {}, b.act(true)));
    graph.output("b", modules::conv(b.scope("b"), v, 8, {.k = 3}, b.act(true)));
    graph.output("c", modules::conv(b.scope("c"), v, 8, {.k = 3, .s = 2}, b.act(true)));
    const Backward g = backward_of(graph);
    CHECK(count_of(g.before, ops::add, 2) == 2);
    CHECK(count_of(g.after, ops::add, 2) == 0);
    CHECK(count_of(g.after, ops::conv2d_bwd_x, 3) == 2);
    const std::vector<PlanStep> steps = training_steps(graph);
    CHECK(all_of(steps, "add") == 0);
    CHECK(in_place(steps, "conv2d_bwd_x") == 2);
  }
  SUBCASE("a depthwise and a grouped one") {
    graph.output("a", modules::dwconv(b.scope("a"), v, 12, {.k = 3}, b.act(true)));
    graph.output("b", modules::conv(b.scope("b"), v, 8, {.k = 3, .g = 2}, b.act(true)));
    CHECK(count_of(backward_of(graph).after, ops::conv2d_bwd_x, 3) == 1);
  }
  SUBCASE("a shortcut: the gradient of the sum is read by two") {
    const Value y = modules::conv(b.scope("y"), v, 12, {.k = 3}, b.act(true));
    graph.output("s", modules::conv(b.scope("s"), graph.add(ops::add, {v, y}), 4, {}, b.act(true)));
    CHECK(count_of(backward_of(graph).after, ops::conv2d_bwd_x, 3) == 1);
    const std::vector<PlanStep> steps = training_steps(graph);
    // That of y's own batch norm is needed again for v, so nothing lies over it.
    for (const PlanStep& s : steps)
      if (s.op == "bn_act_bwd" && s.name.find(".y.") != std::string::npos) CHECK_FALSE(s.in_place);
    CHECK(in_place(steps, "conv2d_bwd_x") == 1);
  }
  SUBCASE("the other summand comes from outside, and lies in no blocks") {
    graph.output("v", v);
    graph.output("a", modules::conv(b.scope("a"), v, 8, {}, b.act(true)));
    CHECK(in_place(training_steps(graph), "conv2d_bwd_x") == 0);
  }
  check_same(graph);
}

TEST_CASE("a result lies over an operand that nobody reads later") {
  Graph graph;
  const Value x = graph.input("x", {2, 16, 6, 5});
  const auto conv = [&](Value v, const char* w, index_t o) {
    return graph.add(ops::conv2d, {v, graph.parameter(w, {o, graph.shape(v).c, 1, 1}, {1, {}})});
  };
  const Value v = conv(x, "v", 16);
  const Value act = graph.add(ops::relu, {v});
  const auto steps_of = [&](Mode mode) {
    Parameters parameters(graph);
    return Plan(graph, parameters, {.mode = mode}).steps();
  };
  SUBCASE("alone") {
    graph.output("y", conv(act, "y", 16));
    CHECK(in_place(steps_of(Mode::infer), "relu") == 1);
    CHECK(in_place(steps_of(Mode::train), "relu") == 0);  // the backward wants to know where v was above zero
    CHECK(in_place(steps_of(Mode::train), "act_bwd") == 1);
  }
  SUBCASE("the operand is read again") {
    graph.output("y", conv(graph.add(ops::add, {conv(act, "y", 16), v}), "z", 16));
    CHECK(in_place(steps_of(Mode::infer), "relu") == 0);
  }
  SUBCASE("the operand is an output") {
    graph.output("y", conv(act, "y", 16));
    graph.output("v", v);
    CHECK(in_place(steps_of(Mode::infer), "relu") == 0);
  }
  SUBCASE("the operand is part of a concat that is read later") {
    const Value both = graph.add(ops::concat, {v, conv(act, "y", 16)});
    graph.output("z", conv(both, "z", 16));
    CHECK(in_place(steps_of(Mode::infer), "relu") == 0);
  }
  SUBCASE("the operand is a slice, and the other one is read later") {
    const Value first = graph.add(ops::slice, {conv(x, "w", 32)}, {{"first", index_t{0}}, {"count", index_t{16}}});
    graph.output("y", conv(graph.add(ops::relu, {first}), "y", 16));
    CHECK(in_place(steps_of(Mode::infer), "relu") == 1);
  }
  SUBCASE("the result is part of a concat") {
    graph.output("z", conv(graph.add(ops::concat, {act, conv(x, "w", 16)}), "z", 16));
    CHECK(in_place(steps_of(Mode::infer), "relu") == 1);
  }
  check_same(graph, true);
}

TEST_CASE("an order that keeps less is taken, within each direction") {
  Graph graph;
  const Value x = graph.input("x", {1, 16, 8, 8});
  std::vector<Value> large;
  const auto conv = [&](Value v, const std::string& w) {
    return graph.add(ops::conv2d, {v, graph.parameter(w, {16, graph.shape(v).c, 1, 1}, {1, {}})});
  };
  for (int i = 0; i < 4; ++i)
    large.push_back(graph.add(ops::upsample, {conv(x, "a" + std::to_string(i))}, {{"factor", index_t{4}}}));
  Value sum;
  for (int i = 0; i < 4; ++i) {
    const Value small = graph.add(ops::max_pool, {large[static_cast<std::size_t>(i)]},
                                  {{"kernel", index_t{4}}, {"stride", index_t{4}}});
    sum = i == 0 ? small : graph.add(ops::add, {sum, small});
  }
  graph.output("y", conv(sum, "y"));
  Parameters parameters(graph);
  const PlanStats stats = Plan(graph, parameters).stats();
  CHECK(stats.order == "least kept next");
  // One large map beside the small ones, instead of four.
  constexpr std::size_t small = 16 * 8 * 8 * sizeof(float), one_large = 16 * small;
  CHECK(stats.arena_bytes < 2 * one_large);
  check_same(graph, true);

  const Model model = load_model("slimneck-n", {.height = 64, .width = 64});
  Parameters of_model(model.graph);
  CHECK(Plan(model.graph, of_model, {.mode = Mode::train}).stats().order == "as given");
}

TEST_CASE("a plan with little memory computes values again, and the same numbers") {
  for (const char* name : {"yolov5n", "slimneck-n", "slimneck-c-n", "slimneck3-n"}) {
    CAPTURE(name);
    const Model model = load_model(name, {.batch = 2, .height = 64, .width = 96});
    PlanStats all, some, least;
    const AllNumbers want = trained(model.graph, 0, {}, &all);
    CHECK(all.recomputed.empty());
    CHECK(all.kept_bytes > all.arena_lower_bound / 2);
    const std::size_t limit = all.arena_bytes * 9 / 10;
    CHECK(test::distance(trained(model.graph, limit, {}, &some), want) == 0);
    CHECK_FALSE(some.recomputed.empty());
    CHECK(some.arena_bytes <= limit);
    CHECK(test::distance(trained(model.graph, 1, {}, &least), want) == 0);
    CHECK(least.recomputed.size() > some.recomputed.size());
    CHECK(least.arena_bytes < some.arena_bytes);
    CHECK(least.kept_bytes < some.kept_bytes);
    std::size_t again = 0;
    for (const auto& [value, bytes] : least.recomputed) again += bytes;
    CHECK(again + least.kept_bytes >= all.kept_bytes);
    Exec direct;
    direct.isa = Isa::scalar;
    direct.threads = 2;
    CHECK(test::distance(trained(model.graph, 1, direct), trained(model.graph, 0, direct)) == 0);
  }
}

TEST_CASE("random graphs train to the same numbers with little memory") {
  std::size_t again = 0;
  for (std::uint64_t seed = 1; seed <= 60; seed += static_cast<std::uint64_t>(test::every())) {
    const test::RandomGraph random = test::random_modules(seed);
    CAPTURE(seed);
    CAPTURE(random.text);
    PlanStats stats;
    const AllNumbers want = trained(random.graph, 0);
    // What is computed again may lie with more holes, and a weight gradient then be summed up in other parts.
    CHECK(test::distance(trained(random.graph, 1, {}, &stats), want) <= test::half_of_float);
    again += stats.recomputed.size();
  }
  CHECK(again > 60);
}

TEST_CASE("explain tells what is kept and what is computed again") {
  const Model model = load_model("slimneck-n", {.height = 64, .width = 64});
  Parameters parameters(model.graph);
  const auto explained = [&](std::size_t memory) {
    return Plan(model.graph, parameters, {.mode = Mode::train, .exec = {}, .input_gradients = false, .memory = memory})
        .explain();
  };
  CHECK(explained(0).find("computed again: 0 bytes\n") != std::string::npos);
  CHECK(explained(1).find(" model.0.conv model.1.conv") != std::string::npos);
  CHECK(explained(1).find("bn_act            model.0.conv.again") != std::string::npos);
}

namespace {

/// What the kernel says about the mapping that holds p ("rd wr mr ..."); empty where it does not tell.
std::string flags_of_mapping(const void* p) {
  std::ifstream maps("/proc/self/smaps");
  const auto at = reinterpret_cast<std::uintptr_t>(p);
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    char* end = nullptr;
    const std::uintptr_t first = std::strtoull(line.c_str(), &end, 16);
    if (*end == '-') inside = first <= at && at < std::strtoull(end + 1, nullptr, 16);
    if (inside && line.starts_with("VmFlags: ")) return line.substr(9);
  }
  return {};
}

}  // namespace

TEST_CASE("large memory asks for large pages") {
  const Tensor large({1, 1, 1024, 2048});
  const std::string flags = flags_of_mapping(large.data<float>() + large.numel() / 2);
  if (flags.empty() || !std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled")) {
    MESSAGE("skipped: this system does not tell about its pages");
    return;
  }
  CHECK(flags.find("hg") != std::string::npos);
}

TEST_SUITE_END();
