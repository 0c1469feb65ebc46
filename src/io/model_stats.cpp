#include "slimneck/model.hpp"

namespace slimneck {

ModelStats model_stats(const Model& model) {
  const Graph& graph = model.graph;
  const GraphCost cost = graph.cost();
  ModelStats stats;
  stats.parameters = cost.parameters;
  stats.dead_parameters = cost.dead_parameters;
  stats.dead = cost.dead;
  stats.macs = cost.total.macs;
  stats.cost = cost.total;

  std::vector<index_t> node_macs(static_cast<std::size_t>(graph.size()), 0);
  for (const NodeCost& node : cost.nodes) node_macs[static_cast<std::size_t>(node.node)] = node.cost.macs;
  std::vector<Value> roots;
  for (const Output& output : graph.outputs()) roots.push_back(output.value);
  const std::vector<char> needed = graph.needed(roots);
  for (const ModelLayer& layer : model.layers) {
    ModelStats::Layer item;
    for (int i = layer.first_node; i < layer.last_node; ++i) {
      item.macs += node_macs[static_cast<std::size_t>(i)];
      const Node& node = graph.node(i);
      if (node.role != Role::parameter) continue;
      item.parameters += node.shapes[0].numel();
      if (!needed[static_cast<std::size_t>(i)]) item.dead_parameters += node.shapes[0].numel();
    }
    const bool head = !model.strides.empty() && &layer == &model.layers.back();
    for (const Value& value : layer.outputs) {
      const Shape& s = graph.shape(value);
      const index_t no = model.classes + 5;
      if (head)
        item.shapes.push_back({s.n, s.c / no, s.h, s.w, no});
      else
        item.shapes.push_back({s.n, s.c, s.h, s.w});
    }
    stats.layers.push_back(std::move(item));
  }
  return stats;
}

}  // namespace slimneck
