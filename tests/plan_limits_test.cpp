// Plans at their limits: very deep graphs, sizes that no machine has, empty batches. And that nothing but the numbers
// decides what a plan computes: not the number of threads, not what ran before.
#include <doctest/doctest.h>

#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "engine_case.hpp"
#include "layers/modules/modules.hpp"
#include "slimneck/model.hpp"
#include "slimneck/ops.hpp"

using namespace slimneck;
using test::AllNumbers;
using test::exec_of;

TEST_SUITE_BEGIN("plan_limits");

namespace {

Exec on(Isa isa, int threads = 0) {
  Exec exec;
  exec.isa = isa;
  exec.threads = threads;
  return exec;
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

/// A 1x1 convolution with weights of its own.
Value conv(Graph& graph, Value x, index_t c2, const std::string& name) {
  return graph.add(ops::conv2d, {x, graph.parameter(name + ".w", {c2, graph.shape(x).c, 1, 1}, {0.5, {}})}, {}, name);
}

}  // namespace

// ---- Repetition ----------------------------------------------------------------------------------------------------

namespace {

bool same_bits(const AllNumbers& a, const AllNumbers& b) {
  const auto same = [](const auto& x, const auto& y) {
    return x.first == y.first && x.second.size() == y.second.size() &&
           std::memcmp(x.second.data(), y.second.data(), x.second.size() * sizeof(double)) == 0;
  };
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), same);
}

/// One plan, run so many times from the same parameters and state.
class Repeated {
 public:
  Repeated(const Graph& graph, Mode mode, const Exec& exec)
      : graph_(graph), mode_(mode), parameters_(graph), plan_(graph, parameters_, {mode, exec, mode == Mode::train}) {}

  AllNumbers run() {
    parameters_.initialise(1);
    parameters_.zero_grad();
    parameters_.touch();
    plan_.refresh();
    return test::run_once<float>(graph_, plan_, parameters_, mode_);
  }

 private:
  const Graph& graph_;
  Mode mode_;
  Parameters parameters_;
  Plan plan_;
};

}  // namespace

TEST_CASE("a whole network gives the same bits with any number of threads, twenty times over") {
  const Graph graph = load_model("slimneck-n", {.height = 64, .width = 64}).graph;
  for (const Isa isa : kernels::available_isas())
    for (const Mode mode : {Mode::infer, Mode::train}) {
      CAPTURE(std::string(kernels::name_of(isa)));
      CAPTURE(static_cast<int>(mode));
      Repeated three(graph, mode, on(isa, 3));
      const AllNumbers want = Repeated(graph, mode, on(isa, 1)).run();
      CHECK(want.size() > (mode == Mode::train ? 200 : 3));
      CHECK(same_bits(Repeated(graph, mode, on(isa, 2)).run(), want));
      for (int repeat = 0; repeat < 20; ++repeat) CHECK(same_bits(three.run(), want));
    }
}

// ---- Depth ---------------------------------------------------------------------------------------------------------

namespace {

const auto deep = static_cast<int>(4096 / test::every());

/// CPU seconds, so that other programs on the machine do not count.
template <class F>
double cpu_seconds(const F& action) {
  const std::clock_t start = std::clock();
  action();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

/// Compiles and runs the graph; what is quadratic in its depth would take far longer than it may.
void check_deep(const Graph& graph) {
  Parameters parameters(graph);
  for (const Mode mode : {Mode::infer, Mode::train}) {
    CAPTURE(static_cast<int>(mode));
    const double seconds = cpu_seconds([&] {
      Plan plan(graph, parameters, {mode, on(Isa::automatic, 1), mode == Mode::train});
      std::fill_n(plan.input().data, plan.input().shape.numel(), 1.0F);
      plan.forward();
      if (mode == Mode::train) plan.backward();
    });
    MESSAGE(std::string(mode == Mode::train ? "training: " : "inference: ") << seconds << " s");
    CHECK(seconds < 5 * static_cast<double>(test::every()));
  }
}

}  // namespace

TEST_CASE("4096 layers, one after another") {
  Graph graph;
  const ModuleBuilder b(graph, *find_dialect("yolov5"), "m");
  Value y = graph.input("x", {1, 8, 3, 3});
  SUBCASE("convolutions with batch norm and activation") {
    for (int i = 0; i < deep; ++i) y = modules::conv(b.scope(i), y, 8, {}, b.act(true));
  }
  SUBCASE("sums of a value and its convolution") {
    for (int i = 0; i < deep; ++i) y = b.add(y, modules::conv(b.scope(i), y, 8, {}, b.act(true)));
  }
  SUBCASE("shuffles") {
    y = conv(graph, y, 8, "first");
    for (int i = 0; i < deep; ++i) y = b.scope(i).shuffle(y, ShuffleKind::interleave);
  }
  SUBCASE("halves put together again") {
    y = conv(graph, y, 8, "first");
    for (int i = 0; i < deep; ++i) y = b.concat({b.slice(y, 4, 4), b.slice(y, 0, 4)});
  }
  graph.output("y", y);
  check_deep(graph);
}

TEST_CASE("one value that 4096 layers read") {
  Graph graph;
  const ModuleBuilder b(graph, *find_dialect("yolov5"), "m");
  const Value x = conv(graph, graph.input("x", {1, 8, 3, 3}), 8, "first");
  std::vector<Value> parts;
  for (int i = 0; i < deep; ++i) parts.push_back(conv(graph, x, 8, std::to_string(i)));
  graph.output("y", b.concat(parts));
  check_deep(graph);
}

// ---- Size ----------------------------------------------------------------------------------------------------------

namespace {

/// Layers of the input's size, all of which training keeps.
Graph large_graph(const Shape& x, int layers) {
  Graph graph;
  Value y = graph.input("x", x);
  for (int i = 0; i < layers; ++i) y = graph.add(ops::silu, {conv(graph, y, x.c, "c" + std::to_string(i))});
  graph.output("y", y);
  return graph;
}

/// What is said of so many layers of this size when they should be compiled.
std::string refusal(const Shape& shape, int layers, Mode mode, index_t block) {
  return message_of([&] {
    const Graph graph = large_graph(shape, layers);
    Parameters parameters(graph);
    const Plan plan(graph, parameters, {mode, exec_of(DType::f32, block), false});
  });
}

constexpr index_t mega = index_t{1} << 20;

}  // namespace

TEST_CASE("a plan that needs more memory than there is says so, however much more") {
  const auto check = [](const Shape& shape, int layers, Mode mode, index_t block) {
    CAPTURE(to_string(shape));
    CAPTURE(layers);
    CAPTURE(static_cast<int>(mode));
    CAPTURE(block);
    const std::string message = refusal(shape, layers, mode, block);
    CAPTURE(message);
    CHECK(message.find("the plan needs ") == 0);
    CHECK(message.find(" MiB of memory, this machine has ") != std::string::npos);
  };
  for (const Mode mode : {Mode::infer, Mode::train})
    for (const index_t block : {0, 1, 8, 16}) {
      check({1, 16, mega, mega}, 5, mode, block);  // 64 TiB a layer
      check({1, 1, mega, mega}, 5, mode, block);   // in blocks of 16 channels as much
    }
  // Together a multiple of 2^64 bytes for some of these numbers of layers.
  for (int layers = 1; layers < 70; ++layers) check({1, 16, 64 * mega, 32 * mega}, layers, Mode::train, 16);
}

TEST_CASE("a tensor whose size in bytes cannot be told is refused with its name") {
  const std::string message = refusal({1, 1, 512 * mega, 512 * mega}, 1, Mode::infer, 16);
  CAPTURE(message);
  CHECK(message.find("'x': ") == 0);
  CHECK(message.find("too large") != std::string::npos);
}

TEST_CASE("pictures that are too small are refused by the node that cannot have them") {
  Graph graph;
  const Value x = graph.input("x", {1, 3, 8, 8});
  graph.output("y", graph.add(ops::max_pool, {conv(graph, x, 4, "c")}, {{"kernel", index_t{5}}}, "pool"));
  const Shape small{1, 3, 4, 8};
  CHECK_THROWS_WITH_AS(static_cast<void>(graph.with_inputs({&small, 1})),
                       "max_pool 'pool': a window of 5 does not fit into 1x4x4x8", ShapeError);
}

namespace {

/// Every plan of the graph runs on its empty inputs and leaves zero gradients.
void check_empty(const Graph& graph, Mode mode) {
  std::vector<Exec> execs{exec_of(DType::f32, 0), exec_of(DType::f32, 8)};
  for (const Isa isa : kernels::available_isas()) execs.push_back(on(isa));
  for (const Exec& exec : execs) {
    CAPTURE(std::string(kernels::name_of(exec.isa)));
    CAPTURE(exec.reference);
    CAPTURE(exec.block);
    Parameters parameters(graph);
    Plan plan(graph, parameters, {mode, exec, mode == Mode::train});
    plan.forward();
    if (mode == Mode::train) plan.backward();
    CHECK(plan.output("y").shape.n == 0);
    const std::vector<double> gradients = test::numbers(parameters.gradients().view<float>());
    CHECK(gradients == std::vector<double>(gradients.size(), 0.0));
  }
}

}  // namespace

TEST_CASE("an empty batch is nothing to do") {
  for (const Shape& x : {Shape{0, 6, 8, 8}, Shape{0, 6, 5, 7}}) {
    CAPTURE(to_string(x));
    Graph normed, plain;
    const ModuleBuilder b(normed, *find_dialect("yolov5"), "m");
    Value y = modules::vovgscsp(b.scope("0"), normed.input("x", x), 16);
    y = modules::sppf(b.scope("2"), modules::conv(b.scope("1"), y, 24, {.k = 3, .s = 2}, b.act(true)), 16);
    normed.output("y", normed.add(ops::upsample, {y}));
    check_empty(normed, Mode::infer);

    const ModuleBuilder p = b.on(plain);
    y = p.activation(p.scope("3").conv2d(plain.input("x", x), 16, {.k = 3}), b.act(true));
    y = p.concat({p.shuffle(y, ShuffleKind::interleave), p.max_pool(y, 5, 1, 2)});
    y = p.scope("5").conv2d(p.scope("4").conv2d(y, 32, {.k = 5, .g = 32}), 24, {});
    plain.output("y", plain.add(ops::upsample, {p.add(y, y)}));
    for (const Mode mode : {Mode::infer, Mode::train}) check_empty(plain, mode);

    // A batch norm has no statistics then.
    Parameters parameters(normed);
    const std::string message = message_of([&] { const Plan plan(normed, parameters, {Mode::train, {}, false}); });
    CAPTURE(message);
    CHECK(message.find("'m.0.cv1.conv': values per channel in training is 0, wanted at least 2") != std::string::npos);
  }
}

TEST_SUITE_END();
