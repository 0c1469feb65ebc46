// Graph: ops and their wiring. Logical NCHW, append-only, shapes checked as nodes are added.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "slimneck/op.hpp"

namespace slimneck {

/// Output `index` of node `node`. A default Value is "none": an operand that is left out.
struct Value {
  int node = -1;
  int index = 0;

  [[nodiscard]] bool valid() const noexcept { return node >= 0; }
  friend bool operator==(const Value&, const Value&) = default;
};

enum class Role : std::uint8_t {
  computed,
  input,      ///< given by the caller of a plan before each forward
  gradient,   ///< upstream gradient of an output, given before each backward
  parameter,  ///< learned
  state       ///< kept but not learned: running statistics, anchors
};

/// How a parameter begins: uniform(-bound, bound) + offset[i % offset.size()].
struct Init {
  double bound = 0;
  std::vector<double> offset;
};

struct Node {
  const OpDef* op = nullptr;
  Role role = Role::computed;
  std::string name;
  Attributes attributes;
  std::vector<Value> inputs;
  std::vector<Shape> shapes;  ///< of the outputs
  std::vector<index_t> dims;  ///< parameters and state: the shape that PyTorch gives it
  Init init;
};

/// A node that computes an output of another node again, from operands and other outputs of that; see
/// OpDef::recompute. Its output 0 is that value.
struct Recipe {
  const OpDef* op = nullptr;
  std::vector<Value> inputs;
  Attributes attributes;
};

enum class OutputKind : std::uint8_t {
  result,     ///< computed in both modes, differentiated in training
  inference,  ///< computed in inference only (decoded boxes)
  probe       ///< computed in both modes, never differentiated (a look inside)
};

struct Output {
  std::string name;
  Value value;
  OutputKind kind = OutputKind::result;
};

/// `gradient` is a derivative with respect to `of`. A parameter that is used twice has two.
struct Gradient {
  Value of, gradient;
};

/// After a forward in training, `state` takes the numbers of `value`.
struct Update {
  Value state, value;
};

struct NodeCost {
  int node = -1;
  std::string name;
  std::string_view op;
  Cost cost;
  index_t parameters = 0;  ///< numbers in the parameters that this node reads and no earlier node read
};

struct GraphCost {
  std::vector<NodeCost> nodes;  ///< what the outputs need, in order
  Cost total;
  index_t parameters = 0;         ///< all of them
  index_t dead_parameters = 0;    ///< of which no output depends on
  std::vector<std::string> dead;  ///< their names
};

class SLIMNECK_EXPORT Graph {
 public:
  Value input(std::string name, const Shape& shape);
  /// The gradient that will come from outside for an output of this shape.
  Value gradient_input(std::string name, const Shape& shape);
  /// dims as PyTorch writes them: rank 1 (a number per channel), rank 4 (OIHW), or any other up to 4.
  Value parameter(std::string name, std::vector<index_t> dims, Init init = {});
  Value state(std::string name, std::vector<index_t> dims, Init init = {});

  /// Adds a node and returns its first output. Throws ShapeError naming the node, what came and what was wanted.
  Value add(const OpDef& op, std::vector<Value> inputs, const Attributes& attributes = {}, std::string name = {});
  void output(std::string name, Value value, OutputKind kind = OutputKind::result);
  /// After a forward in training `state`, a state, takes the numbers of `value`.
  void update(Value state, Value value);
  void gradient(Value of, Value gradient) { gradients_.push_back({checked(of), checked(gradient)}); }
  void adjoint(Value of, Value gradient) { adjoints_.push_back({checked(of), checked(gradient)}); }

  [[nodiscard]] int size() const noexcept { return static_cast<int>(nodes_.size()); }
  /// These throw ShapeError for a node or an output that the graph does not have.
  [[nodiscard]] const Node& node(int index) const;
  [[nodiscard]] const Node& node(Value value) const { return node(value.node); }
  [[nodiscard]] const Shape& shape(Value value) const;
  [[nodiscard]] const std::vector<Node>& nodes() const noexcept { return nodes_; }
  [[nodiscard]] const std::vector<Output>& outputs() const noexcept { return outputs_; }
  [[nodiscard]] const std::vector<Update>& updates() const noexcept { return updates_; }
  [[nodiscard]] const std::vector<Gradient>& gradients() const noexcept { return gradients_; }
  /// After differentiate: the gradient of every computed value that has one. Plans give both the same layout.
  [[nodiscard]] const std::vector<Gradient>& adjoints() const noexcept { return adjoints_; }

  /// Replaces the outputs (for example to look inside a network).
  void set_outputs(std::vector<Output> outputs);

  /// The same graph with those of its outputs that keep() is true of.
  [[nodiscard]] Graph with_outputs(const std::function<bool(const Output&)>& keep) const;

  /// The same graph for other input shapes, one per input node in order; everything is inferred again.
  [[nodiscard]] Graph with_inputs(std::span<const Shape> shapes) const;

  /// Flags of the nodes that these values need, sources included.
  [[nodiscard]] std::vector<char> needed(std::span<const Value> values) const;

  [[nodiscard]] GraphCost cost() const;

 private:
  [[nodiscard]] Value checked(Value value) const {
    static_cast<void>(shape(value));
    return value;
  }
  Value source(Role role, std::string name, const Shape& shape, std::vector<index_t> dims, Init init);

  std::vector<Node> nodes_;
  std::vector<Output> outputs_;
  std::vector<Update> updates_;
  std::vector<Gradient> gradients_;
  std::vector<Gradient> adjoints_;
};

/// What an op's gradient rule sees: its node, the gradients of its outputs, and which inputs want one.
class SLIMNECK_EXPORT GradientContext {
 public:
  GradientContext(Graph& graph, int node, std::span<const Value> output_gradients, std::span<const char> wanted,
                  std::vector<std::vector<Value>>& contributions)
      : graph_(graph),
        node_(node),
        output_gradients_(output_gradients),
        wanted_(wanted),
        contributions_(contributions) {}

  [[nodiscard]] const Attributes& attributes() const { return graph_.node(node_).attributes; }
  [[nodiscard]] std::size_t inputs() const { return graph_.node(node_).inputs.size(); }
  [[nodiscard]] Value input(std::size_t i) const { return graph_.node(node_).inputs.at(i); }
  [[nodiscard]] Value output(int i = 0) const { return {node_, i}; }
  [[nodiscard]] Shape shape(Value value) const { return graph_.shape(value); }
  /// Gradient of output i; none when no output of the graph depends on it.
  [[nodiscard]] Value gradient(std::size_t i = 0) const { return output_gradients_[i]; }
  [[nodiscard]] bool wants(std::size_t i) const;
  /// Appends a node named after this one.
  Value emit(const OpDef& op, std::vector<Value> inputs, const Attributes& attributes = {},
             std::string_view suffix = "bwd");
  /// `value` is (a part of) the gradient of input i.
  void contribute(std::size_t i, Value value);

 private:
  Graph& graph_;
  int node_;
  std::span<const Value> output_gradients_;
  std::span<const char> wanted_;
  std::vector<std::vector<Value>>& contributions_;
};

/// Appends the backward: an input of role `gradient` for every result, then the nodes that carry it back to `wrt`
/// (parameters and inputs). Parameters that no result depends on get none.
SLIMNECK_EXPORT Graph differentiate(const Graph& graph, std::span<const Value> wrt);

}  // namespace slimneck
