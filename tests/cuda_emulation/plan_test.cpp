// Plans on a CUDA device: every op and module computes what the reference computes, nothing is allocated or waited for
// while it runs, and what fails is named and leaves nothing behind.
#include "slimneck/plan.hpp"

#include <doctest/doctest.h>

#include <functional>
#include <string>

#include "device.hpp"
#include "engine_case.hpp"
#include "layers/modules/modules.hpp"
#include "op_cases.hpp"
#include "slimneck/error.hpp"
#include "slimneck/gradcheck.hpp"
#include "slimneck/model.hpp"
#include "slimneck/ops.hpp"

using namespace slimneck;
using test::AllNumbers;
using test::exec_of;

namespace {

Exec on_cuda() {
  Exec exec;
  exec.device = Device::cuda;
  return exec;
}

emulation::Device& fresh_device() {
  static_cast<void>(emulation::Device::renewed());
  return emulation::Device::instance();
}

std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

/// A plan on the device computes what the reference computes; `whole`: on whole numbers, bit by bit. Kernels have
/// tests of their own: one order of threads is enough, except for those `in_all_orders`.
void check_same(const Graph& graph, Mode mode, bool whole = false, bool in_all_orders = false) {
  emulation::Device& device = fresh_device();
  if (!in_all_orders) device.only = {emulation::Schedule::Kind::shuffled, 2};
  CAPTURE(static_cast<int>(mode));
  const AllNumbers want = test::all_numbers<float>(graph, mode, exec_of(DType::f32, 0), whole);
  CHECK_FALSE(want.empty());
  CHECK(test::distance(test::all_numbers<float>(graph, mode, on_cuda(), whole), want) <=
        (whole ? 0 : test::half_of_float));
}

/// Does every input and parameter have a gradient?
bool trains(const Graph& graph) {
  std::vector<Value> wrt;
  for (int i = 0; i < graph.size(); ++i)
    if (const Role role = graph.node(i).role; role == Role::input || role == Role::parameter) wrt.push_back({i, 0});
  return differentiate(graph, wrt).gradients().size() == wrt.size();
}

using Build = std::function<Value(const ModuleBuilder&, Value)>;

Graph module_graph(const Shape& x, const Build& build, const std::string& dialect = "yolov5") {
  Graph graph;
  const ModuleBuilder b(graph, *find_dialect(dialect), "m");
  graph.output("y", build(b, graph.input("x", x)));
  return graph;
}

Model small_network(const std::string& name) {
  ModelOptions options;
  options.classes = 1;
  options.batch = 2;
  options.height = options.width = 32;
  return load_model(name, options);
}

/// A GSConv between two Convs.
Graph small_graph() {
  return module_graph({2, 6, 4, 5}, [](const ModuleBuilder& b, Value x) {
    return modules::conv(b.scope("next"), modules::gsconv(b, x, 16, {}, b.act(true)), 5, {}, b.act(true));
  });
}

}  // namespace

// ---- What is computed ----------------------------------------------------------------------------------------------

TEST_CASE("every op computes what the reference computes") {
  test::for_each_op_case([](const Graph& graph) {
    check_same(graph, Mode::infer, false, true);
    if (trains(graph)) check_same(graph, Mode::train, false, true);
  });
}

TEST_CASE("an op without CUDA kernels is refused by node and name") {
  fresh_device();
  OpDef mine = ops::silu;
  mine.name = "mine";
  mine.lower_cuda = nullptr;
  Graph graph;
  graph.output("y", graph.add(mine, {graph.input("x", {1, 2, 3, 3})}, {}, "here"));
  Parameters parameters(graph);
  CHECK(message_of([&] { const Plan plan(graph, parameters, {.exec = on_cuda()}); }) ==
        "cuda: there is no kernel for mine 'here'");
}

TEST_CASE("modules train without a byte moved, and compute what the reference computes") {
  struct Module {
    std::string name;
    Build build;
  };
  const Module all[] = {
      {"GSConv", [](const ModuleBuilder& b, Value x) { return modules::gsconv(b, x, 12, {}, b.act(true)); }},
      {"VoVGSCSP", [](const ModuleBuilder& b, Value x) { return modules::vovgscsp(b, x, 16, 1); }},
  };
  for (const Module& module : all)
    for (const std::string dialect : {"yolov5", "y5", "paper"}) {
      CAPTURE(module.name);
      CAPTURE(dialect);
      const Graph graph = module_graph(
          {2, 6, 4, 5},
          [&](const ModuleBuilder& b, Value x) {
            return modules::conv(b.scope("next"), module.build(b, x), 5, {}, b.act(true));
          },
          dialect);
      for (const Mode mode : {Mode::infer, Mode::train}) {
        check_same(graph, mode);
        Parameters parameters(graph);
        for (const auto& [what, bytes] : Plan(graph, parameters, {.mode = mode, .exec = on_cuda()}).stats().bytes_moved)
          CHECK(what == "reorder");
      }
    }
}

namespace {

/// Convolutions, and what only moves, adds and compares.
Graph whole_graph() {
  Graph graph;
  const Value x = graph.input("x", {2, 6, 5, 4});
  const auto conv = [&](Value from, index_t c2, index_t k, index_t stride, const char* name) {
    return graph.add(ops::conv2d, {from, graph.parameter(name, {c2, graph.shape(from).c, k, k})},
                     {{"stride", stride}, {"pad_h", k / 2}, {"pad_w", k / 2}}, name);
  };
  const Value a = conv(x, 4, 3, 1, "a"), b = conv(a, 4, 1, 1, "b");
  const Value both = graph.add(ops::channel_shuffle, {graph.add(ops::concat, {a, b})},
                               {{"source", shuffle_source(8, ShuffleKind::interleave)}});
  const Value pooled = graph.add(ops::max_pool, {both}, {{"kernel", index_t{3}}, {"pad", index_t{1}}});
  graph.output("y", graph.add(ops::upsample, {conv(graph.add(ops::add, {pooled, both}), 3, 3, 2, "c")}));
  return graph;
}

}  // namespace

TEST_CASE("whole numbers come out to the last bit") {
  const Graph graph = whole_graph();
  for (const Mode mode : {Mode::infer, Mode::train}) check_same(graph, mode, true);
}

TEST_CASE("tensor cores are used where a plan may, and whole numbers stay exact") {
  const Graph graph = whole_graph();
  const auto run = [&](Mode mode, bool tf32, bool whole) {
    fresh_device().only = {emulation::Schedule::Kind::shuffled, 4};
    Parameters parameters(graph);
    test::fill<float>(parameters, whole);
    const bool train = mode == Mode::train;
    Plan plan(graph, parameters, {.mode = mode, .exec = on_cuda(), .input_gradients = train, .tf32 = tf32});
    return test::run_once<float>(graph, plan, parameters, mode, whole);
  };
  CHECK(run(Mode::infer, true, true) == run(Mode::infer, false, true));
  for (const Mode mode : {Mode::infer, Mode::train}) CHECK(run(mode, true, false) != run(mode, false, false));
}

TEST_CASE("a plan's passes add to gradients, follow parameters and repeat to the last bit") {
  emulation::Device& device = fresh_device();
  device.only = {emulation::Schedule::Kind::forward, 0};
  const Graph graph = small_graph();
  Parameters parameters(graph);
  Plan plan(graph, parameters, {.mode = Mode::train, .exec = on_cuda(), .input_gradients = true});
  const AllNumbers once = test::run_once<float>(graph, plan, parameters, Mode::train);
  const AllNumbers twice = [&] {
    parameters.initialise(0);
    return test::run_once<float>(graph, plan, parameters, Mode::train);
  }();
  for (const Parameters::Entry& e : parameters.entries()) {
    CAPTURE(e.name);
    if (e.role == Role::state || e.name.ends_with("weight") || e.name.ends_with("bias")) {
      const std::vector<double>&a = once.at(e.name), &b = twice.at(e.name);
      for (std::size_t i = 0; i < a.size(); ++i) CHECK(b[i] == (e.role == Role::state ? a[i] : 2 * a[i]));
    }
  }
  CHECK(once.at("output y") == twice.at("output y"));
  CHECK(once.at("d x") == twice.at("d x"));
}

TEST_CASE("the order of threads changes no bit of a network") {
  using Kind = emulation::Schedule::Kind;
  const Model model = small_network("slimneck-n");
  std::vector<AllNumbers> all;
  for (const emulation::Schedule& schedule : {emulation::Schedule{Kind::forward, 0}, {Kind::shuffled, 5}}) {
    fresh_device().only = schedule;
    all.push_back(test::all_numbers<float>(model.graph, Mode::train, on_cuda()));
  }
  CHECK(all[0] == all[1]);
}

// ---- How it runs ---------------------------------------------------------------------------------------------------

TEST_CASE("forward and backward allocate nothing, wait for nothing, and are one launch each") {
  emulation::Device& device = fresh_device();
  device.only = {emulation::Schedule::Kind::forward, 0};
  const Graph graph = small_graph();
  Parameters parameters(graph);
  const std::size_t before = device.allocated();
  {
    Plan plan(graph, parameters, {.mode = Mode::train, .exec = on_cuda()});
    CHECK(device.calls("allocate") == 1);
    const auto counts = [&] {
      std::vector<int> all;
      for (const char* call : {"allocate", "allocate_host", "wait", "launch", "copy", "fill", "begin_capture"})
        all.push_back(device.calls(call));
      return all;
    };
    const std::vector<int> compiled = counts();
    plan.forward();
    plan.backward();
    CHECK(counts() == compiled);
    CHECK(device.calls("launch_graph") == 2);
    plan.wait();
    CHECK(device.calls("wait") == compiled[2] + 1);
    parameters.touch();  // only then they are sent again, in one piece
    for (int i = 0; i < 2; ++i) {
      plan.forward();
      plan.wait();
      CHECK(device.calls("copy") == compiled[4] + 1);
    }
  }
  CHECK(device.allocated() == before);
}

TEST_CASE("a timeline runs the steps one by one") {
  emulation::Device& device = fresh_device();
  device.only = {emulation::Schedule::Kind::forward, 0};
  const Graph graph = small_graph();
  Parameters parameters(graph);
  Plan plan(graph, parameters, {.mode = Mode::train, .exec = on_cuda()});
  Timeline timeline = plan.timeline();
  plan.forward(&timeline);
  plan.backward(&timeline);
  plan.wait();
  CHECK(device.calls("launch_graph") == 0);
  for (const Timeline::Span& span : timeline.steps) CHECK((span.begin > 0 && span.end >= span.begin));
}

TEST_CASE("without graphs a step is done before the next one, and what fails inside of it names its node") {
  emulation::Device& device = fresh_device();
  device.only = {emulation::Schedule::Kind::forward, 0};
  const Graph graph = small_graph();
  const AllNumbers want = test::all_numbers<float>(graph, Mode::train, on_cuda());
  REQUIRE(setenv("SLIMNECK_CUDA_SYNC", "1", 1) == 0);
  Parameters parameters(graph);
  test::fill<float>(parameters);
  Plan plan(graph, parameters, {.mode = Mode::train, .exec = on_cuda(), .input_gradients = true});
  REQUIRE(unsetenv("SLIMNECK_CUDA_SYNC") == 0);
  const int graphs = device.calls("launch_graph");
  CHECK(test::run_once<float>(graph, plan, parameters, Mode::train) == want);
  CHECK(device.calls("launch_graph") == graphs);
  device.fail("wait", emulation::launch_failure, 1);
  plan.forward();
  CHECK(message_of([&] { plan.wait(); }).starts_with("cuda: waiting for '" + plan.steps()[1].name + "': "));
}

TEST_CASE("inference packs again when parameters change") {
  fresh_device();
  const Graph graph = small_graph();
  Parameters parameters(graph);
  test::fill<float>(parameters);
  Plan plan(graph, parameters, {.exec = on_cuda()});
  const AllNumbers before = test::run_once<float>(graph, plan, parameters, Mode::infer);
  parameters.initialise(4);
  plan.refresh();
  const AllNumbers after = test::run_once<float>(graph, plan, parameters, Mode::infer);
  Plan fresh(graph, parameters, {.exec = on_cuda()});
  CHECK(after == test::run_once<float>(graph, fresh, parameters, Mode::infer));
  CHECK(after != before);
}

TEST_CASE("explain names the device's kernels") {
  fresh_device();
  const Graph graph = small_graph();
  Parameters parameters(graph);
  const std::string text = Plan(graph, parameters, {.exec = on_cuda()}).explain();
  for (const char* word : {"cuda:0 (emulated)", " conv2d_fwd ", " depthwise_fwd "}) CHECK(text.find(word) != text.npos);
}

// ---- What fails ----------------------------------------------------------------------------------------------------

TEST_CASE("what a device cannot do is refused when the plan is made") {
  const Graph graph = small_graph();
  const auto why = [&](PlanOptions options) {
    fresh_device();
    options.exec.device = Device::cuda;
    Parameters parameters(graph, options.exec.dtype);
    return message_of([&] { const Plan plan(graph, parameters, options); });
  };
  CHECK(why({}).empty());
  CHECK(why({.exec = exec_of(DType::f64, 8)}) == "cuda: plans are f32 there");
  CHECK(why({.exec = exec_of(DType::f32, 0)}) == "cuda: reference plans run on the CPU");
  CHECK(why({.exec = exec_of(DType::f32, 16)}) == "cuda: maps do not lie in blocks of channels there");
  CHECK(why({.ordinal = 1}) == "cuda: device 1 came, there are 1");
}

TEST_CASE("failures while a plan is made are named, leave nothing behind, and the CPU goes on") {
  struct Fault {
    const char *call, *message;
    int passing = 0;
  };
  constexpr Fault faults[] = {
      {"driver_version", "cuda: asking for the driver: "},
      {"create_stream", "cuda: creating a stream: "},
      {"allocate", "cuda: allocating "},
      {"allocate_host", "cuda: allocating "},
      {"copy", "cuda: copying"},
      {"begin_capture", "cuda: capturing a graph"},
      {"launch", "cuda: conv2d_fwd for 'm.cv1"},
      {"instantiate", "cuda: instantiating a graph"},
      {"instantiate", "cuda: instantiating a graph", 1},
  };
  const Graph graph = small_graph();
  for (const Fault& fault : faults) {
    CAPTURE(fault.call);
    emulation::Device& device = fresh_device();
    const std::size_t before = device.allocated();
    device.fail(fault.call, emulation::out_of_memory, fault.passing);
    Parameters parameters(graph);
    const std::string message =
        message_of([&] { const Plan plan(graph, parameters, {.mode = Mode::train, .exec = on_cuda()}); });
    CAPTURE(message);
    CHECK(message.starts_with(fault.message));
    CHECK(device.allocated() == before);
    CHECK_FALSE(test::all_numbers<float>(graph, Mode::train, {}).empty());
  }
}

TEST_CASE("memory that is not there is named with its bytes") {
  emulation::Device& device = fresh_device();
  device.total_memory = device.allocated() + 1000;
  const Graph graph = small_graph();
  Parameters parameters(graph);
  const std::string message = message_of([&] { const Plan plan(graph, parameters, {.exec = on_cuda()}); });
  CAPTURE(message);
  CHECK(message.find(" bytes (1000 of ") != message.npos);
  CHECK(message.find("for 'the plan': cudaErrorMemoryAllocation: out of memory") != message.npos);
}

TEST_CASE("what fails while a plan runs is thrown by wait, with its node") {
  const Graph graph = small_graph();
  emulation::Device& device = fresh_device();
  device.only = {emulation::Schedule::Kind::forward, 0};
  Parameters parameters(graph);
  Plan plan(graph, parameters, {.mode = Mode::train, .exec = on_cuda(), .input_gradients = true});
  const auto why = [&](const char* call, Timeline* timeline) {
    device.fail(call, 999);
    plan.forward(timeline);
    plan.backward();
    return message_of([&] { plan.wait(); });
  };
  Timeline timeline = plan.timeline();
  CHECK(why("launch", &timeline).starts_with("cuda: conv2d_fwd for 'm.cv1"));
  CHECK(why("launch_graph", nullptr).starts_with("cuda: launching a graph for 'the forward': cudaErrorUnknown"));
  const std::vector<float> gradients(static_cast<std::size_t>(parameters.gradients().numel()), 0.F);
  const float* now = parameters.gradients().data<float>();
  CHECK(std::equal(gradients.begin(), gradients.end(), now));  // nothing was delivered
  const AllNumbers again = test::run_once<float>(graph, plan, parameters, Mode::train);
  Parameters others(graph);
  Plan other(graph, others, {.mode = Mode::train, .exec = on_cuda(), .input_gradients = true});
  CHECK(again.at("output y") == test::run_once<float>(graph, other, others, Mode::train).at("output y"));
}
