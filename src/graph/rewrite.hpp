// Rewrites: graph in, equivalent graph out. The list is src/layers/rewrites/rewrites.inc.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "graph/provided.hpp"
#include "slimneck/plan.hpp"

namespace slimneck::graph {

struct Rewrite {
  std::string_view name;
  bool always = false;  ///< also for reference plans: what the mode means rather than what makes it fast
  bool late = false;    ///< after differentiation
  /// Batch norms are inside something else afterwards: not where the parts of a batch share their statistics.
  bool hides_statistics = false;
  /// In inference CUDA has one kernel for each node that stood there before, and none for what becomes of them.
  bool cuda_infers_without = false;
  Graph (*apply)(const Graph&, Mode) = nullptr;
  /// Instead of apply: only for plans of one of so many parts of a batch that share their statistics.
  Graph (*share)(const Graph&, index_t parts) = nullptr;
};

/// Builds the rewritten graph node by node. Sources are copied first, so a pattern may be emitted where its first node
/// stood.
class Rebuild {
 public:
  explicit Rebuild(const Graph& old);

  /// The new value of an old one, which must have been copied or set.
  [[nodiscard]] Value operator()(Value old) const;
  void set(Value old, Value fresh);
  /// Has this computed node been copied or replaced?
  [[nodiscard]] bool has(int node) const;
  void copy(int node);
  /// The same with other inputs, values of the new graph.
  void copy(int node, std::vector<Value> inputs);
  Value add(const OpDef& op, std::vector<Value> inputs, const Attributes& attributes, const std::string& name) {
    return fresh_.add(op, std::move(inputs), attributes, name);
  }
  void update(Value state, Value value) { fresh_.update(state, value); }
  /// Outputs, updates and gradients of the old graph, now that every node has been seen.
  Graph finish();

 private:
  const Graph& old_;
  Graph fresh_;
  std::vector<std::vector<Value>> map_;
};

/// Who reads each value of a graph; outputs, updates and gradients count as readers with node -1.
class Readers {
 public:
  explicit Readers(const Graph& graph);
  [[nodiscard]] const std::vector<int>& of(Value value) const {
    return readers_[static_cast<std::size_t>(value.node)][static_cast<std::size_t>(value.index)];
  }
  /// The node that alone reads the value; -1 when there is none or more than one reader.
  [[nodiscard]] int only(Value value) const { return of(value).size() == 1 ? of(value)[0] : -1; }

 private:
  std::vector<std::vector<std::vector<int>>> readers_;
};

}  // namespace slimneck::graph
