// Reverse-mode differentiation as graph construction: each op's rule appends ordinary nodes.
#include "graph/provided.hpp"
#include "slimneck/graph.hpp"

namespace slimneck {

namespace {

/// Gradients that have arrived for each output of each node, summed when they are first asked for.
class Accumulator {
 public:
  explicit Accumulator(const Graph& graph) {
    parts_.resize(static_cast<std::size_t>(graph.size()));
    for (int i = 0; i < graph.size(); ++i) parts_[static_cast<std::size_t>(i)].resize(graph.node(i).shapes.size());
  }

  void put(Value of, Value gradient) { at(of).push_back(gradient); }

  /// None when nothing arrived. A fan-out is a sum, added in the order of arrival.
  Value sum(Graph& result, Value of) {
    std::vector<Value>& parts = at(of);
    while (parts.size() > 1) {
      const Value both = result.add(graph::sum_op(), {parts[0], parts[1]}, {}, result.node(of).name + ".grad_sum");
      parts.erase(parts.begin(), parts.begin() + 2);
      parts.insert(parts.begin(), both);
    }
    return parts.empty() ? Value{} : parts[0];
  }

  std::vector<Value>& at(Value of) {
    return parts_[static_cast<std::size_t>(of.node)][static_cast<std::size_t>(of.index)];
  }

 private:
  std::vector<std::vector<std::vector<Value>>> parts_;
};

/// Nodes from which a gradient must flow back: those that depend on one of `wrt`.
std::vector<char> depends_on(const Graph& graph, std::span<const Value> wrt) {
  std::vector<char> flags(static_cast<std::size_t>(graph.size()), 0);
  for (const Value& v : wrt) {
    static_cast<void>(graph.shape(v));  // throws for a value that there is not
    flags[static_cast<std::size_t>(v.node)] = 1;
  }
  for (int i = 0; i < graph.size(); ++i)
    for (const Value& v : graph.node(i).inputs)
      if (v.valid() && flags[static_cast<std::size_t>(v.node)]) flags[static_cast<std::size_t>(i)] = 1;
  return flags;
}

}  // namespace

bool GradientContext::wants(std::size_t i) const {
  const Value v = input(i);
  return v.valid() && wanted_[static_cast<std::size_t>(v.node)] != 0;
}

Value GradientContext::emit(const OpDef& op, std::vector<Value> inputs, const Attributes& attributes,
                            std::string_view suffix) {
  return graph_.add(op, std::move(inputs), attributes, graph_.node(node_).name + "." + std::string(suffix));
}

void GradientContext::contribute(std::size_t i, Value value) {
  if (wants(i)) contributions_[i].push_back(value);
}

Graph differentiate(const Graph& graph, std::span<const Value> wrt) {
  Graph result = graph;
  const std::vector<char> wanted = depends_on(graph, wrt);
  Accumulator gradients(graph);
  for (const Output& output : graph.outputs())
    if (output.kind == OutputKind::result)
      gradients.put(output.value, result.gradient_input("grad." + output.name, graph.shape(output.value)));

  for (int i = graph.size() - 1; i >= 0; --i) {
    const Node& node = graph.node(i);
    if (node.role != Role::computed || !wanted[static_cast<std::size_t>(i)] || !node.op->gradient) continue;
    std::vector<Value> arrived;
    bool any = false;
    for (int k = 0; k < static_cast<int>(node.shapes.size()); ++k) {
      const Value g = gradients.sum(result, {i, k});
      if (g.valid()) result.adjoint({i, k}, g);
      arrived.push_back(g);
      any = any || g.valid();
    }
    if (!any) continue;
    std::vector<std::vector<Value>> contributions(node.inputs.size());
    GradientContext context(result, i, arrived, wanted, contributions);
    node.op->gradient(context);
    for (std::size_t k = 0; k < node.inputs.size(); ++k)
      for (const Value& g : contributions[k]) gradients.put(node.inputs[k], g);
  }

  for (const Value& v : wrt) {
    if (result.node(v).role == Role::parameter) {
      for (const Value& g : gradients.at(v)) result.gradient(v, g);  // summed by Parameters
    } else if (const Value g = gradients.sum(result, v); g.valid()) {
      result.gradient(v, g);
    }
  }
  return result;
}

}  // namespace slimneck
