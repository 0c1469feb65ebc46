#include <algorithm>
#include <map>

#include "slimneck/cost.hpp"

namespace slimneck {

namespace {

constexpr FlopConvention conventions[] = {
    {"mac", "MACs of convolutions", "MNN; ultralytics-thop on a folded model; papers that speak of MACs", 1},
    {"conv", "2 MACs", "YOLOv5 on a fused model, PyTorch's FlopCounterMode, darknet's BFLOPs, most papers", 2},
    {"fused_bias", "2 MACs, and a bias for every batch norm", "the table in YOLOv5's README", 2, 2, 2},
    {"thop", "2 MACs, 8 per output of batch norm", "YOLOv5 on an unfused model: ultralytics-thop, doubled", 2, 0, 8},
    {"thop_old", "2 MACs, 2 per bias, 4 per output of batch norm, 2 per upsampled", "YOLOv5 with thop 0.0.31, doubled",
     2, 2, 4, 0, 2},
    {"ultralytics_thop", "MACs, 4 per output of batch norm", "ultralytics-thop itself", 1, 0, 4},
    {"thop_pypi", "MACs, 4 per output of batch norm, 1 per upsampled", "thop 0.1.1 itself", 1, 0, 4, 0, 1},
    {"fvcore", "MACs, 2 per output of batch norm, 1 per upsampled", "fvcore's FlopCountAnalysis", 1, 0, 2, 0, 1},
    {"arithmetic", "every addition, product, comparison and function once", "slimneck: Cost::flops()", 2, 1, 2, 1, 1,
     1},
};

/// The part of a step that a backward node is.
Cost PassCosts::*pass_of(const OpDef* op) {
  if (op == &ops::conv2d_bwd_x) return &PassCosts::input_gradient;
  if (op == &ops::conv2d_bwd_w || op == &ops::channel_sum) return &PassCosts::weight_gradient;
  return &PassCosts::other_backward;
}

/// put(pass, cost, name of the forward node) for every node of the forward and of the backward for `wrt`.
template <class Put>
void for_each_pass(const Graph& graph, std::span<const Value> wrt, const Put& put) {
  for (const NodeCost& node : graph.cost().nodes) put(&PassCosts::forward, node.cost, node.name);
  Graph backward = differentiate(graph, wrt);
  std::vector<Output> gradients;
  for (const Gradient& gradient : backward.gradients()) gradients.push_back({"", gradient.gradient});
  backward.set_outputs(std::move(gradients));
  for (const NodeCost& node : backward.cost().nodes) {
    if (node.node < graph.size()) continue;   // what the backward reads of the forward
    const std::string_view name = node.name;  // "<forward node>.bwd_x"
    put(pass_of(backward.node(node.node).op), node.cost, name.substr(0, name.rfind('.')));
  }
}

}  // namespace

index_t FlopConvention::count(const Cost& c) const noexcept {
  return mac * c.macs + bias_add * c.bias_adds + norm * c.norm_elements + activation * c.act_elements +
         upsample * c.upsample_elements + other * c.other_flops;
}

double FlopConvention::giga(const Cost& cost) const noexcept { return static_cast<double>(count(cost)) / 1e9; }

std::span<const FlopConvention> flop_conventions() noexcept { return conventions; }

const FlopConvention* find_flop_convention(std::string_view name) noexcept {
  const auto* at = std::find_if(std::begin(conventions), std::end(conventions),
                                [&](const FlopConvention& convention) { return convention.name == name; });
  return at == std::end(conventions) ? nullptr : at;
}

Cost PassCosts::step() const noexcept {
  Cost all = forward;
  return all += input_gradient, all += weight_gradient, all += other_backward;
}

PassCosts pass_costs(const Graph& graph, std::span<const Value> wrt) {
  PassCosts sum;
  for_each_pass(graph, wrt,
                [&](Cost PassCosts::*pass, const Cost& cost, std::string_view /*node*/) { sum.*pass += cost; });
  return sum;
}

ModelCost model_cost(const Model& model) {
  ModelCost result;
  result.layers.resize(model.layers.size());
  std::map<std::string_view, std::size_t> layer_of;  // by the name of a forward node
  for (std::size_t k = 0; k < model.layers.size(); ++k)
    for (int i = model.layers[k].first_node; i < model.layers[k].last_node; ++i)
      layer_of.emplace(model.graph.node(i).name, k);
  std::vector<Value> parameters;
  for (int i = 0; i < model.graph.size(); ++i)
    if (model.graph.node(i).role == Role::parameter) parameters.push_back({i, 0});

  for_each_pass(model.graph, parameters, [&](Cost PassCosts::*pass, const Cost& cost, std::string_view forward_node) {
    result.total.*pass += cost;
    if (const auto at = layer_of.find(forward_node); at != layer_of.end()) result.layers[at->second].*pass += cost;
  });
  return result;
}

}  // namespace slimneck
