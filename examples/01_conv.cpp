// Three ways from 64 to 64 channels on one map: the standard convolution (SC), the depthwise separable one (DSC) and
// GSConv. What does each cost, and do the fast kernels compute what the specification says?
#include <cmath>
#include <iomanip>
#include <iostream>

#include "slimneck/slimneck.hpp"

using namespace slimneck;

namespace {

constexpr index_t channels = 64, size = 80;

/// A graph of one module with a 3x3 kernel: convolution, batch norm and SiLU, in GSConv and DSC twice.
Graph graph_of(const char* module) {
  Graph graph;
  const Value x = graph.input("x", {1, channels, size, size});
  const ModuleBuilder builder(graph, *find_dialect("yolov5"), "layer");
  graph.output("y",
               find_module(module)->build(builder, {.inputs = {x}, .c2 = channels, .args = {index_t{3}, index_t{1}}}));
  return graph;
}

/// The largest difference between a plan and the reference plan: scalar loops, sums in double precision.
double compare(const Graph& graph) {
  Parameters parameters(graph);
  parameters.initialise(1);
  PlanOptions scalar;
  scalar.exec.reference = true;
  Plan plan(graph, parameters), reference(graph, parameters, scalar);
  for (Plan* each : {&plan, &reference}) {
    const View<float> x = each->input();
    for (index_t i = 0; i < x.shape.numel(); ++i)
      x.data[i] = static_cast<float>(std::sin(0.37 * static_cast<double>(i)));
    each->forward();
  }
  const View<float> y = plan.output("y"), wanted = reference.output("y");
  double largest = 0;
  for (index_t i = 0; i < y.shape.numel(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(y.data[i]) - static_cast<double>(wanted.data[i])));
  return largest;
}

}  // namespace

int main() {
  std::cout << "64 -> 64 channels, 3x3, 80x80 pixels\n"
            << "             MACs  parameters   of SC  largest difference\n";
  double standard = 0;
  bool good = true;
  for (const auto& [name, module] : {std::pair{"SC", "Conv"}, {"DSC", "DSConv"}, {"GSConv", "GSConv"}}) {
    const Graph graph = graph_of(module);
    const GraphCost cost = graph.cost();
    const auto macs = static_cast<double>(cost.total.macs);
    if (standard == 0) standard = macs;
    const double difference = compare(graph);
    good = good && difference < 1e-4;  // 576 products of numbers below 1, a few ulps each, and Winograd's ten times
    std::cout << std::left << std::setw(6) << name << std::right << std::setw(11) << cost.total.macs << std::setw(12)
              << cost.parameters << std::fixed << std::setprecision(3) << std::setw(8) << macs / standard
              << std::scientific << std::setprecision(1) << std::setw(20) << difference << '\n';
  }
  std::cout << (good ? "all as the reference computes them\n" : "WRONG\n");
  return good ? 0 : 1;
}
