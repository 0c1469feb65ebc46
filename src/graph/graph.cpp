#include "slimneck/graph.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "graph/layout.hpp"

namespace slimneck {

namespace {

constexpr OpDef source_op{.name = "source", .kind = OpKind::source};

/// Rank 1 is a number per channel, rank 4 is OIHW; lower ranks fill from the right.
Shape shape_of_dims(const std::string& name, const std::vector<index_t>& dims) {
  Shape s;
  switch (dims.size()) {
    case 0: break;
    case 1: s.c = dims[0]; break;
    case 2: s = {1, 1, dims[0], dims[1]}; break;
    case 3: s = {1, dims[0], dims[1], dims[2]}; break;
    case 4: s = {dims[0], dims[1], dims[2], dims[3]}; break;
    default: throw ShapeError("parameter '" + name + "': rank " + std::to_string(dims.size()) + " is above 4");
  }
  return s;
}

std::string describe(const OpDef& op, const std::string& name) {
  return std::string(op.name) + (name.empty() ? "" : " '" + name + "'");
}

/// The value of an attribute as its kind wants it: a whole number may stand for a real one.
AttributeValue checked(const AttributeSpec& spec, const AttributeValue& value) {
  using Kind = AttributeSpec::Kind;
  const auto* whole = std::get_if<index_t>(&value);
  if (spec.kind == Kind::real && whole != nullptr) return static_cast<double>(*whole);
  const bool fits = spec.kind == Kind::integer ? whole != nullptr
                    : spec.kind == Kind::real  ? std::holds_alternative<double>(value)
                                               : std::holds_alternative<std::vector<index_t>>(value);
  if (!fits) {
    const char* wanted = spec.kind == Kind::integer ? "an integer" : spec.kind == Kind::real ? "a number" : "a list";
    throw ShapeError("attribute '" + std::string(spec.name) + "' must be " + wanted);
  }
  return value;
}

/// The given attributes in the order of the op's table, with its defaults; unknown names are errors.
Attributes complete(const OpDef& op, const Attributes& given) {
  for (const Attributes::Item& item : given.items())
    if (std::none_of(op.attributes.begin(), op.attributes.end(),
                     [&](const AttributeSpec& spec) { return spec.name == item.first; }))
      throw ShapeError("it has no attribute '" + item.first + "'");
  Attributes all;
  for (const AttributeSpec& spec : op.attributes) {
    if (const AttributeValue* value = given.find(spec.name))
      all.set(spec.name, checked(spec, *value));
    else if (spec.required)
      throw ShapeError("attribute '" + std::string(spec.name) + "' is missing");
    else if (spec.kind == AttributeSpec::Kind::integer)
      all.set(spec.name, static_cast<index_t>(spec.fallback));
    else
      all.set(spec.name, spec.fallback);
  }
  return all;
}

bool is_input(Role role) { return role == Role::input || role == Role::gradient; }

/// Throws ShapeError when a tensor of this shape is empty for want of channels, height or width (a batch may be empty),
/// or has no size in bytes that fits. A plan may round one channel up to the widest block.
void check_size(const Shape& shape) {
  if (shape.c < 1 || shape.h < 1 || shape.w < 1)
    throw ShapeError("a tensor of " + to_string(shape) + " came, wanted at least 1 channel, row and column");
  constexpr index_t widest_block = 16, widest_element = 8;
  static_cast<void>(checked_multiply(shape.numel(), widest_block * widest_element));
}

/// Shapes of the outputs of a node whose inputs are in the graph; errors do not name the node yet.
std::vector<Shape> inferred(const Graph& graph, const Node& node) {
  std::vector<Shape> shapes = node.op->infer(node.attributes, graph::input_shapes(graph, node));
  for (const Shape& s : shapes) check_size(s);
  return shapes;
}

}  // namespace

Value Graph::source(Role role, std::string name, const Shape& shape, std::vector<index_t> dims, Init init) {
  try {
    check_size(shape);
  } catch (const ShapeError& e) {
    throw ShapeError("'" + name + "': " + e.what());
  }
  Node node;
  if (is_input(role) &&
      std::any_of(nodes_.begin(), nodes_.end(), [&](const Node& n) { return n.role == role && n.name == name; }))
    throw ShapeError("the graph already has an input '" + name + "'");
  node.op = &source_op;
  node.role = role;
  node.name = std::move(name);
  node.shapes = {shape};
  node.dims = std::move(dims);
  node.init = std::move(init);
  nodes_.push_back(std::move(node));
  return {size() - 1, 0};
}

Value Graph::input(std::string name, const Shape& shape) { return source(Role::input, std::move(name), shape, {}, {}); }

Value Graph::gradient_input(std::string name, const Shape& shape) {
  return source(Role::gradient, std::move(name), shape, {}, {});
}

Value Graph::parameter(std::string name, std::vector<index_t> dims, Init init) {
  const Shape shape = shape_of_dims(name, dims);
  return source(Role::parameter, std::move(name), shape, std::move(dims), std::move(init));
}

Value Graph::state(std::string name, std::vector<index_t> dims, Init init) {
  const Shape shape = shape_of_dims(name, dims);
  return source(Role::state, std::move(name), shape, std::move(dims), std::move(init));
}

Value Graph::add(const OpDef& op, std::vector<Value> inputs, const Attributes& attributes, std::string name) {
  Node node;
  node.op = &op;
  node.name = std::move(name);
  try {
    node.inputs = std::move(inputs);
    node.attributes = complete(op, attributes);
    node.shapes = inferred(*this, node);
  } catch (const ShapeError& e) {
    throw ShapeError(describe(op, node.name) + ": " + e.what());
  }
  nodes_.push_back(std::move(node));
  return {size() - 1, 0};
}

void Graph::output(std::string name, Value value, OutputKind kind) {
  static_cast<void>(shape(value));
  if (std::any_of(outputs_.begin(), outputs_.end(), [&](const Output& o) { return o.name == name; }))
    throw ShapeError("the graph already has an output '" + name + "'");
  outputs_.push_back({std::move(name), value, kind});
}

void Graph::update(Value state, Value value) {
  if (!(shape(state) == shape(value)) || node(state).role != Role::state)
    throw ShapeError("'" + node(state).name + "' cannot take the numbers of '" + node(value).name + "'");
  updates_.push_back({state, value});
}

void Graph::set_outputs(std::vector<Output> outputs) {
  for (const Output& o : outputs) static_cast<void>(shape(o.value));
  outputs_ = std::move(outputs);
}

const Node& Graph::node(int index) const {
  if (index < 0 || index >= size()) throw ShapeError("the graph has no node " + std::to_string(index));
  return nodes_[static_cast<std::size_t>(index)];
}

const Shape& Graph::shape(Value value) const {
  const Node& n = node(value.node);
  if (value.index < 0 || value.index >= static_cast<int>(n.shapes.size()))
    throw ShapeError(describe(*n.op, n.name) + " has no output " + std::to_string(value.index));
  return n.shapes[static_cast<std::size_t>(value.index)];
}

Graph Graph::with_outputs(const std::function<bool(const Output&)>& keep) const {
  Graph graph = *this;
  std::erase_if(graph.outputs_, [&](const Output& o) { return !keep(o); });
  return graph;
}

Graph Graph::with_inputs(std::span<const Shape> shapes) const {
  Graph copy = *this;
  std::size_t next = 0;
  for (Node& node : copy.nodes_) {
    if (is_input(node.role)) {
      if (next == shapes.size()) throw ShapeError("with_inputs: the graph has more inputs than shapes were given");
      check_size(shapes[next]);
      node.shapes = {shapes[next++]};
    } else if (node.role == Role::computed) {
      try {
        node.shapes = inferred(copy, node);
      } catch (const ShapeError& e) {
        throw ShapeError(describe(*node.op, node.name) + ": " + e.what());
      }
    }
  }
  if (next != shapes.size()) throw ShapeError("with_inputs: more shapes than the graph has inputs");
  return copy;
}

std::vector<char> Graph::needed(std::span<const Value> values) const {
  std::vector<char> need(nodes_.size(), 0);
  for (const Value& v : values)
    if (v.valid()) need[static_cast<std::size_t>(checked(v).node)] = 1;
  for (std::size_t i = nodes_.size(); i-- > 0;)
    if (need[i])
      for (const Value& v : nodes_[i].inputs)
        if (v.valid()) need[static_cast<std::size_t>(v.node)] = 1;
  return need;
}

GraphCost Graph::cost() const {
  std::vector<Value> roots;
  for (const Output& o : outputs_) roots.push_back(o.value);
  const std::vector<char> need = needed(roots);
  std::set<int> counted;
  GraphCost result;
  for (int i = 0; i < size(); ++i) {
    const Node& n = node(i);
    if (n.role == Role::parameter) {
      const index_t count = n.shapes[0].numel();
      result.parameters += count;
      if (!need[static_cast<std::size_t>(i)]) {
        result.dead_parameters += count;
        result.dead.push_back(n.name);
      }
    }
    if (n.role != Role::computed || !need[static_cast<std::size_t>(i)]) continue;
    NodeCost item{i, n.name, n.op->name, {}, 0};
    const std::vector<Shape> in = graph::input_shapes(*this, n);
    if (n.op->cost) item.cost = n.op->cost(n.attributes, in, n.shapes);
    for (const Shape& s : in) item.cost.bytes_read += 4 * s.numel();
    for (const Shape& s : n.shapes) item.cost.bytes_written += 4 * s.numel();
    for (const Value& v : n.inputs)
      if (v.valid() && node(v).role == Role::parameter && counted.insert(v.node).second)
        item.parameters += shape(v).numel();
    result.total += item.cost;
    result.nodes.push_back(std::move(item));
  }
  return result;
}

}  // namespace slimneck
