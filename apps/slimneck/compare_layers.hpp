// What is compared: kinds of convolution, and the layers that they take the place of.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "slimneck/layers.hpp"
#include "slimneck/model.hpp"

namespace slimneck::cli {

/// A convolution of a network: what a module gets and what it has to give. Its padding is k / 2.
struct LayerShape {
  std::string name;
  index_t c1 = 64, c2 = 64, k = 3, s = 1;
  index_t h = 80, w = 80;  ///< of the input
  int times = 1;           ///< how often its model has it

  /// "64->128 3x3/2 @80", the map's height and width where they differ.
  [[nodiscard]] std::string geometry() const;
};

/// A module in the place of a standard convolution.
struct OpKind {
  std::string_view name, module, title;
  /// Multiply-adds of a forward as the paper's formula has them; nothing where it has none for this kind.
  std::optional<index_t> (*paper_macs)(const LayerShape&, index_t pixels);
  /// How the formula differs from the count.
  std::string_view why;
};

/// The kinds by name: "sc" first, which the others are compared with.
std::span<const OpKind> op_kinds() noexcept;

/// A kind, and how its plan runs.
struct Op {
  const OpKind* kind = nullptr;
  bool unfused = false;  ///< "gsconv-unfused": its steps one after another, concat and shuffle copy

  [[nodiscard]] std::string name() const;
  [[nodiscard]] std::string title() const;
};

/// "gsconv", "gsconv-unfused", ... Throws Error naming those that there are.
Op op_of(std::string_view name);

/// Name of the node before a module: not part of it.
inline constexpr std::string_view neighbour_name = "neighbour";

/// The module behind a neighbour, as a graph with input x and output y. Throws ShapeError for sizes that do not fit.
Graph graph_of(const Op& op, const LayerShape& layer, index_t batch, const kernels::Activation& act);

/// Ten layers of YOLOv5s at 640 pixels, most of them of its neck.
std::vector<LayerShape> default_layers();

/// A file with a layer to a line: c1=64 c2=128 k=3 s=2 hw=80 name=down; what is left out is as in `compare`, and #
/// begins a remark. Throws FormatError FILE:LINE.
std::vector<LayerShape> read_layers(const std::string& path);

struct ModelLayers {
  std::vector<LayerShape> layers;
  std::vector<std::pair<std::string, std::string>> skipped;  ///< name, and why no other kind can take its place
};

/// The distinct standard convolutions (with batch norm) of a model.
ModelLayers layers_of(const Model& model);

}  // namespace slimneck::cli
