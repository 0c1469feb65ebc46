// Keep or compute again: what the backward reads of the forward is most of the memory of a training plan.
#include <algorithm>
#include <map>
#include <set>

#include "graph/liveness.hpp"
#include "graph/memory_order.hpp"
#include "graph/rewrite.hpp"

namespace slimneck::graph {

namespace {

std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

using Chosen = std::set<std::pair<int, int>>;

Recipe recipe_of(const Graph& g, Value v) {
  const Node& n = g.node(v);
  return n.role == Role::computed && n.op->recompute ? n.op->recompute(n, v.node, v.index) : Recipe{};
}

/// The graph in which the backward reads new nodes in the place of the chosen values, and of concats, slices and
/// shuffles of them.
class Recompute {
 public:
  Recompute(const Graph& old, const Chosen& chosen, int forward)
      : old_(old), chosen_(chosen), forward_(forward), fresh_(old) {}

  Graph run() {
    for (int i = 0; i < old_.size(); ++i) {
      if (old_.node(i).role != Role::computed) continue;
      if (i < forward_)
        fresh_.copy(i);
      else
        copy_backward(i);
    }
    return fresh_.finish();
  }

 private:
  void copy_backward(int node) {
    std::vector<Value> inputs;
    for (const Value& v : old_.node(node).inputs) inputs.push_back(again(v));
    fresh_.copy(node, std::move(inputs));
  }

  /// Is the value chosen, or made of such?
  bool lost(Value v) {
    if (!v.valid() || v.node >= forward_ || old_.node(v).role != Role::computed) return false;
    if (chosen_.count({v.node, v.index})) return true;
    const Node& n = old_.node(v);
    return n.op->kind != OpKind::compute &&
           std::any_of(n.inputs.begin(), n.inputs.end(), [&](Value x) { return lost(x); });
  }

  /// A value of the old graph as the backward reads it.
  Value again(Value v) {
    if (!lost(v)) return fresh_(v);
    const auto [found, added] = again_.try_emplace({v.node, v.index});
    if (!added) return found->second;
    const Node& n = old_.node(v);
    const Recipe recipe = n.op->kind == OpKind::compute ? recipe_of(old_, v) : Recipe{n.op, n.inputs, n.attributes};
    std::vector<Value> inputs;
    for (const Value& x : recipe.inputs) inputs.push_back(again(x));
    return again_[{v.node, v.index}] = fresh_.add(*recipe.op, std::move(inputs), recipe.attributes, n.name + ".again");
  }

  const Graph& old_;
  const Chosen& chosen_;
  int forward_;
  Rebuild fresh_;
  std::map<std::pair<int, int>, Value> again_;
};

/// Who reads a value, looks and concats of it included, on both sides of a node; -1: nobody.
struct Reading {
  int last_before = -1, first_after = -1;
};

Reading reading_of(const Graph& g, const Readers& readers, Value v, int node) {
  Reading r;
  for (const int reader : readers.of(v)) {
    if (reader < 0) continue;
    if (g.node(reader).op->kind != OpKind::compute) {
      const Reading further = reading_of(g, readers, {reader, 0}, node);
      r.last_before = std::max(r.last_before, further.last_before);
      if (further.first_after >= 0 && (r.first_after < 0 || further.first_after < r.first_after))
        r.first_after = further.first_after;
    }
    if (reader <= node)
      r.last_before = std::max(r.last_before, reader);
    else if (g.node(reader).op->kind == OpKind::compute && (r.first_after < 0 || reader < r.first_after))
      r.first_after = reader;
  }
  return r;
}

/// The largest value that is kept at this node only for the backward to come, and can be computed again.
Value largest(const Graph& g, const Liveness& live, int node, int forward, const Chosen& chosen) {
  const Readers readers(g);
  Value best;
  index_t elements = 0;
  for (const Life& life : live.lives) {
    const Value v = life.value;
    if (life.first >= node || life.last <= node || v.node >= forward || life.elements <= elements) continue;
    if (chosen.count({v.node, v.index}) || !recipe_of(g, v).op) continue;
    const Reading r = reading_of(g, readers, v, node);
    if (r.last_before >= std::min(node, forward) || r.first_after < forward) continue;
    best = v;
    elements = life.elements;
  }
  return best;
}

/// The parts of a concat go together: a new one and a kept one would have to be copied beside each other.
void choose_with_neighbours(const Graph& g, const Readers& readers, Value v, Chosen& chosen) {
  if (!recipe_of(g, v).op || !chosen.insert({v.node, v.index}).second) return;
  for (const int reader : readers.of(v))
    if (reader >= 0 && g.node(reader).op->kind == OpKind::concat)
      for (const Value& part : g.node(reader).inputs) choose_with_neighbours(g, readers, part, chosen);
}

}  // namespace

void choose_recomputed(Program& program, std::size_t most) {
  const auto lives = [&] { return liveness(program.graph, running(program.graph), movements(program.graph)); };
  Liveness live = lives();
  Chosen chosen;
  if (at(live.peak()) > most) {
    const Graph given = Recompute(program.graph, chosen, forward_nodes(program.graph)).run();  // sources stand first
    const Readers readers(given);
    const int forward = forward_nodes(given);
    for (program.graph = given; at((live = lives()).peak()) > most;) {
      const auto node = std::max_element(live.elements.begin(), live.elements.end()) - live.elements.begin();
      const Value v = largest(program.graph, live, static_cast<int>(node), forward, chosen);
      if (!v.valid()) break;
      choose_with_neighbours(given, readers, v, chosen);
      program.graph = Recompute(given, chosen, forward).run();
    }
    for (const auto& [node, index] : chosen)
      program.recomputed.emplace_back(given.node(node).name, at(given.node(node).shapes[at(index)].numel()));
  }
  const int forward = forward_nodes(program.graph);
  for (const Life& life : live.lives)
    if (life.value.node < forward && life.last >= forward) program.kept += at(life.elements);
}

}  // namespace slimneck::graph
