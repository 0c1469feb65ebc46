#include "graph/liveness.hpp"

#include <algorithm>

namespace slimneck::graph {

namespace {

std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

/// A number for every output of every node.
template <class T>
class PerValue {
 public:
  PerValue(const Graph& g, T number) {
    for (const Node& n : g.nodes()) numbers_.emplace_back(n.shapes.size(), number);
  }
  T& operator[](Value v) { return numbers_[at(v.node)][at(v.index)]; }
  std::vector<T>& of(int node) { return numbers_[at(node)]; }

 private:
  std::vector<std::vector<T>> numbers_;
};

class Lives {
 public:
  Lives(const Graph& g, const std::vector<char>& running, const std::vector<char>& movement)
      : g_(g),
        running_(running),
        movement_(movement),
        last_(g, -1),
        birth_(g, -1),
        whole_(g, -1),
        seen_(g, 0),
        leaves_(g, 0) {}

  Liveness run() {
    find_leaving();
    find_last_readers();
    for (int i = 0; i < g_.size(); ++i)
      if (runs(i)) list(i);
    end_where_overwritten();
    Liveness result{std::move(lives_), std::vector<index_t>(at(g_.size()) + 1, 0)};
    for (const Life& life : result.lives) {
      result.elements[at(life.first)] += life.elements;
      result.elements[at(life.last) + 1] -= life.elements;
    }
    for (std::size_t i = 1; i < result.elements.size(); ++i) result.elements[i] += result.elements[i - 1];
    result.elements.pop_back();
    return result;
  }

 private:
  [[nodiscard]] bool runs(int i) const { return running_[at(i)] && g_.node(i).role == Role::computed; }
  [[nodiscard]] bool is_gather(int i) const { return movement_[at(i)] && g_.node(i).op->kind == OpKind::gather; }

  void find_leaving() {
    for (const Output& o : g_.outputs()) leaves_[o.value] = 1;
    for (const Gradient& d : g_.gradients())
      if (g_.node(d.of).role != Role::parameter) leaves_[d.gradient] = 1;
  }

  /// From the end: a movement keeps what it reads as long as it is kept itself.
  void find_last_readers() {
    for (int i = 0; i < g_.size(); ++i) std::fill(last_.of(i).begin(), last_.of(i).end(), i);
    for (int i = g_.size() - 1; i >= 0; --i) {
      if (!runs(i)) continue;
      const int until = movement_[at(i)] ? *std::max_element(last_.of(i).begin(), last_.of(i).end()) : i;
      for (const Value& v : g_.node(i).inputs) {
        if (!v.valid()) continue;
        last_[v] = std::max(last_[v], until);
        if (is_gather(i))
          seen_[v] += g_.node(i).shapes[0].numel();
        else
          whole_[v] = std::max(whole_[v], until);
      }
    }
  }

  /// Looks that see all of a value, each element once, are the values instead of it, from its birth on and at least as
  /// long as somebody reads the whole.
  [[nodiscard]] bool in_parts(Value v) { return !leaves_[v] && seen_[v] == g_.shape(v).numel(); }

  void list(int node) {
    const Node& n = g_.node(node);
    for (int k = 0; k < static_cast<int>(n.shapes.size()); ++k) {
      const Value v{node, k};
      if (!movement_[at(node)]) {
        birth_[v] = node;
      } else if (is_gather(node) && birth_[n.inputs[0]] >= 0 && in_parts(n.inputs[0])) {
        birth_[v] = birth_[n.inputs[0]];
        whole_[v] = std::max(whole_[v], whole_[n.inputs[0]]);
        last_[v] = std::max(last_[v], whole_[v]);
      }
      if (birth_[v] < 0 || leaves_[v] || in_parts(v)) continue;
      lives_.push_back({v, birth_[v], last_[v], n.shapes[at(k)].numel()});
    }
  }

  void end_where_overwritten() {
    PerValue<Life*> life_of(g_, nullptr);
    for (Life& life : lives_) life_of[life.value] = &life;
    for (int i = 0; i < g_.size(); ++i) {
      if (!runs(i) || !life_of[{i, 0}]) continue;
      const Node& n = g_.node(i);
      for (const std::size_t k : n.op->in_place) {
        Life* life = k < n.inputs.size() && n.inputs[k].valid() ? life_of[n.inputs[k]] : nullptr;
        if (!life || life->last != i || life->first == i || life->elements != n.shapes[0].numel()) continue;
        --life->last;
        break;
      }
    }
  }

  const Graph& g_;
  const std::vector<char>&running_, &movement_;
  PerValue<int> last_, birth_;  ///< birth: -1 for what is no value
  PerValue<int> whole_;         ///< the last that reads all of it, not a look
  PerValue<index_t> seen_;      ///< elements of all looks at it
  PerValue<char> leaves_;
  std::vector<Life> lives_;
};

}  // namespace

index_t Liveness::peak() const { return elements.empty() ? 0 : *std::max_element(elements.begin(), elements.end()); }

std::vector<char> constants(const Graph& g) {
  std::vector<char> flags(at(g.size()), 0);
  for (int i = 0; i < g.size(); ++i) {
    const Node& n = g.node(i);
    flags[at(i)] = n.role == Role::computed && !n.inputs.empty() &&
                   std::all_of(n.inputs.begin(), n.inputs.end(), [&](const Value& v) {
                     if (!v.valid()) return true;
                     const Role role = g.node(v).role;
                     return role == Role::parameter || role == Role::state || flags[at(v.node)];
                   });
  }
  return flags;
}

namespace {

/// What a forward has to compute.
std::vector<Value> results(const Graph& g) {
  std::vector<Value> values;
  for (const Output& o : g.outputs()) values.push_back(o.value);
  for (const Update& u : g.updates()) values.push_back(u.value);
  return values;
}

}  // namespace

int forward_nodes(const Graph& g) {
  const std::vector<char> need = g.needed(results(g));
  return static_cast<int>(need.rend() - std::find(need.rbegin(), need.rend(), 1));
}

std::vector<char> running(const Graph& g) {
  std::vector<Value> roots = results(g);
  for (const Gradient& d : g.gradients()) roots.push_back(d.gradient);
  return g.needed(roots);
}

std::vector<char> movements(const Graph& g) {
  std::vector<char> flags;
  for (const Node& n : g.nodes())
    flags.push_back(n.role == Role::computed && (n.op->kind == OpKind::concat || n.op->kind == OpKind::gather));
  return flags;
}

Liveness liveness(const Graph& graph, const std::vector<char>& running, const std::vector<char>& movement) {
  return Lives(graph, running, movement).run();
}

}  // namespace slimneck::graph
