#include <algorithm>
#include <cmath>

#include "slimneck/layers.hpp"

namespace slimneck {

namespace {

// YOLOv5 sets these on every batch norm.
constexpr double norm_eps = 1e-3;
constexpr double norm_momentum = 0.03;

constexpr int max_nodes = 100000;
constexpr index_t max_numbers = index_t{1} << 31;  // 8 GiB of f32
constexpr double max_work = 1e15;                  // ten thousand times yolov5x; counts of it stay far from overflow

}  // namespace

void GraphBudget::charge(const Graph& graph) {
  if (graph.size() > max_nodes)
    throw ShapeError("the network has more than " + std::to_string(max_nodes) + " operations");
  for (; seen_ < graph.size(); ++seen_) {
    const Node& node = graph.node(seen_);
    if (node.role == Role::parameter || node.role == Role::state) {
      const index_t count = node.shapes.front().numel();
      if (count > max_numbers - numbers_)
        throw ShapeError("'" + node.name + "': the network's parameters need more than " +
                         std::to_string(max_numbers * 4 >> 30) + " GiB");
      numbers_ += count;
    }
    // An output costs at most one filter.
    double filter = 1;
    for (const Value& input : node.inputs)
      if (input.valid() && graph.node(input).role == Role::parameter) {
        const Shape& w = graph.shape(input);
        filter = std::max(filter, static_cast<double>(w.c) * static_cast<double>(w.h) * static_cast<double>(w.w));
      }
    for (const Shape& shape : node.shapes) work_ += static_cast<double>(shape.numel()) * filter;
    if (!(work_ < max_work)) throw ShapeError("'" + node.name + "': the network is too large for these pictures");
  }
}

ModuleBuilder::ModuleBuilder(Graph& graph, const Dialect& dialect, std::string prefix, GraphBudget* budget)
    : graph_(graph), dialect_(dialect), prefix_(std::move(prefix)), budget_(budget) {}

std::string ModuleBuilder::name(std::string_view last) const {
  return prefix_.empty() ? std::string(last) : prefix_ + "." + std::string(last);
}

ModuleBuilder ModuleBuilder::scope(std::string_view last) const { return {graph_, dialect_, name(last), budget_}; }

void ModuleBuilder::fail(const std::string& cause) const { throw ShapeError("'" + prefix_ + "': " + cause); }

void ModuleBuilder::charge() const {
  if (budget_ != nullptr) budget_->charge(graph_);
}

Value ModuleBuilder::conv2d(Value x, index_t c2, const ConvArgs& args, const Init* bias_init) const {
  const index_t c1 = channels(x);
  if (c2 < 1 || c2 > max_channels)
    fail(std::to_string(c2) + " output channels; wanted 1.." + std::to_string(max_channels));
  if (args.g < 1 || c1 % args.g != 0 || c2 % args.g != 0)
    fail(std::to_string(c1) + " input and " + std::to_string(c2) +
         " output channels are not both divisible by groups=" + std::to_string(args.g));
  const index_t pad = args.p >= 0 ? args.p : (args.d * (args.k - 1) + 1) / 2;
  const std::vector<index_t> dims{c2, c1 / args.g, args.k, args.k};
  const index_t fan_in = checked_multiply(dims[1], checked_multiply(args.k, args.k));
  const double bound = 1 / std::sqrt(static_cast<double>(std::max<index_t>(fan_in, 1)));
  std::vector<Value> inputs{x, graph_.parameter(name("weight"), dims, {bound, {}})};
  if (bias_init != nullptr) inputs.push_back(graph_.parameter(name("bias"), {c2}, *bias_init));
  const Value y = graph_.add(
      ops::conv2d, std::move(inputs),
      {{"stride", args.s}, {"pad_h", pad}, {"pad_w", pad}, {"dilation", args.d}, {"groups", args.g}}, prefix_);
  charge();
  return y;
}

Value ModuleBuilder::batch_norm(Value x) const {
  const index_t c = channels(x);
  const Init zero{}, one{0, {1}};
  const Value gamma = graph_.parameter(name("weight"), {c}, one);
  const Value beta = graph_.parameter(name("bias"), {c}, zero);
  const Value mean = graph_.state(name("running_mean"), {c}, zero);
  const Value var = graph_.state(name("running_var"), {c}, one);
  const Value tracked = graph_.state(name("num_batches_tracked"), {}, zero);
  const Value y = graph_.add(ops::batch_norm, {x, gamma, beta, mean, var, tracked},
                             {{"eps", norm_eps}, {"momentum", norm_momentum}}, prefix_);
  charge();
  return y;
}

Value ModuleBuilder::activation(Value x, const kernels::Activation& act) const {
  const OpDef* op = activation_op(act.kind);
  if (op == nullptr) return x;
  Attributes attributes;
  if (act.kind == kernels::Act::leaky_relu) attributes.set("slope", act.slope);
  return graph_.add(*op, {x}, attributes, name("act"));
}

Value ModuleBuilder::concat(std::vector<Value> parts) const {
  return parts.size() == 1 ? parts.front() : graph_.add(ops::concat, std::move(parts), {}, name("cat"));
}

Value ModuleBuilder::add(Value a, Value b) const { return graph_.add(ops::add, {a, b}, {}, name("add")); }

Value ModuleBuilder::shuffle(Value x, ShuffleKind kind) const {
  return graph_.add(ops::channel_shuffle, {x}, {{"source", shuffle_source(channels(x), kind)}}, name("shuffle"));
}

Value ModuleBuilder::max_pool(Value x, index_t kernel, index_t stride, index_t pad) const {
  return graph_.add(ops::max_pool, {x}, {{"kernel", kernel}, {"stride", stride}, {"pad", pad}}, name("pool"));
}

Value ModuleBuilder::slice(Value x, index_t first, index_t count) const {
  return graph_.add(ops::slice, {x}, {{"first", first}, {"count", count}}, name("slice"));
}

}  // namespace slimneck
