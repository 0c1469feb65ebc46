#include "model_table.hpp"

#include "cli.hpp"

namespace slimneck::cli {

namespace {

long long ll(index_t number) { return static_cast<long long>(number); }

std::string from_text(const ModelLayer& layer) {
  if (layer.from.size() == 1) return std::to_string(layer.from[0]);
  std::string text = "[";
  for (std::size_t i = 0; i < layer.from.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(layer.from[i]);
  return text + "]";
}

/// "1x128x80x80", or those of the three levels of Detect.
std::string shape_text(const std::vector<std::vector<index_t>>& shapes) {
  std::string text;
  for (const auto& shape : shapes) {
    if (!text.empty()) text += ' ';
    for (std::size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? "x" : "") + std::to_string(shape[i]);
  }
  return text;
}

}  // namespace

std::string model_table(const Model& model, const ModelStats& stats) {
  std::string text = format("\n%3s%18s%3s%10s  %-40s%-30s%14s  %s\n", "", "from", "n", "params", "module", "arguments",
                            "MACs", "shape");
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const ModelLayer& layer = model.layers[i];
    const ModelStats::Layer& counts = stats.layers[i];
    text += format("%3d%18s%3lld%10lld  %-40s%-30s%14lld  %s\n", layer.index, from_text(layer).c_str(),
                   ll(layer.repeats), ll(counts.parameters), layer.module.c_str(), layer.arguments.c_str(),
                   ll(counts.macs), shape_text(counts.shapes).c_str());
  }
  return text;
}

}  // namespace slimneck::cli
