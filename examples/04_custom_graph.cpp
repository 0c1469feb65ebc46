// A network of your own without a model file: a GSConv layer with a residual, trained by gradient descent to do what
// another one with other weights does.
#include <cmath>
#include <iostream>

#include "slimneck/slimneck.hpp"

using namespace slimneck;

namespace {

/// y = x + conv1x1(gsconv3x3(x)), for a batch of four pictures.
Graph network() {
  Graph graph;
  const Value x = graph.input("x", {4, 8, 16, 16});
  const ModuleBuilder layer(graph, *find_dialect("yolov5"), "layer");
  const Value inside =
      find_module("GSConv")->build(layer.scope("gs"), {.inputs = {x}, .c2 = 16, .args = {index_t{3}, index_t{1}}});
  const Value last = graph.parameter("last.weight", {8, 16, 1, 1}, {0.25, {}});
  graph.output("y", graph.add(ops::add, {x, graph.add(ops::conv2d, {inside, last})}, {}, "residual"));
  return graph;
}

/// dL/dy of L = |y - wanted|^2 / 2, written into `gradient`; returns L divided by the number of values.
double loss(View<float> y, View<float> wanted, View<float> gradient) {
  double sum = 0;
  const index_t count = y.shape.numel();
  for (index_t i = 0; i < count; ++i) {
    gradient.data[i] = y.data[i] - wanted.data[i];
    sum += static_cast<double>(gradient.data[i]) * static_cast<double>(gradient.data[i]) / 2;
  }
  return sum / static_cast<double>(count);
}

/// One step down the gradient: values -= rate * gradients, then touch() tells that they changed.
void descend(Parameters& parameters, float rate) {
  for (Parameters::Entry& entry : parameters.entries()) {
    if (entry.role != Role::parameter) continue;  // running statistics have no gradient
    const View<float> gradient = parameters.gradient<float>(entry);
    float* const value = entry.value.data<float>();
    for (index_t i = 0; i < entry.value.numel(); ++i) value[i] -= rate * gradient.data[i];
  }
  parameters.touch();
  parameters.zero_grad();
}

}  // namespace

int main() {
  const Graph graph = network();
  Parameters teacher(graph), student(graph);
  teacher.initialise(1);
  student.initialise(2);
  Plan wanted(graph, teacher, {.mode = Mode::train, .exec = {}}),
      plan(graph, student, {.mode = Mode::train, .exec = {}});

  double first = 0, last = 0;
  for (int step = 0; step <= 200; ++step) {
    for (Plan* each : {&wanted, &plan}) {
      const View<float> x = each->input();
      for (index_t i = 0; i < x.shape.numel(); ++i) x.data[i] = std::sin(0.61F * static_cast<float>(i % 4999));
      each->forward();
    }
    last = loss(plan.output("y"), wanted.output("y"), plan.output_gradient("y"));
    if (step == 0) first = last;
    if (step % 50 == 0) std::cout << "step " << step << ": loss " << last << '\n';
    plan.backward();
    descend(student, 2e-4F);
  }
  std::cout << graph.cost().total.macs << " multiply-adds, " << graph.cost().parameters << " parameters\n"
            << (last < first / 10 ? "it learns\n" : "WRONG: it does not learn\n");
  return last < first / 10 ? 0 : 1;
}
