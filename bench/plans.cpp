#include "plans.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "slimneck/ops.hpp"
#include "slimneck/plan.hpp"

namespace slimneck::bench {

namespace {

/// A graph whose only computed work is the op: operand 0, and those that are no weights or vectors of it, are inputs;
/// the others are parameters. An identity permutation in front brings each input into the plan's blocks, as inside of a
/// network, and is part of what is measured, like the way back to NCHW behind.
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

/// Multiples of 0.02 in -1..1.
void fill(View<float> v) {
  for (index_t i = 0; i < v.shape.numel(); ++i) v.data[i] = static_cast<float>(i * 37 % 101 - 50) / 50;
}

void run(benchmark::State& state, const OpDef& op, const OpCase& example, bool backward, int threads) {
  const Graph graph = graph_of(op, example);
  Parameters parameters(graph);
  PlanOptions options;
  options.mode = backward ? Mode::train : Mode::infer;
  options.input_gradients = backward;
  options.exec.threads = threads;
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
  std::string shapes;
  for (const Shape& s : example.inputs) shapes += (shapes.empty() ? "" : " ") + to_string(s);
  state.SetLabel(shapes);
}

}  // namespace

void add_plans(const Options& options) {
  for (const OpDef* op : all_ops()) {
    if (!op->cases) continue;
    for (const OpCase& example : op->cases())
      for (const bool backward : {false, true}) {
        if (!example.real || (backward && !op->gradient)) continue;
        const std::string name = "plan/" + std::string(op->name) + "/" + example.name + (backward ? "/bwd" : "/fwd") +
                                 "/t" + std::to_string(options.threads);
        benchmark::RegisterBenchmark(name.c_str(),
                                     [op, example, backward, threads = options.threads](benchmark::State& state) {
                                       run(state, *op, example, backward, threads);
                                     })
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
  }
}

}  // namespace slimneck::bench
