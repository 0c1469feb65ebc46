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
  int node = -1;  ///< index in Graph::nodes(); -1: no value
  int index = 0;  ///< which output of the node

  /// Does it name a value?
  [[nodiscard]] bool valid() const noexcept { return node >= 0; }
  friend bool operator==(const Value&, const Value&) = default;  ///< the same output of the same node
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
  double bound = 0;            ///< numbers are drawn from -bound..bound
  std::vector<double> offset;  ///< added to them: one for all, or one each; may be empty
};

/// One node of a graph: an op with its operands, or a source.
struct Node {
  const OpDef* op = nullptr;   ///< what it computes; of sources an op named source
  Role role = Role::computed;  ///< what kind of node
  std::string name;            ///< unique among inputs and among parameters; others are for people
  Attributes attributes;       ///< complete: defaults filled in
  std::vector<Value> inputs;   ///< invalid where an operand is left out
  std::vector<Shape> shapes;   ///< of the outputs
  std::vector<index_t> dims;   ///< parameters and state: the shape that PyTorch gives it
  Init init;                   ///< first values of parameters and state
};

/// A node that computes an output of another node again, from operands and other outputs of that; see
/// OpDef::recompute. Its output 0 is that value.
struct Recipe {
  const OpDef* op = nullptr;  ///< null: there is none
  std::vector<Value> inputs;  ///< of the same graph
  Attributes attributes;      ///< of the new node
};

enum class OutputKind : std::uint8_t {
  result,     ///< computed in both modes, differentiated in training
  inference,  ///< computed in inference only (decoded boxes)
  probe       ///< computed in both modes, never differentiated (a look inside)
};

/// A value that a plan gives out.
struct Output {
  std::string name;                      ///< by which plans are asked for it
  Value value;                           ///< what it shows
  OutputKind kind = OutputKind::result;  ///< in which mode
};

/// `gradient` is a derivative with respect to `of`. A parameter that is used twice has two.
struct Gradient {
  Value of, gradient;  ///< the value, and the value that is its derivative
};

/// After a forward in training, `state` takes the numbers of `value`.
struct Update {
  Value state, value;  ///< a state, and a value of its shape
};

/// The work of one node.
struct NodeCost {
  int node = -1;           ///< its index
  std::string name;        ///< of the node
  std::string_view op;     ///< name of its op
  Cost cost;               ///< of one run
  index_t parameters = 0;  ///< numbers in the parameters that this node reads and no earlier node read
};

/// The work of a graph for the shapes that it was built for.
struct GraphCost {
  std::vector<NodeCost> nodes;    ///< what the outputs need, in order
  Cost total;                     ///< sum over the nodes
  index_t parameters = 0;         ///< all of them
  index_t dead_parameters = 0;    ///< of which no output depends on
  std::vector<std::string> dead;  ///< their names
};

/// Ops and their wiring, logical NCHW, append-only; shapes are checked as nodes are added.
class SLIMNECK_EXPORT Graph {
 public:
  /// A picture or map that comes from outside. Throws ShapeError for a second one of this name.
  Value input(std::string name, const Shape& shape);
  /// The gradient that will come from outside for an output of this shape.
  Value gradient_input(std::string name, const Shape& shape);
  /// dims as PyTorch writes them: rank 1 (a number per channel), rank 4 (OIHW), or any other up to 4.
  Value parameter(std::string name, std::vector<index_t> dims, Init init = {});
  /// As parameter, but not learned: running statistics, anchors.
  Value state(std::string name, std::vector<index_t> dims, Init init = {});

  /// Adds a node and returns its first output. Throws ShapeError naming the node, what came and what was wanted.
  Value add(const OpDef& op, std::vector<Value> inputs, const Attributes& attributes = {}, std::string name = {});
  /// Gives `value` out under a name. Throws ShapeError for a second output of this name.
  void output(std::string name, Value value, OutputKind kind = OutputKind::result);
  /// After a forward in training `state`, a state, takes the numbers of `value`.
  void update(Value state, Value value);
  /// Records that `gradient` is (a part of) the derivative with respect to `of`; differentiate calls it.
  void gradient(Value of, Value gradient) { gradients_.push_back({checked(of), checked(gradient)}); }
  /// Records the gradient of a computed value; differentiate calls it.
  void adjoint(Value of, Value gradient) { adjoints_.push_back({checked(of), checked(gradient)}); }

  /// Number of nodes.
  [[nodiscard]] int size() const noexcept { return static_cast<int>(nodes_.size()); }
  /// These throw ShapeError for a node or an output that the graph does not have.
  [[nodiscard]] const Node& node(int index) const;
  /// The node that computes it.
  [[nodiscard]] const Node& node(Value value) const { return node(value.node); }
  /// Logical shape.
  [[nodiscard]] const Shape& shape(Value value) const;
  /// In the order in which they were added: operands come first.
  [[nodiscard]] const std::vector<Node>& nodes() const noexcept { return nodes_; }
  /// In the order in which they were added.
  [[nodiscard]] const std::vector<Output>& outputs() const noexcept { return outputs_; }
  /// Of states, after a forward in training.
  [[nodiscard]] const std::vector<Update>& updates() const noexcept { return updates_; }
  /// After differentiate: of what it was asked for.
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

  /// The work of what the outputs need; what they do not need costs nothing, and its parameters are dead.
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
  /// Made by differentiate for each node.
  GradientContext(Graph& graph, int node, std::span<const Value> output_gradients, std::span<const char> wanted,
                  std::vector<std::vector<Value>>& contributions)
      : graph_(graph),
        node_(node),
        output_gradients_(output_gradients),
        wanted_(wanted),
        contributions_(contributions) {}

  /// Of the node.
  [[nodiscard]] const Attributes& attributes() const { return graph_.node(node_).attributes; }
  /// Number of operands.
  [[nodiscard]] std::size_t inputs() const { return graph_.node(node_).inputs.size(); }
  /// Operand i of the node.
  [[nodiscard]] Value input(std::size_t i) const { return graph_.node(node_).inputs.at(i); }
  /// Output i of the node.
  [[nodiscard]] Value output(int i = 0) const { return {node_, i}; }
  /// Logical shape.
  [[nodiscard]] Shape shape(Value value) const { return graph_.shape(value); }
  /// Gradient of output i; none when no output of the graph depends on it.
  [[nodiscard]] Value gradient(std::size_t i = 0) const { return output_gradients_[i]; }
  /// Does anybody ask for the gradient of input i?
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
