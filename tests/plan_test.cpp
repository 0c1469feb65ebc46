// What a compiled plan does: where values lie, what it moves, what it refuses, and that threads, sizes and repetitions
// change nothing.
#include "slimneck/plan.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "engine_case.hpp"
#include "graph/program.hpp"
#include "layers/modules/modules.hpp"
#include "slimneck/ops.hpp"

using namespace slimneck;
using test::AllNumbers;
using test::check_same;
using test::exec_of;

TEST_SUITE_BEGIN("plan");

namespace {

using Build = std::function<Value(const ModuleBuilder&, Value)>;

Graph module_graph(const Shape& x, const Build& build, const std::string& dialect = "yolov5") {
  Graph graph;
  const ModuleBuilder b(graph, *find_dialect(dialect), "m");
  graph.output("y", build(b, graph.input("x", x)));
  return graph;
}

/// The three modules of the slim neck, to width c2.
struct Module {
  std::string name;
  Value (*build)(const ModuleBuilder&, Value, index_t c2);
};
const Module slim_neck[] = {
    {"GSConv", [](const ModuleBuilder& b, Value x, index_t c2) { return modules::gsconv(b, x, c2, {}, b.act(true)); }},
    {"GSBottleneck", [](const ModuleBuilder& b, Value x, index_t c2) { return modules::gsbottleneck(b, x, c2, 1.0); }},
    {"VoVGSCSP", [](const ModuleBuilder& b, Value x, index_t c2) { return modules::vovgscsp(b, x, c2, 2); }},
};

/// The module as in a network: what follows is a Conv, so that nothing of it lies at the plan's end.
Graph slim_graph(const Module& module, index_t c2, const std::string& dialect = "yolov5") {
  return module_graph(
      {2, 6, 4, 5},
      [&](const ModuleBuilder& b, Value x) {
        return modules::conv(b.scope("next"), module.build(b, x, c2), 5, {}, b.act(true));
      },
      dialect);
}

/// A convolution without bias and with weights of its own; 1 x 1.
Value conv(Graph& graph, Value x, index_t c2, const std::string& name) {
  return graph.add(ops::conv2d, {x, graph.parameter(name + ".w", {c2, graph.shape(x).c, 1, 1}, {1, {}})}, {}, name);
}

Value shuffle(Graph& graph, Value x, ShuffleKind kind) {
  return graph.add(ops::channel_shuffle, {x}, {{"source", shuffle_source(graph.shape(x).c, kind)}});
}

PlanStats stats_of(const Graph& graph, Mode mode, index_t block) {
  Parameters parameters(graph);
  return Plan(graph, parameters, {mode, exec_of(DType::f32, block), false}).stats();
}

/// What is no value of the graph inside of the plan: what comes in and goes out, and parameters.
bool at_the_ends(std::string_view what) { return what == "reorder" || what == "pack"; }

/// Bytes moved inside of the plan, not at its ends.
std::size_t moved_inside(const PlanStats& stats) {
  std::size_t bytes = 0;
  for (const auto& [what, count] : stats.bytes_moved)
    if (!at_the_ends(what)) bytes += count;
  return bytes;
}

/// Steps that move bytes inside of the plan.
std::vector<PlanStep> moving_steps(const Graph& graph, Mode mode, index_t block) {
  Parameters parameters(graph);
  std::vector<PlanStep> steps = Plan(graph, parameters, {mode, exec_of(DType::f32, block), false}).steps();
  std::erase_if(steps, [](const PlanStep& s) { return !s.moves || at_the_ends(s.op); });
  return steps;
}

Exec threaded(int threads) {
  Exec exec;
  exec.threads = threads;
  return exec;
}

}  // namespace

// ---- What is moved -------------------------------------------------------------------------------------------------

TEST_CASE("slim-neck modules train without a byte moved, wherever their halves end") {
  for (const Module& module : slim_neck)
    for (const std::string dialect : {"yolov5", "y5", "paper"})
      for (const index_t c2 : {16, 48, 80, 32})
        for (const index_t block : {8, 16}) {
          CAPTURE(module.name);
          CAPTURE(dialect);
          CAPTURE(c2);
          CAPTURE(block);
          const Graph graph = slim_graph(module, c2, dialect);
          for (const Mode mode : {Mode::infer, Mode::train}) {
            CHECK(moved_inside(stats_of(graph, mode, block)) == 0);
            CHECK(moving_steps(graph, mode, block).empty());
          }
        }
}

TEST_CASE("at the end of a plan a shuffled gradient is brought in by one pass over it") {
  const Graph graph = module_graph(
      {2, 6, 4, 5}, [](const ModuleBuilder& b, Value x) { return modules::gsconv(b, x, 16, {}, b.act(true)); });
  const PlanStats stats = stats_of(graph, Mode::train, 8);
  const std::size_t map = 2 * 16 * 4 * 5 * sizeof(float);
  CHECK(moved_inside(stats) == map);
  CHECK(stats.bytes_moved.at("channel_shuffle") == map);
  CHECK(stats.bytes_moved.at("reorder") == map);
}

TEST_CASE("slim-neck modules whose halves end inside a block compute what the reference computes") {
  for (const Module& module : slim_neck)
    for (const index_t c2 : {16, 48}) {
      CAPTURE(module.name);
      CAPTURE(c2);
      check_same(slim_graph(module, c2));
    }
}

TEST_CASE("a reference plan moves what the graph says") {
  const Graph graph = slim_graph(slim_neck[0], 16);
  const PlanStats stats = stats_of(graph, Mode::infer, 0);
  const std::size_t map = 2 * 16 * 4 * 5 * sizeof(float);
  CHECK(stats.bytes_moved == std::map<std::string, std::size_t>{{"channel_shuffle", map}, {"concat", map}});
}

TEST_CASE("a second concat of one value is one copy that explain shows") {
  Graph graph;
  const Value x = graph.input("x", {1, 8, 3, 3});
  const Value a = conv(graph, x, 16, "a"), b = conv(graph, x, 16, "b"), c = conv(graph, x, 16, "c");
  graph.output("p", conv(graph, graph.add(ops::concat, {a, b}, {}, "first"), 8, "p"));
  graph.output("q", conv(graph, graph.add(ops::concat, {a, c}, {}, "second"), 8, "q"));
  const std::vector<PlanStep> steps = moving_steps(graph, Mode::infer, 16);
  REQUIRE(steps.size() == 1);
  CHECK(steps[0].name == "second");
  CHECK(steps[0].why == "input 0 lies elsewhere");
  CHECK(moved_inside(stats_of(graph, Mode::infer, 16)) == 16 * 9 * sizeof(float));
  check_same(graph, true);
}

TEST_CASE("channels that only move arrive where they belong") {
  Graph graph;
  const Value x = graph.input("x", {2, 6, 2, 3});
  const auto expect = [&](const std::vector<index_t>& source) {
    for (const Mode mode : {Mode::infer, Mode::train})
      for (const index_t block : {0, 1, 4, 8, 16}) {
        const std::vector<double> got = test::all_numbers(graph, mode, exec_of(DType::f64, block), true)["output y"];
        Tensor in({2, 6, 2, 3}, DType::f64), want({2, static_cast<index_t>(source.size()), 2, 3}, DType::f64);
        test::fill<double>(in.view<double>(), "x", true);
        for (index_t n = 0; n < 2; ++n)
          for (std::size_t c = 0; c < source.size(); ++c)
            std::copy_n(&in.view<double>().at(n, source[c], 0, 0), 6,
                        &want.view<double>().at(n, static_cast<index_t>(c), 0, 0));
        CAPTURE(block);
        CHECK(got == test::numbers(want.view<double>()));
      }
    check_same(graph, true);
  };
  const auto slice = [&](Value v, index_t first, index_t count) {
    return graph.add(ops::slice, {v}, {{"first", first}, {"count", count}});
  };
  SUBCASE("an input is the output") {
    graph.output("y", x);
    expect({0, 1, 2, 3, 4, 5});
  }
  SUBCASE("concat of an input with itself") {
    graph.output("y", graph.add(ops::concat, {x, x}));
    expect({0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5});
  }
  SUBCASE("a shuffle of a shuffle") {
    graph.output("y", shuffle(graph, shuffle(graph, x, ShuffleKind::interleave), ShuffleKind::interleave));
    expect({0, 4, 3, 2, 1, 5});
  }
  SUBCASE("a shuffle and its inverse") {
    graph.output("y", shuffle(graph, shuffle(graph, x, ShuffleKind::deinterleave), ShuffleKind::interleave));
    expect({0, 1, 2, 3, 4, 5});
  }
  SUBCASE("slices, put together the other way round") {
    graph.output("y", graph.add(ops::concat, {slice(x, 4, 2), slice(x, 0, 4)}));
    expect({4, 5, 0, 1, 2, 3});
  }
  SUBCASE("a slice of a shuffle of a concat of slices that overlap") {
    const Value both = graph.add(ops::concat, {slice(x, 0, 3), slice(x, 2, 3)});  // 0 1 2 2 3 4
    graph.output("y", slice(shuffle(graph, both, ShuffleKind::interleave), 1, 4));
    expect({2, 1, 3, 2});
  }
  SUBCASE("a slice beside a slice of it, in one concat") {
    const Value part = slice(x, 1, 5);
    graph.output("y", graph.add(ops::concat, {part, slice(part, 1, 2)}));
    expect({1, 2, 3, 4, 5, 2, 3});
  }
  SUBCASE("a value that is an output and part of two concats") {
    const Value a = slice(x, 1, 3);
    const Value both = graph.add(ops::concat, {a, x});
    graph.output("a", a);
    graph.output("both", both);
    graph.output("y", graph.add(ops::concat, {both, a}));
    expect({1, 2, 3, 0, 1, 2, 3, 4, 5, 1, 2, 3});
  }
}

TEST_CASE("computed values in wirings that cannot all be free compute the right thing") {
  Graph graph;
  const Value x = graph.input("x", {2, 3, 3, 2});
  const Value a = conv(graph, x, 12, "a");
  const auto finish = [&](Value v) { graph.output("y", conv(graph, v, 5, "last")); };
  SUBCASE("concat of an input") {
    finish(graph.add(ops::concat, {x, a}));
    CHECK(moved_inside(stats_of(graph, Mode::infer, 8)) > 0);
  }
  SUBCASE("concat of a value with itself") {
    finish(graph.add(ops::concat, {a, a}));
    CHECK(moving_steps(graph, Mode::infer, 8).size() == 1);
  }
  SUBCASE("a shuffle of a shuffle") {
    finish(shuffle(graph, shuffle(graph, a, ShuffleKind::interleave), ShuffleKind::interleave));
    CHECK(moved_inside(stats_of(graph, Mode::infer, 8)) == 0);
    CHECK(moved_inside(stats_of(graph, Mode::train, 8)) == 0);
  }
  SUBCASE("a sum of two different shuffles") {
    finish(graph.add(ops::add,
                     {shuffle(graph, a, ShuffleKind::interleave), shuffle(graph, a, ShuffleKind::deinterleave)}));
    CHECK(moving_steps(graph, Mode::infer, 8).size() >= 1);
  }
  SUBCASE("a sum of a value and its shuffle") {
    finish(graph.add(ops::add, {a, shuffle(graph, a, ShuffleKind::interleave)}));
    CHECK(moving_steps(graph, Mode::infer, 8).size() >= 1);
  }
  SUBCASE("a slice that begins inside a block") {
    finish(graph.add(ops::slice, {a}, {{"first", index_t{3}}, {"count", index_t{6}}}));
  }
  SUBCASE("nested concats of a value that is read elsewhere") {
    const Value inner = graph.add(ops::concat, {a, conv(graph, x, 4, "b")});
    const Value outer = graph.add(ops::concat, {inner, a, graph.add(ops::relu, {a})});
    finish(graph.add(ops::concat, {outer, inner}));
  }
  SUBCASE("a shuffle between an output and a sum with the input") {
    const Value wide = graph.input("wide", {2, 12, 3, 2});
    const Value s = shuffle(graph, graph.add(ops::add, {a, wide}), ShuffleKind::interleave);
    graph.output("s", s);
    finish(s);
  }
  SUBCASE("weights that are an input") {
    finish(graph.add(ops::conv2d, {a, graph.input("w", {12, 12, 1, 1})}, {}, "b"));
  }
  SUBCASE("weights that are computed, between shuffles") {
    const Value w = graph.add(ops::relu, {graph.parameter("w", {12, 12, 3, 3}, {1, {}})});
    const Value s = shuffle(graph, graph.add(ops::concat, {a, a}), ShuffleKind::interleave);
    const Value part = graph.add(ops::slice,
                                 {
                                     s,
                                 },
                                 {{"first", index_t{0}}, {"count", index_t{12}}});
    const Value y = graph.add(ops::conv2d, {part, w}, {{"pad_h", index_t{1}}, {"pad_w", index_t{1}}}, "b");
    finish(shuffle(graph, y, ShuffleKind::interleave));
  }
  SUBCASE("grouped convolution between two shuffles") {
    const Value w = graph.parameter("grouped.w", {12, 6, 1, 1}, {1, {}});
    const Value g = graph.add(ops::conv2d, {shuffle(graph, a, ShuffleKind::interleave), w}, {{"groups", index_t{2}}});
    finish(shuffle(graph, g, ShuffleKind::deinterleave));
  }
  check_same(graph, true);
}

// ---- Memory --------------------------------------------------------------------------------------------------------

TEST_CASE("buffers that live at the same time do not overlap, and others share memory") {
  for (const Module& module : slim_neck)
    for (const Mode mode : {Mode::infer, Mode::train}) {
      CAPTURE(module.name);
      const Graph graph = slim_graph(module, 48);
      const Parameters parameters(graph);
      const graph::Program program = graph::compile(graph, parameters, {mode, exec_of(DType::f32, 16), false});
      std::vector<const graph::Buffer*> used;
      std::size_t sum = 0;
      for (const graph::Buffer& b : program.buffers) {
        if (b.persistent || b.first_step < 0) continue;
        used.push_back(&b);
        sum += b.bytes(DType::f32);
        CHECK(b.offset % 64 == 0);
        CHECK(b.offset + b.bytes(DType::f32) <= program.arena_bytes);
      }
      int together = 0;
      for (std::size_t i = 0; i < used.size(); ++i)
        for (std::size_t j = 0; j < i; ++j) {
          const graph::Buffer &a = *used[i], &b = *used[j];
          if (a.first_step > b.last_step || b.first_step > a.last_step) continue;
          CHECK((a.offset + a.bytes(DType::f32) <= b.offset || b.offset + b.bytes(DType::f32) <= a.offset));
          ++together;
        }
      if (module.name != "GSConv") {
        CHECK(together > 0);
        CHECK(program.arena_bytes < sum);
      }
    }
}

TEST_CASE("every value is written before it is read, and lives until its last reader") {
  const Graph graph = slim_graph(slim_neck[2], 16);
  const Parameters parameters(graph);
  const graph::Program program = graph::compile(graph, parameters, {Mode::train, exec_of(DType::f32, 8), true});
  std::vector<char> written(program.buffers.size(), 0);
  for (const auto* ports : {&program.inputs, &program.output_gradients})
    for (const graph::Program::Port& port : *ports) {
      const auto buffer = static_cast<std::size_t>(program.places[static_cast<std::size_t>(port.place)].buffer);
      CHECK(program.buffers[buffer].persistent);
      written[buffer] = 1;
    }
  int step_index = 0;
  for (const auto* steps : {&program.forward, &program.backward})
    for (const graph::Step& step : *steps) {
      CAPTURE(step.name);
      const auto each = [&](const std::vector<graph::Operand>& operands, const auto& f) {
        for (const graph::Operand& o : operands)
          if (o.kind == graph::Operand::Kind::place)
            f(static_cast<std::size_t>(program.places[static_cast<std::size_t>(o.index)].buffer));
      };
      each(step.in, [&](std::size_t b) { CHECK(written[b] == 1); });
      each(step.out, [&](std::size_t b) { written[b] = 1; });
      for (const auto* operands : {&step.in, &step.out})
        each(*operands, [&](std::size_t b) {
          CHECK(program.buffers[b].first_step <= step_index);
          CHECK(program.buffers[b].last_step >= step_index);
        });
      ++step_index;
    }
  CHECK(step_index > 20);
}

// ---- What is refused -----------------------------------------------------------------------------------------------

TEST_CASE("a plan refuses what it cannot do, before it runs") {
  Graph graph;
  const Value x = graph.input("x", {1, 3, 4, 4});
  graph.output("y", graph.add(ops::conv2d, {x, graph.parameter("w", {4, 3, 3, 3})}, {}, "conv"));
  Parameters parameters(graph);
  Plan plan(graph, parameters);
  CHECK_THROWS_WITH_AS(static_cast<void>(plan.output("nope")), "the plan has no output 'nope'", Error);
  CHECK_THROWS_AS(static_cast<void>(plan.output<double>("y")), Error);
  CHECK_THROWS_AS(static_cast<void>(plan.input(1)), Error);
  CHECK_THROWS_AS(static_cast<void>(plan.output_gradient("y")), Error);  // inference
  CHECK_THROWS_AS(static_cast<void>(plan.input_gradient()), Error);
  Plan training(graph, parameters, {Mode::train, {}, false});
  CHECK_THROWS_AS(static_cast<void>(training.input_gradient()), Error);  // not asked for
  CHECK_NOTHROW(static_cast<void>(training.output_gradient("y")));

  PlanOptions options;
  options.exec.device = Device::cuda;
  CHECK_THROWS_WITH_AS(Plan(graph, parameters, options), doctest::Contains("cuda: "), DeviceError);
  options = {};
  options.exec.block = 3;
  CHECK_THROWS_WITH_AS(Plan(graph, parameters, options), "a block of 3 channels came, wanted 1, 4, 8 or 16", Error);
  options = {};
  options.exec.dtype = DType::f64;
  CHECK_THROWS_WITH_AS(Plan(graph, parameters, options), "the plan and its parameters differ in element type", Error);
  CHECK_THROWS_AS(Parameters(graph, DType::i32), Error);

  Graph other;
  other.output("y", other.add(ops::conv2d, {other.input("x", {1, 3, 4, 4}), other.parameter("w", {4, 3, 1, 1})}));
  CHECK_THROWS_WITH_AS(Plan(other, parameters), "parameter 'w' is 4x3x3x3, the graph wants 4x3x1x1", ShapeError);
  Graph unknown;
  unknown.output("y",
                 unknown.add(ops::conv2d, {unknown.input("x", {1, 3, 4, 4}), unknown.parameter("v", {4, 3, 3, 3})}));
  CHECK_THROWS_WITH_AS(Plan(unknown, parameters), "the parameters have no 'v'", Error);
}

TEST_CASE("parameters are no output, no part of a concat, and no slice") {
  Graph graph;
  const Value x = graph.input("x", {1, 3, 1, 1}), v = graph.parameter("v", {3});
  SUBCASE("output") { graph.output("v", v); }
  SUBCASE("concat") { graph.output("y", graph.add(ops::concat, {x, v})); }
  SUBCASE("slice") { graph.output("y", graph.add(ops::slice, {v}, {{"first", index_t{1}}, {"count", index_t{2}}})); }
  Parameters parameters(graph);
  for (const index_t block : {0, 1, 8}) {
    CAPTURE(block);
    CHECK_THROWS_AS(Plan(graph, parameters, {Mode::infer, exec_of(DType::f32, block), false}), ShapeError);
  }
}

TEST_CASE("an op that repeats channels is computed, not looked at") {
  OpDef twice = ops::channel_shuffle;
  twice.infer = [](const Attributes&, std::span<const Shape> in) { return std::vector<Shape>{in[0]}; };
  twice.source = [](const Attributes&, std::span<const Shape>) { return std::vector<index_t>{0, 0, 1, 1}; };
  Graph graph;
  const Value x = graph.input("x", {1, 4, 2, 2}), w = graph.parameter("w", {4, 4, 1, 1}, {1, {}});
  const Value y = graph.add(ops::conv2d, {x, w}, {}, "conv");
  const Value doubled = graph.add(twice, {y}, {{"source", std::vector<index_t>{0, 1, 2, 3}}}, "twice");
  graph.output("y", graph.add(ops::conv2d, {doubled, w}, {}, "last"));
  Parameters parameters(graph);
  Plan reference(graph, parameters, {Mode::infer, exec_of(DType::f32, 0), false});
  Plan mapped(graph, parameters, {Mode::infer, exec_of(DType::f32, 8), false});
  for (Plan* plan : {&reference, &mapped}) {
    for (index_t i = 0; i < 16; ++i) plan->input().data[i] = static_cast<float>(i % 5 - 2);
    plan->forward();
  }
  for (index_t i = 0; i < 16; ++i)
    CHECK(mapped.output("y").data[i] == doctest::Approx(reference.output("y").data[i]).epsilon(1e-5));
}

TEST_CASE("settings that no machine has are refused") {
  Graph graph;
  graph.output("y", graph.add(ops::silu, {graph.input("x", {1, 3, 4, 4})}));
  Parameters parameters(graph);
  PlanOptions options;
  SUBCASE("threads") { options.exec.threads = 1000000; }
  SUBCASE("negative threads") { options.exec.threads = -1; }
  SUBCASE("block") { options.exec.block = 5; }
  SUBCASE("isa") { options.exec.isa = Isa::neon; }
  CHECK_THROWS_AS(Plan(graph, parameters, options), Error);
  const std::vector<Shape> huge{{1, 3, 1000000, 1000000}};
  Graph large = graph.with_inputs(huge);
  CHECK_THROWS_AS(Plan(large, parameters), Error);
}

TEST_CASE("a graph refuses what is not there") {
  Graph graph;
  const Value x = graph.input("x", {1, 3, 4, 4}), v = graph.parameter("v", {3});
  CHECK_THROWS_AS(graph.input("x", {1, 1, 1, 1}), ShapeError);
  CHECK_THROWS_AS(graph.input("empty", {1, 0, 4, 4}), ShapeError);
  CHECK_THROWS_AS(graph.update(v, v), ShapeError);
  CHECK_THROWS_AS(graph.gradient(x, {7, 0}), ShapeError);
  CHECK_THROWS_AS(graph.set_outputs({{"y", {1, 3}, OutputKind::result}}), ShapeError);
  CHECK_THROWS_AS(static_cast<void>(graph.needed(std::vector<Value>{{9, 0}})), ShapeError);
  CHECK_THROWS_AS(static_cast<void>(graph.node(-1)), ShapeError);
}

TEST_CASE("two parameters of one name are refused") {
  Graph graph;
  graph.parameter("w", {3});
  graph.state("w", {4});
  CHECK_THROWS_WITH_AS(Parameters{graph}, "two parameters of the graph are named 'w'", ShapeError);
}

// ---- Running -------------------------------------------------------------------------------------------------------

TEST_CASE("two threads run two plans of one model at once") {
  const Graph graph = slim_graph(slim_neck[2], 48);
  Parameters parameters(graph);
  test::fill<float>(parameters);
  Plan alone(graph, parameters);
  const AllNumbers want = test::run_once<float>(graph, alone, parameters, Mode::infer);
  std::vector<AllNumbers> got(2);
  std::vector<Plan> plans;
  for (std::size_t t = 0; t < got.size(); ++t) plans.emplace_back(graph, parameters, PlanOptions{});
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < got.size(); ++t)
    threads.emplace_back([&, t] {
      for (int repeat = 0; repeat < 3; ++repeat)
        got[t] = test::run_once<float>(graph, plans[t], parameters, Mode::infer);
    });
  for (std::thread& t : threads) t.join();
  for (const AllNumbers& numbers : got) CHECK(numbers == want);
}

TEST_CASE("the number of threads changes no bit") {
  for (const Module& module : slim_neck)
    for (const bool reference : {false, true}) {
      CAPTURE(module.name);
      const Graph graph = slim_graph(module, 16);
      const auto run = [&](int threads) {
        Exec exec = threaded(threads);
        exec.reference = reference;
        return test::all_numbers<float>(graph, Mode::train, exec);
      };
      const AllNumbers one = run(1);
      CHECK(run(2) == one);
      CHECK(run(3) == one);
    }
}

TEST_CASE("training is a function of its numbers") {
  const Graph graph = slim_graph(slim_neck[2], 16);
  const auto train = [&] {
    Parameters parameters(graph);
    test::fill<float>(parameters);
    Plan plan(graph, parameters, {Mode::train, {}, true});
    AllNumbers last;
    for (int step = 0; step < 3; ++step) {
      parameters.zero_grad();
      last = test::run_once<float>(graph, plan, parameters, Mode::train);
      for (Parameters::Entry& e : parameters.entries()) {
        if (e.role != Role::parameter) continue;
        const View<float> g = parameters.gradient<float>(e);
        for (index_t i = 0; i < g.shape.numel(); ++i) e.value.data<float>()[i] -= 0.01F * g.data[i];
      }
      parameters.touch();
    }
    return last;
  };
  CHECK(train() == train());
}

TEST_CASE("gradients of plans of several sizes add up in one Parameters") {
  const Graph small = slim_graph(slim_neck[1], 16);
  const Shape other{1, 6, 7, 3};
  const Graph large = small.with_inputs({&other, 1});
  Parameters parameters(small);
  test::fill<float>(parameters);
  Plan plans[] = {{small, parameters, {Mode::train, {}, true}}, {large, parameters, {Mode::train, {}, true}}};
  const auto run = [&](std::size_t i) {
    test::run_once<float>(i == 0 ? small : large, plans[i], parameters, Mode::train);
  };
  const auto gradients = [&] { return test::numbers(parameters.gradients().view<float>()); };
  parameters.zero_grad();
  run(0);
  const std::vector<double> first = gradients();
  parameters.zero_grad();
  run(1);
  const std::vector<double> second = gradients();
  parameters.zero_grad();
  run(0);
  run(1);
  const std::vector<double> both = gradients();
  CHECK(first != second);
  for (std::size_t i = 0; i < both.size(); ++i)
    CHECK(both[i] == static_cast<double>(static_cast<float>(first[i]) + static_cast<float>(second[i])));
  parameters.zero_grad();
  CHECK(gradients() == std::vector<double>(both.size(), 0.0));
}

TEST_CASE("refresh packs parameters again after touch, and only then") {
  const Graph graph = module_graph({1, 8, 3, 3}, [](const ModuleBuilder& b, Value x) {
    return b.scope("2").conv2d(b.scope("1").conv2d(x, 12, {.k = 3}), 8, {});  // 12 leave holes in a block
  });
  Parameters parameters(graph);
  test::fill<float>(parameters);
  Plan plan(graph, parameters, {Mode::infer, exec_of(DType::f32, 8), false});
  REQUIRE(plan.stats().packed_bytes > 0);
  const AllNumbers before = test::run_once<float>(graph, plan, parameters, Mode::infer);

  Tensor& weights = parameters.at("m.2.weight").value;
  for (index_t i = 0; i < weights.numel(); ++i) weights.data<float>()[i] *= 2;
  plan.refresh();
  CHECK(test::run_once<float>(graph, plan, parameters, Mode::infer) == before);
  parameters.touch();
  CHECK(test::run_once<float>(graph, plan, parameters, Mode::infer) == before);
  plan.refresh();
  const AllNumbers after = test::run_once<float>(graph, plan, parameters, Mode::infer);
  Plan fresh(graph, parameters, {Mode::infer, exec_of(DType::f32, 8), false});
  CHECK(after == test::run_once<float>(graph, fresh, parameters, Mode::infer));
  for (std::size_t i = 0; i < after.at("output y").size(); ++i)
    CHECK(after.at("output y")[i] == 2 * before.at("output y")[i]);
}

TEST_CASE("training packs what was touched, and running statistics touch no parameters") {
  const Graph graph = module_graph({1, 8, 3, 3}, [](const ModuleBuilder& b, Value x) {
    return modules::conv(b.scope("2"), b.scope("1").conv2d(x, 12, {.k = 3}), 8, {}, b.act(true));  // 12 leave holes
  });
  Parameters parameters(graph);
  test::fill<float>(parameters);
  Plan plan(graph, parameters, {Mode::train, exec_of(DType::f32, 8), true});
  REQUIRE(plan.stats().packed_bytes > 0);
  const auto run = [&](Plan& which) {
    return test::run_once<float>(graph, which, parameters, Mode::train).at("output y");
  };
  const std::uint64_t version = parameters.version(), packed = parameters.parameters_version();
  const std::vector<double> before = run(plan);
  CHECK(parameters.version() > version);
  CHECK(parameters.parameters_version() == packed);

  Tensor& weights = parameters.at("m.2.conv.weight").value;
  for (index_t i = 0; i < weights.numel() / 2; ++i) weights.data<float>()[i] *= -3;
  CHECK(run(plan) == before);
  parameters.touch();
  const std::vector<double> after = run(plan);
  CHECK(after != before);
  Plan fresh(graph, parameters, {Mode::train, exec_of(DType::f32, 8), true});
  CHECK(run(fresh) == after);
}

TEST_CASE("a plan may be moved") {
  const Graph graph = slim_graph(slim_neck[0], 16);
  Parameters parameters(graph);
  test::fill<float>(parameters);
  Plan plan(graph, parameters);
  const AllNumbers want = test::run_once<float>(graph, plan, parameters, Mode::infer);
  Plan moved = std::move(plan);
  CHECK(test::run_once<float>(graph, moved, parameters, Mode::infer) == want);
}

TEST_CASE("outputs are those of the mode") {
  Graph graph;
  const Value x = graph.input("x", {1, 2, 2, 2}), y = graph.add(ops::silu, {x});
  graph.output("y", y);
  graph.output("boxes", graph.add(ops::relu, {y}), OutputKind::inference);
  graph.output("look", y, OutputKind::probe);
  Parameters parameters(graph);
  CHECK(Plan(graph, parameters).outputs() == std::vector<std::string>{"y", "look", "boxes"});
  CHECK(Plan(graph, parameters, {Mode::train, {}, false}).outputs() == std::vector<std::string>{"y", "look"});
}

TEST_SUITE_END();
