// slimneck_bench: every op on the shapes of real networks, one benchmark for each case and direction:
// OP/CASE/forward, OP/CASE/backward, and conv2d/CASE/onednn for the peer. See docs/benchmarking.md.
#include <algorithm>
#include <numeric>
#include <vector>

#include "bench.hpp"
#include "slimneck/plan.hpp"

namespace slimneck::bench {

Graph graph_of(const OpDef& op, const OpCase& example) {
  Graph graph;
  std::vector<Value> operands;
  for (std::size_t i = 0; i < example.inputs.size(); ++i) {
    const Shape& s = example.inputs[i];
    const std::string name = "operand " + std::to_string(i);
    const bool map = s.n == example.inputs[0].n && s.h * s.w > 1;
    if (i > 0 && !map) {
      const std::vector<index_t> dims =
          s.n == 1 && s.h * s.w == 1 ? std::vector<index_t>{s.c} : std::vector<index_t>{s.n, s.c, s.h, s.w};
      operands.push_back(graph.parameter(name, dims, {1, {}}));
      continue;
    }
    std::vector<index_t> same(static_cast<std::size_t>(s.c));
    std::iota(same.begin(), same.end(), index_t{0});
    operands.push_back(graph.add(ops::channel_shuffle, {graph.input(name, s)}, {{"source", same}}, "enter"));
  }
  graph.output("y", graph.add(op, operands, example.attributes, std::string(op.name)));
  return graph;
}

void count_macs(benchmark::State& state, index_t macs) {
  if (macs > 0)
    state.counters["MAC/s"] =
        benchmark::Counter(static_cast<double>(macs), benchmark::Counter::kIsIterationInvariantRate);
}

std::string shapes_of(const OpCase& example) {
  std::string text;
  for (const Shape& s : example.inputs) text += (text.empty() ? "" : " ") + to_string(s);
  return text;
}

void fill(float* first, index_t count) {
  for (index_t i = 0; i < count; ++i) first[i] = static_cast<float>(i * 37 % 101 - 50) / 50;
}

namespace {

void fill(View<float> v) { bench::fill(v.data, v.shape.numel()); }

/// Multiply-adds of the nodes that differentiation adds.
index_t backward_macs(const Graph& graph) {
  std::vector<Value> wrt;
  for (int i = 0; i < graph.size(); ++i)
    if (graph.node(i).role == Role::parameter || graph.node(i).role == Role::input) wrt.push_back({i, 0});
  Graph both = differentiate(graph, wrt);
  std::vector<Output> outputs;
  for (const Gradient& g : both.gradients()) outputs.push_back({"", g.gradient, OutputKind::probe});
  both.set_outputs(outputs);
  index_t macs = 0;
  for (const NodeCost& n : both.cost().nodes)
    if (n.node >= graph.size()) macs += n.cost.macs;
  return macs;
}

void run(benchmark::State& state, const OpDef& op, const OpCase& example, bool backward) {
  const Graph graph = graph_of(op, example);
  Parameters parameters(graph);
  PlanOptions options;
  options.mode = backward ? Mode::train : Mode::infer;
  options.input_gradients = backward;
  Plan plan(graph, parameters, options);
  const auto inputs =
      std::count_if(graph.nodes().begin(), graph.nodes().end(), [](const Node& n) { return n.role == Role::input; });
  for (std::ptrdiff_t i = 0; i < inputs; ++i) fill(plan.input(static_cast<std::size_t>(i)));
  if (backward) fill(plan.output_gradient("y"));
  plan.forward();  // warm
  for (auto _ : state) {
    if (!backward) {
      plan.forward();
      continue;
    }
    plan.backward();
    state.PauseTiming();  // a backward is valid once after each forward
    plan.forward();
    state.ResumeTiming();
  }
  count_macs(state, backward ? backward_macs(graph) : graph.cost().total.macs);
  state.SetLabel(shapes_of(example));
}

void register_ops() {
  for (const OpDef* op : all_ops()) {
    if (!op->cases) continue;
    for (const OpCase& example : op->cases()) {
      if (!example.real) continue;
      for (const bool backward : {false, true}) {
        if (backward && !op->gradient) continue;
        const std::string name = std::string(op->name) + "/" + example.name + (backward ? "/backward" : "/forward");
        benchmark::RegisterBenchmark(
            name.c_str(), [op, example, backward](benchmark::State& state) { run(state, *op, example, backward); })
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
}

}  // namespace

}  // namespace slimneck::bench

int main(int argc, char** argv) {
  slimneck::bench::register_ops();
  slimneck::bench::register_onednn();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
