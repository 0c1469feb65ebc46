// Detect: YOLOv5's head.
#include <algorithm>
#include <cmath>

#include "layers/modules/arguments.hpp"
#include "layers/modules/modules.hpp"

namespace slimneck::modules {

namespace {

/// Raises the objectness to about 8 objects per 640 x 640 picture and the classes to about 0.6 / nc.
Init biased_init(index_t fan_in, index_t nc, index_t na, index_t stride) {
  Init init{1 / std::sqrt(static_cast<double>(fan_in)), {}};
  const double cells = 640.0 / static_cast<double>(stride);
  for (index_t a = 0; a < na; ++a)
    for (index_t k = 0; k < nc + 5; ++k)
      init.offset.push_back(k < 4    ? 0
                            : k == 4 ? std::log(8 / (cells * cells))
                                     : std::log(0.6 / (static_cast<double>(nc) - 0.99999)));
  return init;
}

/// Pixels divided by strides in float, as the published code does it.
Init grid_anchors(const std::vector<std::vector<double>>& anchors, const std::vector<index_t>& strides) {
  Init init;
  for (std::size_t i = 0; i < anchors.size(); ++i)
    for (const double side : anchors[i])
      init.offset.push_back(static_cast<double>(static_cast<float>(side) / static_cast<float>(strides[i])));
  return init;
}

}  // namespace

Detection detect(const ModuleBuilder& b, const std::vector<Value>& inputs, index_t nc,
                 const std::vector<std::vector<double>>& anchors, const std::vector<index_t>& strides) {
  if (anchors.size() != inputs.size() || strides.size() != inputs.size())
    b.fail(std::to_string(anchors.size()) + " rows of anchors for " + std::to_string(inputs.size()) + " inputs");
  if (inputs.empty() || anchors.front().empty() || anchors.front().size() % 2 != 0)
    b.fail("a row of anchors is a list of widths and heights");
  for (const auto& row : anchors) {
    if (row.size() != anchors.front().size()) b.fail("rows of anchors differ in length");
    if (std::any_of(row.begin(), row.end(), [](double side) { return !(side >= 0 && side <= 1e6); }))
      b.fail("sides of anchors are pixels in 0..1000000");
  }
  const auto nl = static_cast<index_t>(inputs.size());
  const auto na = static_cast<index_t>(anchors.front().size()) / 2;
  Detection result;
  std::vector<Value> decode{b.graph().state((b.prefix().empty() ? std::string() : b.prefix() + ".") + "anchors",
                                            {nl, na, 2}, grid_anchors(anchors, strides))};
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Init bias = biased_init(b.channels(inputs[i]), nc, na, strides[i]);
    const ModuleBuilder level = b.scope("m").scope(static_cast<index_t>(i));
    result.heads.push_back(level.conv2d(inputs[i], na * (nc + 5), {}, &bias));
  }
  decode.insert(decode.end(), result.heads.begin(), result.heads.end());
  result.decoded =
      b.graph().add(ops::detect_decode, std::move(decode), {{"na", na}, {"strides", strides}}, b.name("decode"));
  return result;
}

namespace {

/// Pixels of the picture per cell of each input.
std::vector<index_t> strides_of(const ModuleBuilder& b, const std::vector<Value>& inputs) {
  const auto& nodes = b.graph().nodes();
  const auto picture = std::find_if(nodes.begin(), nodes.end(), [](const Node& n) { return n.role == Role::input; });
  if (picture == nodes.end()) b.fail("the graph has no input to take the strides from");
  const Shape& size = picture->shapes.front();
  std::vector<index_t> strides;
  for (const Value& x : inputs) {
    const Shape& cells = b.graph().shape(x);
    if (cells.h < 1 || size.h % cells.h != 0 || cells.w < 1 || size.w != size.h / cells.h * cells.w)
      b.fail("a map of " + std::to_string(cells.h) + "x" + std::to_string(cells.w) + " cells does not divide the " +
             std::to_string(size.h) + "x" + std::to_string(size.w) + " picture (height x width) evenly");
    strides.push_back(size.h / cells.h);
  }
  return strides;
}

Value build_detect(const ModuleBuilder& b, const ModuleCall& call) {
  if (call.args.size() != 2 || !std::holds_alternative<std::vector<std::vector<double>>>(call.args[1]))
    b.fail("arguments must be [nc, anchors]");
  const index_t nc = Arguments(b, call).integer("nc", 0, 1, 65535);
  const auto& anchors = std::get<std::vector<std::vector<double>>>(call.args[1]);
  const Detection detection = detect(b, call.inputs, nc, anchors, strides_of(b, call.inputs));
  for (std::size_t i = 0; i < detection.heads.size(); ++i)
    b.graph().output("head." + std::to_string(i), detection.heads[i]);
  b.graph().output("pred", detection.decoded, OutputKind::inference);
  return detection.decoded;
}

}  // namespace

const ModuleDef detect_module{
    .name = "Detect", .width = ModuleDef::Width::inferred, .many_inputs = true, .head = true, .build = build_detect};

}  // namespace slimneck::modules
