// The numbers that both sides of a network get, and the comparison of what they make of them.
#include <algorithm>
#include <cmath>
#include <set>

#include "draw.hpp"
#include "networks.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::bench {

namespace {

/// Winograd's algorithm rounds worse, as for single layers.
constexpr double winograd_factor = 10;
/// What some pixels' gradients that went elsewhere may make of a parameter's gradient, in the mean square. A wrong
/// gradient is wrong by about its own size.
constexpr double moved_pixels = 0.05;

Draw draw_of(std::string_view name) {
  std::uint64_t state = 0xCBF29CE484222325U;
  for (const char c : name) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001B3U;
  return Draw(state);
}

Numbers uniform(index_t count, std::string_view seed) {
  Draw draw = draw_of(seed);
  Numbers v(static_cast<std::size_t>(count));
  for (float& x : v) x = static_cast<float>(draw());
  return v;
}

/// Weights that keep the size of what goes through them, and a batch norm that does something: what a network is
/// initialised with fades away layer by layer, and differences with it.
void fill(Parameters& parameters) {
  for (Parameters::Entry& e : parameters.entries()) {
    if (e.name.ends_with("anchors") || e.name.ends_with("num_batches_tracked")) continue;
    Draw draw = draw_of(e.name);
    const Shape& s = e.value.shape();
    const bool weights = e.dims.size() == 4, around_one = e.name.ends_with("var") || e.name.ends_with(".bn.weight");
    const float scale = weights ? 3 / std::sqrt(static_cast<float>(s.c * s.h * s.w)) : 0.5F;
    auto* v = e.value.data<float>();
    for (index_t i = 0; i < e.value.numel(); ++i) v[i] = (around_one ? 1.F : 0.F) + scale * static_cast<float>(draw());
  }
  parameters.touch();
}

Numbers plain(const View<float>& v) {
  Numbers all;
  for (index_t n = 0; n < v.shape.n; ++n)
    for (index_t c = 0; c < v.shape.c; ++c)
      for (index_t h = 0; h < v.shape.h; ++h)
        for (index_t w = 0; w < v.shape.w; ++w) all.push_back(v.at(n, c, h, w));
  return all;
}

void write(const Numbers& numbers, const View<float>& v) {
  auto from = numbers.begin();
  for (index_t n = 0; n < v.shape.n; ++n)
    for (index_t c = 0; c < v.shape.c; ++c)
      for (index_t h = 0; h < v.shape.h; ++h)
        for (index_t w = 0; w < v.shape.w; ++w) v.at(n, c, h, w) = *from++;
}

double largest(const Numbers& v) {
  float size = 0;
  for (const float x : v) size = std::max(size, std::abs(x));
  return static_cast<double>(size);
}

/// Largest difference over `size`.
double distance(const Numbers& a, const Numbers& b, double size) {
  if (a.size() != b.size()) throw Error("results differ in size");
  double difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    if (!std::isfinite(x) || !std::isfinite(y)) return INFINITY;
    difference = std::max(difference, std::abs(x - y));
  }
  return size > 0 ? difference / size : difference;
}

/// The same in the mean square.
double mean_distance(const Numbers& a, const Numbers& b) {
  if (a.size() != b.size()) throw Error("results differ in size");
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    difference += (x - y) * (x - y);
    size += x * x;
  }
  return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}

/// Parameters whose gradients come through a max pooling. Where two values of a window are equal but for rounding, the
/// sides may choose different ones, and the gradient of a pixel goes elsewhere.
std::set<std::string> before_pools(const Graph& g) {
  std::vector<char> before(static_cast<std::size_t>(g.size()), 0);
  for (int i = g.size() - 1; i >= 0; --i)
    if (g.node(i).op == &ops::max_pool || before[static_cast<std::size_t>(i)] != 0)
      for (const Value& v : g.node(i).inputs) before[static_cast<std::size_t>(v.node)] = 1;
  std::set<std::string> names;
  for (int i = 0; i < g.size(); ++i)
    if (g.node(i).role == Role::parameter && before[static_cast<std::size_t>(i)] != 0) names.insert(g.node(i).name);
  return names;
}

/// What a difference in the gradient of a parameter is compared with. Where only sums lie between a layer and the next
/// batch norm, that takes out the shift, whose gradient is then nothing but rounding: hence the factor's beside it.
double size_of_gradient(Parameters& parameters, const Parameters::Entry& e) {
  double size = largest(plain(parameters.gradient<float>(e)));
  const std::string_view shift = ".bias";
  if (!e.name.ends_with(shift)) return size;
  const int factor = parameters.find(e.name.substr(0, e.name.size() - shift.size()) + ".weight");
  if (factor < 0) return size;
  const Parameters::Entry& beside = parameters.entries()[static_cast<std::size_t>(factor)];
  if (beside.dims.size() == 1) size = std::max(size, largest(plain(parameters.gradient<float>(beside))));
  return size;
}

/// Every convolution adds an error of 2 u (4 + 2 sqrt K) of its result, K the terms of its sums, to what comes in, and
/// what lies between them keeps sizes: so the errors of all of them add up, at worst. The way back has two sums for
/// each of the way forward, one of them over all pixels, and its errors come on top of those of the maps it reads.
double bound_of(const Network& network, bool train) {
  const Graph& g = network.fused;
  double terms = 0;
  for (const Node& n : g.nodes()) {
    if (n.op != &ops::conv_bn_act && n.op != &ops::conv2d) continue;
    const Shape &w = g.shape(n.inputs[1]), &y = n.shapes[0];
    terms += 4 + 2 * std::sqrt(static_cast<double>(w.c * w.h * w.w));
    if (train)
      terms +=
          8 + 2 * std::sqrt(static_cast<double>(w.n * w.h * w.w)) + 2 * std::sqrt(static_cast<double>(y.n * y.h * y.w));
  }
  return 2 * 0x1p-24 * terms;
}

}  // namespace

NetworkProblem network_problem(const Network& network, Parameters& parameters, const Options& options) {
  fill(parameters);
  NetworkProblem p;
  p.network = &network;
  p.parameters = &parameters;
  p.train = options.train;
  p.algorithm = options.algorithm;
  p.x = uniform(network.graph.shape({0, 0}).numel(), "x");
  if (!p.train) return p;
  for (const Output& o : network.graph.outputs())
    p.output_gradient.push_back(uniform(network.graph.shape(o.value).numel(), o.name));
  return p;
}

Plan plan_of(const NetworkProblem& p, const Options& options, bool direct) {
  PlanOptions o;
  o.mode = p.train ? Mode::train : Mode::infer;
  o.exec.isa = options.isa;
  o.exec.threads = options.threads;
  o.exec.direct = direct;
  Plan plan(p.network->graph, *p.parameters, o);
  write(p.x, plan.input());
  for (std::size_t i = 0; i < p.output_gradient.size(); ++i)
    write(p.output_gradient[i], plan.output_gradient(p.network->graph.outputs()[i].name));
  return plan;
}

void run_step(const NetworkProblem& p, Plan& plan, Timeline* timeline) {
  if (p.train && p.framework) p.parameters->touch();
  plan.forward(timeline);
  if (p.train) plan.backward(timeline);
}

Difference compare(const NetworkProblem& p, NetworkPeer& peer, const Options& options) {
  Plan plan = plan_of(p, options, true);
  p.parameters->zero_grad();
  run_step(p, plan);
  peer.run();
  Difference worst;
  worst.bound = bound_of(*p.network, p.train) * (p.algorithm == kernels::Algorithm::best ? winograd_factor : 1);
  const auto look = [&](const std::string& name, double error) {
    if (error <= worst.error && !worst.where.empty()) return;
    worst.error = error;
    worst.where = name;
  };
  const std::vector<Output>& outputs = p.network->graph.outputs();
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const Numbers ours = plain(plan.output(outputs[i].name));
    look(outputs[i].name, distance(ours, peer.output(i), largest(ours)));
  }
  if (!p.train) return worst;
  const std::set<std::string> pooled = before_pools(p.network->fused);
  for (const Parameters::Entry& e : p.parameters->entries()) {
    if (e.role != Role::parameter) continue;
    const Numbers ours = plain(p.parameters->gradient<float>(e));
    Numbers theirs = peer.gradient(e.name);
    if (theirs.empty()) theirs.assign(ours.size(), 0.F);  // as of a parameter that nothing depends on
    const double error = distance(ours, theirs, size_of_gradient(*p.parameters, e));
    const bool moved = error > worst.bound && pooled.count(e.name) > 0 && mean_distance(ours, theirs) < moved_pixels;
    if (!moved) look("the gradient of " + e.name, error);
  }
  return worst;
}

}  // namespace slimneck::bench
