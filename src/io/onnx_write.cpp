#include <algorithm>
#include <limits>

#include "io/files.hpp"
#include "io/onnx_ops.hpp"
#include "slimneck/onnx.hpp"

namespace slimneck {

namespace {

constexpr std::string_view input_name = "images", output_name = "output0";
constexpr int least_opset = 11, most_opset = 17;

/// Decoded boxes where there are some, else the one result.
Output result_of(const Model& model) {
  const auto& outputs = model.graph.outputs();
  const auto pred = std::find_if(outputs.begin(), outputs.end(), [](const Output& o) { return o.name == "pred"; });
  if (pred != outputs.end()) return *pred;
  if (outputs.size() != 1)
    throw Error(model.name + ": " + std::to_string(outputs.size()) + " outputs and no Detect; wanted one");
  return outputs.front();
}

Value input_of(const Graph& graph) {
  for (int i = 0; i < graph.size(); ++i)
    if (graph.node(i).role == Role::input) return {i, 0};
  throw Error("the graph has no input");
}

}  // namespace

void write_onnx(const std::filesystem::path& path, const Model& model, const Parameters& parameters,
                const std::map<std::string, std::string>& metadata, const OnnxOptions& options) {
  if (options.opset < least_opset || options.opset > most_opset)
    throw Error("ONNX opset " + std::to_string(options.opset) + "; wanted 11..17");
  const Output result = result_of(model);
  const Graph graph = model.graph.with_outputs([&](const Output& o) { return o.name == result.name; });
  io::OnnxGraph onnx;
  io::OnnxTranslation translation(graph, parameters, onnx, options.dynamic, options.opset);

  const Value input = input_of(graph);
  const Shape& x = graph.shape(input);
  std::vector<io::OnnxDimension> dims{x.n, x.c, x.h, x.w};
  if (options.dynamic) dims = {"batch", x.c, "height", "width"};
  onnx.input(std::string(input_name), dims);
  translation.rename(input, std::string(input_name));

  const std::vector<char> needed = graph.needed(std::span(&result.value, 1));
  for (int i = 0; i < graph.size(); ++i)
    if (needed[static_cast<std::size_t>(i)]) translation.add(i);
  static_cast<void>(
      onnx.node("Identity", std::vector{translation.name_of(result.value)}, {}, std::string(output_name)));

  const Shape& y = graph.shape(result.value);
  const bool decoded = result.name == "pred";
  dims = decoded ? std::vector<io::OnnxDimension>{y.n, y.h, y.w} : std::vector<io::OnnxDimension>{y.n, y.c, y.h, y.w};
  if (options.dynamic) {
    dims.front() = "batch";
    dims[decoded ? 1 : 2] = decoded ? "anchors" : "y_height";
    if (!decoded) dims[3] = "y_width";
  }
  onnx.output(std::string(output_name), dims);
  const std::string file = onnx.model(model.name, options.opset, metadata);
  if (file.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()))
    throw FormatError(path.string() + ": the ONNX file would have more than 2 GB, which its format cannot hold");
  io::write_file(path, std::as_bytes(std::span(file)));
}

}  // namespace slimneck
