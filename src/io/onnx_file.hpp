// The parts of an ONNX file, written in protobuf's wire format. Field numbers are those of onnx.proto, IR version 8.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace slimneck::io {

/// A protobuf message as its bytes.
class Wire {
 public:
  Wire& integer(int field, std::int64_t value);
  Wire& real(int field, float value);
  Wire& text(int field, std::string_view value);
  Wire& message(int field, const Wire& value) { return text(field, value.bytes_); }
  [[nodiscard]] const std::string& bytes() const noexcept { return bytes_; }

 private:
  void varint(std::uint64_t value);
  std::string bytes_;
};

/// An attribute of a node: an integer, a real, a word or a list of integers.
using OnnxAttribute = std::variant<std::int64_t, float, std::string, std::vector<std::int64_t>>;

/// A dimension: its size, or the name of one that is open.
using OnnxDimension = std::variant<std::int64_t, std::string>;

/// Nodes and constants as they are added. Names of results are those asked for, with a number where one is taken.
class OnnxGraph {
 public:
  using AttributeMap = std::map<std::string, OnnxAttribute>;

  /// Adds a node with one output and returns its name.
  std::string node(std::string_view op, std::span<const std::string> inputs, const AttributeMap& attributes,
                   const std::string& name);
  /// Add constants and return their names.
  std::string floats(const std::string& name, std::span<const std::int64_t> dims, std::span<const float> values);
  /// The same list is kept once.
  std::string integers(const std::vector<std::int64_t>& values);

  void input(const std::string& name, std::span<const OnnxDimension> dims);
  void output(const std::string& name, std::span<const OnnxDimension> dims);

  /// The whole file.
  [[nodiscard]] std::string model(std::string_view name, int opset,
                                  const std::map<std::string, std::string>& metadata) const;

 private:
  std::string unused(const std::string& name);

  Wire nodes_, constants_, ends_;
  std::set<std::string> names_;
  std::map<std::vector<std::int64_t>, std::string> integers_;
};

}  // namespace slimneck::io
