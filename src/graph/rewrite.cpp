#include "graph/rewrite.hpp"

namespace slimneck::graph {

namespace {

std::size_t at(int i) { return static_cast<std::size_t>(i); }

}  // namespace

Rebuild::Rebuild(const Graph& old) : old_(old) {
  map_.resize(at(old.size()));
  for (int i = 0; i < old.size(); ++i) {
    const Node& n = old.node(i);
    map_[at(i)].resize(n.shapes.size());
    switch (n.role) {
      case Role::input: set({i, 0}, fresh_.input(n.name, n.shapes[0])); break;
      case Role::gradient: set({i, 0}, fresh_.gradient_input(n.name, n.shapes[0])); break;
      case Role::parameter: set({i, 0}, fresh_.parameter(n.name, n.dims, n.init)); break;
      case Role::state: set({i, 0}, fresh_.state(n.name, n.dims, n.init)); break;
      case Role::computed: break;
    }
  }
}

Value Rebuild::operator()(Value old) const { return old.valid() ? map_[at(old.node)][at(old.index)] : Value{}; }

void Rebuild::set(Value old, Value fresh) { map_[at(old.node)][at(old.index)] = fresh; }

bool Rebuild::has(int node) const { return old_.node(node).role == Role::computed && map_[at(node)][0].valid(); }

void Rebuild::copy(int node) {
  if (old_.node(node).role != Role::computed) return;
  std::vector<Value> inputs;
  for (const Value& v : old_.node(node).inputs) inputs.push_back((*this)(v));
  copy(node, std::move(inputs));
}

void Rebuild::copy(int node, std::vector<Value> inputs) {
  const Node& n = old_.node(node);
  const Value first = fresh_.add(*n.op, std::move(inputs), n.attributes, n.name);
  for (int k = 0; k < static_cast<int>(n.shapes.size()); ++k) set({node, k}, {first.node, k});
}

Graph Rebuild::finish() {
  for (const Output& o : old_.outputs()) fresh_.output(o.name, (*this)(o.value), o.kind);
  for (const Update& u : old_.updates()) fresh_.update((*this)(u.state), (*this)(u.value));
  for (const Gradient& g : old_.gradients()) fresh_.gradient((*this)(g.of), (*this)(g.gradient));
  for (const Gradient& g : old_.adjoints())
    if ((*this)(g.of).valid() && (*this)(g.gradient).valid()) fresh_.adjoint((*this)(g.of), (*this)(g.gradient));
  return std::move(fresh_);
}

Readers::Readers(const Graph& graph) {
  readers_.resize(at(graph.size()));
  for (int i = 0; i < graph.size(); ++i) readers_[at(i)].resize(graph.node(i).shapes.size());
  const auto read = [&](Value v, int by) {
    if (v.valid()) readers_[at(v.node)][at(v.index)].push_back(by);
  };
  for (int i = 0; i < graph.size(); ++i)
    for (const Value& v : graph.node(i).inputs) read(v, i);
  for (const Output& o : graph.outputs()) read(o.value, -1);
  for (const Update& u : graph.updates()) read(u.value, -1);
  for (const Gradient& g : graph.gradients()) read(g.gradient, -1);
}

}  // namespace slimneck::graph
