// What plans say of themselves, and what that has to be for whole networks: nothing moved, memory near its lower bound,
// nothing allocated while they run.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "engine_case.hpp"
#include "graph/program.hpp"
#include "graph/report.hpp"
#include "slimneck/model.hpp"
#include "slimneck/ops.hpp"

using namespace slimneck;

// ---- Counting allocations: every malloc of this program goes through here -------------------------------------------

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if defined(__has_feature)
#if !__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer)
#define SN_COUNTS_ALLOCATIONS
#endif
#else
#define SN_COUNTS_ALLOCATIONS
#endif
#endif

#ifdef SN_COUNTS_ALLOCATIONS

namespace {

std::atomic<bool> counting{false};
std::atomic<int> allocations{0};

void count() {
  if (counting.load(std::memory_order_relaxed)) allocations.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

extern "C" {
void* __libc_malloc(std::size_t);                 // NOLINT(bugprone-reserved-identifier): glibc's own
void* __libc_calloc(std::size_t, std::size_t);    // NOLINT(bugprone-reserved-identifier)
void* __libc_realloc(void*, std::size_t);         // NOLINT(bugprone-reserved-identifier)
void* __libc_memalign(std::size_t, std::size_t);  // NOLINT(bugprone-reserved-identifier)

void* malloc(std::size_t bytes) {
  count();
  return __libc_malloc(bytes);
}
void* calloc(std::size_t items, std::size_t bytes) {
  count();
  return __libc_calloc(items, bytes);
}
void* realloc(void* memory, std::size_t bytes) {
  count();
  return __libc_realloc(memory, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  count();
  return __libc_memalign(alignment, bytes);
}
}

#endif

TEST_SUITE_BEGIN("plan_report");

namespace {

/// A model of the library, for pictures of 640 x 640 unless told otherwise.
Model model_of(const std::string& name, const std::string& dialect = {}, index_t size = 640, index_t batch = 1) {
  return load_model(name, {.dialect = dialect, .batch = batch, .height = size, .width = size});
}

const PlanStep& step_named(const std::vector<PlanStep>& steps, std::string_view op) {
  const auto at = std::find_if(steps.begin(), steps.end(), [&](const PlanStep& s) { return s.op == op; });
  REQUIRE(at != steps.end());
  return *at;
}

}  // namespace

TEST_CASE("steps tell what they compute, read and write") {
  Graph graph;
  const Value x = graph.input("x", {2, 3, 8, 8});
  const Value w = graph.parameter("w", {16, 3, 3, 3}, {1, {}});
  const Value y = graph.add(ops::conv2d, {x, w}, {{"pad_h", index_t{1}}, {"pad_w", index_t{1}}}, "conv");
  const Value up = graph.add(ops::upsample, {graph.add(ops::silu, {y}, {}, "act")}, {}, "up");
  graph.output("y", graph.add(ops::conv2d, {up, graph.parameter("v", {8, 16, 1, 1}, {1, {}})}, {}, "last"));
  Parameters parameters(graph);
  PlanOptions options;
  options.exec.isa = Isa::scalar;
  const Plan plan(graph, parameters, options);
  const std::vector<PlanStep> steps = plan.steps();

  const PlanStep& conv = step_named(steps, "conv2d");
  CHECK(conv.name == "conv");
  CHECK(conv.kernel != "reference");
  CHECK(conv.cost.macs == 2 * 16 * 64 * 27);
  CHECK(conv.bytes_written == 4 * 2 * 16 * 64);
  CHECK(conv.bytes_read >= 4 * (2 * 3 * 64 + 16 * 27));
  CHECK(conv.layout == "nChw4c");
  CHECK_FALSE(conv.moves);
  const PlanStep& moved = step_named(steps, "upsample");
  CHECK(moved.moves);
  CHECK(moved.bytes_written == 4 * 2 * 16 * 256);
  const PlanStats stats = plan.stats();
  CHECK(stats.lone_activations == 1);
  CHECK(stats.bytes_moved.at("upsample") == moved.bytes_written);
  CHECK(stats.bytes_moved.at("reorder") == 4 * 2 * 8 * 256);  // the output leaves as NCHW
  CHECK(steps.back().why == "leaves the plan as nchw");
  // The most is kept while the small map becomes the large one.
  CHECK(stats.arena_lower_bound == 4 * 2 * 16 * (64 + 256));
}

TEST_CASE("slim necks move nothing and keep little more than they must") {
  std::set<std::string> models;
  for (const std::string family : {"slimneck-", "slimneck-c-", "gsconv-"})
    for (const char* size : {"n", "s", "m", "l", "x"}) models.insert(family + size);
  for (const std::string& name : models)
    for (const char* dialect : {"paper", "y5"}) {
      CAPTURE(name);
      CAPTURE(dialect);
      const Model model = model_of(name, dialect);
      const Parameters parameters(model.graph);
      for (const Mode mode : {Mode::infer, Mode::train}) {
        PlanOptions options;
        options.mode = mode;
        const graph::Program program = graph::compile(model.graph, parameters, options);
        const std::vector<PlanStep> steps = graph::steps_of(program, parameters, DType::f32);
        const PlanStats stats = graph::stats(program, steps, DType::f32);
        for (const char* moved : {"channel_shuffle", "concat", "slice", "copy"})
          CHECK(stats.bytes_moved.count(moved) == 0);
        CHECK(stats.lone_activations == 0);
        CHECK(std::none_of(steps.begin(), steps.end(),
                           [](const PlanStep& s) { return s.kernel == "reference" && s.op != "bn_running"; }));
        const double kept = static_cast<double>(stats.arena_bytes) / static_cast<double>(stats.arena_lower_bound);
        CHECK(kept >= 1);
        CHECK(kept <= (mode == Mode::infer ? 1.1 : 1.15));
      }
    }
}

TEST_CASE("pieces of the arena are those of the steps") {
  const Model model = model_of("slimneck-n", {}, 64);
  Parameters parameters(model.graph);
  const Plan plan(model.graph, parameters, {Mode::train, {}, false});
  const PlanStats stats = plan.stats();
  std::size_t end = 0;
  for (const PlanBuffer& b : plan.buffers()) {
    CHECK_FALSE(b.name.empty());
    CHECK(b.first_step <= b.last_step);
    CHECK(b.last_step < static_cast<int>(stats.steps));
    end = std::max(end, b.offset + b.bytes);
  }
  CHECK(end <= stats.arena_bytes);
  CHECK(stats.arena_bytes - end < 64);
}

TEST_CASE("a timeline changes nothing but itself") {
  const Model model = model_of("slimneck-n", {}, 64, 2);
  std::vector<std::vector<double>> seen;
  for (const bool timed : {false, true}) {
    Parameters parameters(model.graph);
    Plan plan(model.graph, parameters, {Mode::train, {}, true});
    Timeline timeline = plan.timeline();
    test::fill<float>(plan.input(), "x");
    for (const std::string& name : plan.outputs()) test::fill<float>(plan.output_gradient(name), name);
    plan.forward(timed ? &timeline : nullptr);
    plan.backward(timed ? &timeline : nullptr);
    seen.push_back(test::numbers<float>(plan.input_gradient()));
    const float* gradients = parameters.gradients().data<float>();
    seen.back().insert(seen.back().end(), gradients, gradients + parameters.gradients().numel());
    REQUIRE(timeline.steps.size() == plan.steps().size());
    if (!timed) continue;
    std::int64_t before = timeline.steps.front().begin;
    for (const Timeline::Span& s : timeline.steps) {
      CHECK(s.begin >= before);
      CHECK(s.end >= s.begin);
      before = s.end;
    }
  }
  CHECK(seen[0] == seen[1]);

  // That of another plan is left alone.
  Parameters parameters(model.graph);
  Plan plan(model.graph, parameters);
  Timeline other;
  plan.forward(&other);
  CHECK(other.steps.empty());
}

TEST_CASE("looking at every layer only adds what brings it out") {
  for (const std::string name : {"yolov5n", "slimneck-n", "slimneck3-n"})
    for (const Mode mode : {Mode::infer, Mode::train}) {
      CAPTURE(name);
      Model model = model_of(name, {}, 64, 2);
      const auto steps_and_heads = [&] {
        Parameters parameters(model.graph);
        Plan plan(model.graph, parameters, {mode, {}, false});
        test::fill<float>(plan.input(), "x");
        plan.forward();
        std::vector<std::string> steps;
        for (const PlanStep& s : plan.steps())
          if (s.why != "leaves the plan as nchw") steps.push_back(s.name + " " + s.op + " " + s.kernel);
        return std::pair(steps, test::numbers<float>(plan.output("head.0")));
      };
      const auto plain = steps_and_heads();
      for (std::size_t i = 0; i + 1 < model.layers.size(); ++i)
        model.graph.output("layer." + std::to_string(i), model.layers[i].outputs.front(), OutputKind::probe);
      const auto looked = steps_and_heads();
      CHECK(looked.first == plain.first);
      CHECK(looked.second == plain.second);
    }
}

TEST_CASE("running a plan allocates nothing") {
#ifdef SN_COUNTS_ALLOCATIONS
  for (const Isa isa : available_isas())
    for (const int threads : {1, 2}) {
      const Model model = model_of("slimneck-n", {}, 64, 2);
      Parameters parameters(model.graph);
      PlanOptions options;
      options.exec.isa = isa;
      options.exec.threads = threads;
      Plan infer(model.graph, parameters, options);
      options.mode = Mode::train;
      Plan train(model.graph, parameters, options);
      Timeline timeline = train.timeline();
      const auto run = [&] {
        infer.forward();
        train.forward(&timeline);
        train.backward(&timeline);
      };
      run();  // OpenMP makes its threads
      allocations = 0;
      counting = true;
      run();
      counting = false;
      CHECK(allocations == 0);
    }
  counting = true;
  allocations = 0;
  const std::vector<int> proof(1000);
  counting = false;
  CHECK(allocations > 0);
  CHECK(proof.size() == 1000);
#else
  MESSAGE("skipped: allocations are counted with glibc and without sanitizers only");
#endif
}

TEST_CASE("plans of several sizes share packed parameters, and are kept") {
  const Model model = model_of("slimneck-n", {}, 64);
  Parameters parameters(model.graph);
  PlanCache cache(model.graph, parameters, {}, 2);
  const auto result = [&](index_t size) {
    Plan& plan = cache.at({1, 3, size, size});
    test::fill<float>(plan.input(), "x");
    plan.forward();
    return test::numbers<float>(plan.output("head.0"));
  };
  const std::vector<double> first = result(64);
  const Plan* kept = &cache.at({1, 3, 64, 64});
  CHECK(&cache.at({1, 3, 64, 64}) == kept);
  static_cast<void>(result(96));
  CHECK(&cache.at({1, 3, 64, 64}) == kept);
  static_cast<void>(result(128));  // instead of the one for 96
  CHECK(cache.size() == 2);
  CHECK(&cache.at({1, 3, 64, 64}) == kept);
  CHECK(result(64) == first);
  CHECK_THROWS_AS(static_cast<void>(cache.at({1, 4, 64, 64})), ShapeError);
  CHECK(cache.size() == 2);

  for (Parameters::Entry& e : parameters.entries())
    if (e.name.ends_with(".weight"))
      for (index_t i = 0; i < e.value.numel(); ++i) e.value.data<float>()[i] *= 0.5F;
  parameters.touch();
  Plan fresh(model.graph, parameters);
  test::fill<float>(fresh.input(), "x");
  fresh.forward();
  CHECK(result(64) == test::numbers<float>(fresh.output("head.0")));  // the cache refreshes what it gives

  // A step of training moves the running statistics, and what is folded from them.
  PlanOptions options;
  options.mode = Mode::train;
  Plan train(model.graph, parameters, options);
  test::fill<float>(train.input(), "x");
  const std::vector<double> before = result(64);
  train.forward();
  CHECK(result(64) != before);

  const Parameters copy = parameters;
  CHECK(&copy.packed_store() != &parameters.packed_store());
}

TEST_SUITE_END();
