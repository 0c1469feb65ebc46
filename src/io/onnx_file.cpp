#include "io/onnx_file.hpp"

#include <bit>
#include <cstring>

#include "slimneck/version.hpp"

namespace slimneck::io {

namespace {

constexpr std::int64_t ir_version = 8;

namespace model_field {
constexpr int ir_version = 1, producer_name = 2, producer_version = 3, graph = 7, opset = 8, metadata = 14;
}
namespace graph_field {
constexpr int node = 1, name = 2, initializer = 5, input = 11, output = 12;
}
namespace node_field {
constexpr int input = 1, output = 2, name = 3, op = 4, attribute = 5;
}
namespace attribute_field {
constexpr int name = 1, real = 2, integer = 3, text = 4, integers = 8, type = 20;
}
namespace tensor_field {
constexpr int dims = 1, type = 2, name = 8, raw = 9;
}
constexpr std::int64_t type_float = 1, type_int64 = 7;  // TensorProto.DataType

enum WireType : std::uint64_t { wire_varint = 0, wire_bytes = 2, wire_fixed32 = 5 };

constexpr std::uint64_t key(int field, WireType type) { return static_cast<std::uint64_t>(field) << 3 | type; }

struct WriteAttribute {
  Wire& to;
  void operator()(std::int64_t value) const {
    to.integer(attribute_field::integer, value).integer(attribute_field::type, 2);
  }
  void operator()(float value) const { to.real(attribute_field::real, value).integer(attribute_field::type, 1); }
  void operator()(const std::string& value) const {
    to.text(attribute_field::text, value).integer(attribute_field::type, 3);
  }
  void operator()(const std::vector<std::int64_t>& values) const {
    for (const std::int64_t value : values) to.integer(attribute_field::integers, value);
    to.integer(attribute_field::type, 7);
  }
};

Wire tensor(const std::string& name, std::span<const std::int64_t> dims, std::int64_t type, std::string_view raw) {
  Wire wire;
  for (const std::int64_t d : dims) wire.integer(tensor_field::dims, d);
  wire.integer(tensor_field::type, type).text(tensor_field::name, name).text(tensor_field::raw, raw);
  return wire;
}

/// ValueInfoProto{name, TypeProto{tensor_type{elem_type, shape{dim...}}}} of floats.
Wire value_info(const std::string& name, std::span<const OnnxDimension> dims) {
  Wire shape;
  for (const OnnxDimension& d : dims) {
    Wire dim;
    if (const auto* size = std::get_if<std::int64_t>(&d))
      dim.integer(1, *size);
    else
      dim.text(2, std::get<std::string>(d));
    shape.message(1, dim);
  }
  Wire tensor_type, type, info;
  tensor_type.integer(1, type_float).message(2, shape);
  type.message(1, tensor_type);
  info.text(1, name).message(2, type);
  return info;
}

template <class T>
std::string_view raw_bytes(std::span<const T> values) {
  static_assert(std::endian::native == std::endian::little, "raw data is little-endian");
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

}  // namespace

void Wire::varint(std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
  bytes_ += static_cast<char>(value);
}

Wire& Wire::integer(int field, std::int64_t value) {
  varint(key(field, wire_varint));
  varint(static_cast<std::uint64_t>(value));
  return *this;
}

Wire& Wire::real(int field, float value) {
  varint(key(field, wire_fixed32));
  bytes_ += raw_bytes(std::span<const float>(&value, 1));
  return *this;
}

Wire& Wire::text(int field, std::string_view value) {
  varint(key(field, wire_bytes));
  varint(value.size());
  bytes_ += value;
  return *this;
}

std::string OnnxGraph::unused(const std::string& name) {
  std::string found = name;
  for (int i = 2; !names_.insert(found).second; ++i) found = name + "." + std::to_string(i);
  return found;
}

std::string OnnxGraph::node(std::string_view op, std::span<const std::string> inputs, const AttributeMap& attributes,
                            const std::string& name) {
  std::string result = unused(name);
  Wire node;
  for (const std::string& input : inputs) node.text(node_field::input, input);
  node.text(node_field::output, result).text(node_field::name, result).text(node_field::op, op);
  for (const auto& [key_name, value] : attributes) {
    Wire attribute;
    attribute.text(attribute_field::name, key_name);
    std::visit(WriteAttribute{attribute}, value);
    node.message(node_field::attribute, attribute);
  }
  nodes_.message(graph_field::node, node);
  return result;
}

std::string OnnxGraph::floats(const std::string& name, std::span<const std::int64_t> dims,
                              std::span<const float> values) {
  std::string found = unused(name);
  constants_.message(graph_field::initializer, tensor(found, dims, type_float, raw_bytes(values)));
  return found;
}

std::string OnnxGraph::integers(const std::vector<std::int64_t>& values) {
  std::string& name = integers_[values];
  if (!name.empty()) return name;
  name = unused("integers." + std::to_string(integers_.size()));
  const std::int64_t count = static_cast<std::int64_t>(values.size());
  constants_.message(graph_field::initializer,
                     tensor(name, std::span(&count, 1), type_int64, raw_bytes(std::span<const std::int64_t>(values))));
  return name;
}

void OnnxGraph::input(const std::string& name, std::span<const OnnxDimension> dims) {
  names_.insert(name);
  ends_.message(graph_field::input, value_info(name, dims));
}

void OnnxGraph::output(const std::string& name, std::span<const OnnxDimension> dims) {
  ends_.message(graph_field::output, value_info(name, dims));
}

std::string OnnxGraph::model(std::string_view name, int opset,
                             const std::map<std::string, std::string>& metadata) const {
  Wire title, version, model;
  title.text(graph_field::name, name);
  version.text(1, "").integer(2, opset);
  model.integer(model_field::ir_version, ir_version).text(model_field::producer_name, "slimneck");
  model.text(model_field::producer_version, SLIMNECK_VERSION_STRING).message(model_field::opset, version);
  for (const auto& [key_name, value] : metadata) {
    Wire pair;
    pair.text(1, key_name).text(2, value);
    model.message(model_field::metadata, pair);
  }
  model.text(model_field::graph, nodes_.bytes() + title.bytes() + constants_.bytes() + ends_.bytes());
  return model.bytes();
}

}  // namespace slimneck::io
