// A second order of a graph's nodes beside the one that it was given: of all nodes that could run next the one after
// which the least is kept.
#include <algorithm>
#include <set>

#include "graph/liveness.hpp"
#include "graph/memory_order.hpp"
#include "graph/rewrite.hpp"

namespace slimneck::graph {

namespace {

std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

class Greedy {
 public:
  Greedy(const Graph& g, const std::vector<char>& runs, const std::vector<char>& movement)
      : g_(g), runs_(runs), movement_(movement), waits_(at(g.size()), 0), readers_(at(g.size())), left_(at(g.size())) {
    for (int i = 0; i < g.size(); ++i) left_[at(i)].assign(g.node(i).shapes.size(), 0);
    for (int i = 0; i < g.size(); ++i) {
      if (!runs_[at(i)]) continue;
      for (const Value& v : g.node(i).inputs) {
        if (!v.valid()) continue;
        ++left_[at(v.node)][at(v.index)];
        if (!moves(v.node)) continue;
        ++waits_[at(i)];
        readers_[at(v.node)].push_back(i);
      }
    }
  }

  /// The nodes [first, last) that move, in the new order.
  void schedule(int first, int last, std::vector<int>& order) {
    std::set<int> ready;
    for (int i = first; i < last; ++i)
      if (moves(i) && waits_[at(i)] == 0) ready.insert(i);
    while (!ready.empty()) {
      const int next =
          *std::min_element(ready.begin(), ready.end(), [&](int a, int b) { return growth(a) < growth(b); });
      ready.erase(next);
      order.push_back(next);
      finish(next);
      for (const int r : readers_[at(next)])
        if (--waits_[at(r)] == 0 && r < last) ready.insert(r);
    }
  }

 private:
  [[nodiscard]] bool moves(int i) const { return runs_[at(i)] && g_.node(i).role == Role::computed; }

  /// Elements that are kept after the node beyond those before it. What is read for the last time goes.
  [[nodiscard]] index_t growth(int node) const {
    index_t sum = 0;
    const Node& n = g_.node(node);
    if (movement_[at(node)]) return 0;
    for (std::size_t k = 0; k < n.shapes.size(); ++k)
      if (left_[at(node)][k] > 0) sum += n.shapes[k].numel();
    for (const Value& v : n.inputs)
      if (v.valid() && left_[at(v.node)][at(v.index)] == 1) sum -= released(v);
    return sum;
  }

  /// Elements that go with the last reader of v.
  [[nodiscard]] index_t released(Value v) const {
    if (g_.node(v).role != Role::computed) return 0;
    if (!movement_[at(v.node)]) return g_.shape(v).numel();
    index_t sum = 0;
    for (const Value& part : g_.node(v).inputs)
      if (part.valid() && left_[at(part.node)][at(part.index)] == 1) sum += released(part);
    return sum;
  }

  /// A movement holds its inputs until nobody reads its output any more.
  void finish(int node) {
    if (movement_[at(node)]) return;
    for (const Value& v : g_.node(node).inputs)
      if (v.valid()) release(v);
  }
  void release(Value v) {
    if (--left_[at(v.node)][at(v.index)] > 0 || g_.node(v).role != Role::computed || !movement_[at(v.node)]) return;
    for (const Value& part : g_.node(v).inputs)
      if (part.valid()) release(part);
  }

  const Graph& g_;
  const std::vector<char>&runs_, &movement_;
  std::vector<int> waits_;                 ///< inputs of each node that have not run
  std::vector<std::vector<int>> readers_;  ///< of each node's outputs, once for each use
  std::vector<std::vector<int>> left_;     ///< uses of each value that are still to come
};

Graph reordered(const Graph& g, const std::vector<int>& order) {
  Rebuild fresh(g);
  for (const int i : order) fresh.copy(i);
  return fresh.finish();
}

/// Constants of inference lie outside of the arena.
index_t peak(const Graph& g, Mode mode) {
  std::vector<char> runs = running(g);
  const std::vector<char> constant = mode == Mode::infer ? constants(g) : std::vector<char>(runs.size(), 0);
  for (std::size_t i = 0; i < runs.size(); ++i) runs[i] = runs[i] && !constant[i];
  return liveness(g, runs, movements(g)).peak();
}

}  // namespace

void choose_order(Program& program, Mode mode) {
  const Graph& g = program.graph;
  const int forward = forward_nodes(g);
  const std::vector<char> runs = running(g), movement = movements(g);
  Greedy greedy(g, runs, movement);
  std::vector<int> order;
  greedy.schedule(0, forward, order);
  greedy.schedule(forward, g.size(), order);
  Graph other = reordered(g, order);
  // A little less is not worth an order in which a node no longer follows the one that it reads.
  constexpr double clearly = 0.95;
  if (static_cast<double>(peak(other, mode)) > clearly * static_cast<double>(peak(g, mode))) return;
  program.graph = std::move(other);
  program.order = "least kept next";
}

}  // namespace slimneck::graph
