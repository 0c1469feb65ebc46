// What a program of your own can do with an installed slimneck, from its public headers alone: an op and a module that
// the library does not have, in a graph built by hand and in a model file; inference, training and a gradient check.
// Every part prints one line; the exit code is the number of parts that went wrong.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <string>
#include <string_view>

#include "slimneck/slimneck.hpp"

using namespace slimneck;

namespace {

// ---- Two ops: y = x * scale[channel], and the sum that its gradient needs -----------------------------------------

std::vector<Shape> infer_scale(const Attributes&, std::span<const Shape> in) {
  if (in.size() != 2) throw ShapeError("wanted a map and a scale");
  const Shape vector{1, in[0].c, 1, 1};
  if (!(in[1] == vector)) throw ShapeError("the scale is " + to_string(in[1]) + ", wanted " + to_string(vector));
  return {in[0]};
}

std::vector<Shape> infer_dot(const Attributes&, std::span<const Shape> in) {
  if (in.size() != 2 || !(in[0] == in[1])) throw ShapeError("wanted two maps of one shape");
  return {{1, in[0].c, 1, 1}};
}

/// Works under any order of the channels, as long as all three operands agree on it.
std::string_view one_map(const Attributes&, std::span<const Shape>) { return "-a,-a>-a"; }

/// f(element, channel) for every element; a view knows where its elements lie.
template <class F>
void for_each_element(const Shape& s, F f) {
  for (index_t n = 0; n < s.n; ++n)
    for (index_t c = 0; c < s.c; ++c)
      for (index_t h = 0; h < s.h; ++h)
        for (index_t w = 0; w < s.w; ++w) f(n, c, h, w);
}

/// out[c] = sum over n, h, w of a[n,c,h,w] b[n,c,h,w].
const OpDef channel_dot{
    .name = "channel_dot",
    .infer = infer_dot,
    .maps = one_map,
    .reference = Reference::of([]<class T>(const KernelCall& call) {
      const View<const T> a = call.in<T>(0), b = call.in<T>(1);
      const View<T> sum = call.out<T>(0);
      for (index_t c = 0; c < sum.shape.c; ++c) sum.at(0, c, 0, 0) = 0;
      for_each_element(a.shape, [&](index_t n, index_t c, index_t h, index_t w) {
        sum.at(0, c, 0, 0) += a.at(n, c, h, w) * b.at(n, c, h, w);
      });
    }),
};

extern const OpDef channel_scale;

/// d x = scale dy, d scale = channel_dot(x, dy): two more nodes.
void scale_gradient(GradientContext& g) {
  if (g.wants(0)) g.contribute(0, g.emit(channel_scale, {g.gradient(), g.input(1)}, {}, "bwd_x"));
  if (g.wants(1)) g.contribute(1, g.emit(channel_dot, {g.input(0), g.gradient()}, {}, "bwd_scale"));
}

const OpDef channel_scale{
    .name = "channel_scale",
    .infer = infer_scale,
    .maps = one_map,
    .reference = Reference::of([]<class T>(const KernelCall& call) {
      const View<const T> x = call.in<T>(0), scale = call.in<T>(1);
      const View<T> y = call.out<T>(0);
      for_each_element(x.shape, [&](index_t n, index_t c, index_t h, index_t w) {
        y.at(n, c, h, w) = x.at(n, c, h, w) * scale.at(0, c, 0, 0);
      });
    }),
    .gradient = scale_gradient,
};

// ---- A module of model files
// ------------------------------------------------------------------------------------------

Value build_layer_scale(const ModuleBuilder& b, const ModuleCall& call) {
  if (!call.args.empty()) b.fail("LayerScale takes no arguments");
  const Value x = call.inputs[0];
  const Value gamma = b.graph().parameter(b.name("gamma"), {b.channels(x)}, {0.5, {1.0}});
  return b.graph().add(channel_scale, {x, gamma}, {}, b.name("scale"));
}

const ModuleDef layer_scale{
    .name = "LayerScale", .width = ModuleDef::Width::inferred, .gs = false, .build = build_layer_scale};

// ---- The parts -----------------------------------------------------------------------------------------------------

int failures = 0;

void report(bool good, const std::string& what) {
  std::cout << (good ? "ok      " : "WRONG   ") << what << '\n';
  failures += good ? 0 : 1;
}

/// SC, the op above, and a sum with the input.
Graph small_graph() {
  Graph graph;
  const Value x = graph.input("x", {2, 4, 5, 5});
  const Value w = graph.parameter("w", {4, 4, 3, 3}, {0.3, {}});
  const Value scale = graph.parameter("scale", {4}, {0, {1, 2, 3, 4}});
  const Value y = graph.add(ops::conv2d, {x, w}, {{"pad_h", index_t{1}}, {"pad_w", index_t{1}}}, "conv");
  const Value z = graph.add(channel_scale, {graph.add(ops::silu, {y}, {}, "act"), scale}, {}, "layer_scale");
  graph.output("y", graph.add(ops::add, {x, z}, {}, "residual"));
  return graph;
}

/// Numbers that differ from element to element.
void fill(View<float> v) {
  for (index_t i = 0; i < v.shape.numel(); ++i) v.data[i] = static_cast<float>(std::sin(0.7 * static_cast<double>(i)));
}

double largest_difference(View<float> a, View<float> b) {
  double largest = 0;
  for (index_t i = 0; i < a.shape.numel(); ++i)
    largest = std::max(largest, static_cast<double>(std::abs(a.data[i] - b.data[i])));
  return largest;
}

void infer_and_train(const Graph& graph) {
  Parameters parameters(graph);
  PlanOptions oracle;
  oracle.exec.reference = true;
  Plan plan(graph, parameters), reference(graph, parameters, oracle);
  fill(plan.input());
  fill(reference.input());
  plan.forward();
  reference.forward();
  const double difference = largest_difference(plan.output("y"), reference.output("y"));
  report(difference < 1e-5, "inference: a plan in blocks and the reference differ by " + std::to_string(difference));

  Plan training(graph, parameters, {.mode = Mode::train, .exec = {}, .input_gradients = true});
  fill(training.input());
  fill(training.output_gradient("y"));
  training.forward();
  training.backward();
  const View<float> gradient = parameters.gradient<float>(parameters.at("scale"));
  report(std::all_of(gradient.data, gradient.data + 4, [](float g) { return std::isfinite(g) && g != 0; }),
         "training: d scale = " + std::to_string(gradient.data[0]) + " ... " + std::to_string(gradient.data[3]));
}

void check_the_gradient(const Graph& graph) {
  Parameters parameters(graph, DType::f64);
  const GradientCheckResult result = check_gradients(graph, parameters);
  report(result.passed(), "gradients: " + std::to_string(result.samples) +
                              " derivatives, largest error / tolerance = " + std::to_string(result.worst));
}

void use_a_model_file() {
  constexpr std::string_view yaml = R"(
depth_multiple: 1.0
width_multiple: 1.0
dialect: paper
backbone:
  - [-1, 1, GSConv, [16, 3, 2]]
  - [-1, 1, LayerScale, []]
head:
  - [-1, 1, VoVGSCSP, [16]]
)";
  const ModuleDef* const mine[] = {&layer_scale};
  ModelOptions options;
  options.height = options.width = 32;
  options.modules = mine;
  const Model model = parse_model(yaml, "example.yaml", options);
  Parameters parameters(model.graph);
  Plan plan(model.graph, parameters, {.mode = Mode::train, .exec = {}, .input_gradients = false});
  fill(plan.input());
  plan.forward();
  const PlanStats stats = plan.stats();
  report(parameters.find("model.1.gamma") >= 0 && stats.bytes_moved.count("channel_shuffle") == 0,
         "model: " + std::to_string(model.graph.cost().total.macs) + " multiply-adds, " +
             std::to_string(model_stats(model).parameters) + " parameters, nothing moved by its shuffles");
}

/// Kernels work on views alone, without a graph.
void use_a_kernel() {
  Tensor x({1, 4, 1, 2}), y(x.shape());
  fill(x.view<float>());
  kernels::gather_channels<float>(x.view<float>(), y.view<float>(), shuffle_source(4, ShuffleKind::interleave));
  report(y.data<float>()[2] == x.data<float>()[4], "kernel: channel 1 of the shuffle is channel 2");
}

void errors_say_what_is_wrong() {
  Graph graph;
  const Value x = graph.input("x", {1, 3, 4, 4});
  try {
    graph.add(channel_scale, {x, graph.parameter("s", {4})}, {}, "wrong");
    report(false, "error: none came");
  } catch (const ShapeError& e) {
    report(std::string_view(e.what()).find("1x4x1x1") != std::string_view::npos, std::string("error: ") + e.what());
  }
}

}  // namespace

int main() {
  try {
    std::cout << "slimneck " << SLIMNECK_VERSION_STRING << '\n';
    const Graph graph = small_graph();
    infer_and_train(graph);
    check_the_gradient(graph);
    use_a_model_file();
    use_a_kernel();
    errors_say_what_is_wrong();
  } catch (const std::exception& e) {
    report(false, e.what());
  }
  return failures;
}
