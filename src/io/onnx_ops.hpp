// How each op is written as ONNX: one table.
#pragma once

#include "io/onnx_file.hpp"
#include "slimneck/plan.hpp"

namespace slimneck::io {

/// What a translation sees and adds to.
class OnnxTranslation {
 public:
  OnnxTranslation(const Graph& graph, const Parameters& parameters, OnnxGraph& onnx, bool dynamic, int opset);

  /// Adds what computes the node, and all that it needs.
  void add(int node);
  [[nodiscard]] const std::string& name_of(Value value) const { return names_[static_cast<std::size_t>(value.node)]; }
  void rename(Value value, std::string name) { names_[static_cast<std::size_t>(value.node)] = std::move(name); }

  // ---- For the table ----
  const Graph& graph;
  OnnxGraph& onnx;
  bool dynamic;
  int opset;
  const Node* node = nullptr;  ///< the one being translated

  using Inputs = std::vector<std::string>;
  /// A node called "<name of the graph's node>" or "<...>.<part>".
  [[nodiscard]] std::string emit(std::string_view op, const Inputs& inputs,
                                 const OnnxGraph::AttributeMap& attributes = {}, std::string_view part = {});
  [[nodiscard]] std::string input(std::size_t i) const { return name_of(node->inputs[i]); }
  [[nodiscard]] const Shape& shape(std::size_t i) const { return graph.shape(node->inputs[i]); }
  /// A number as a constant.
  [[nodiscard]] std::string scalar(float value);
  /// Numbers of a parameter or state.
  [[nodiscard]] std::vector<double> numbers(Value value) const;
  /// The only node that reads the value, which is no output; nullptr when there are others.
  [[nodiscard]] const Node* only_reader(Value value) const;

 private:
  static constexpr int none = -1, several = -2;
  void read(Value value, int reader);

  const Parameters& parameters_;
  std::vector<std::string> names_;  ///< by node
  std::vector<int> readers_;        ///< by node: who reads it
  std::map<float, std::string> scalars_;
};

}  // namespace slimneck::io
