// What a model file says, checked but not yet built.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "io/yaml.hpp"
#include "slimneck/layers.hpp"

namespace slimneck::io {

struct ModelRow {
  Yaml where;             ///< the row, for messages
  std::vector<int> from;  ///< as the file has it
  bool from_is_list = false;
  index_t number = 1;  ///< before scaling
  Yaml module;         ///< a scalar; in the head after `neck:` replaced it
  std::vector<Yaml> args;
};

struct ModelSpec {
  Yaml document;
  double depth = 1, width = 1;    ///< multiples
  index_t widest = max_channels;  ///< widths are cut to this before scaling
  index_t multiple_of = 8;        ///< scaled widths are rounded up to this
  index_t channels = 3;           ///< of the picture
  std::optional<index_t> classes;
  std::vector<std::vector<double>> anchors;  ///< per level
  index_t anchor_count = 0;                  ///< per level; without `anchors`, YOLOv5 makes them 0, 1, 2, ...
  std::string dialect, activation, shuffle;  ///< empty where the file does not say
  std::vector<ModelRow> rows;
  std::vector<std::string> warnings;
};

/// Reads the settings and rows of `document`, and of `base` (may be null) what it lacks. `scale` is a key of `scales:`,
/// or empty to take the last letter of `stem` when that is one.
ModelSpec read_model_spec(const Yaml& document, const Yaml& base, const std::string& scale, std::string_view stem);

/// A model file that says what `spec` does, without a base and without scales.
std::string write_model_spec(const ModelSpec& spec);

/// An argument of a row: None, True, nc and the like by a table, nothing evaluated. `levels` is the number of inputs of
/// the row, for which a mere count of anchors is written out.
Argument resolve_argument(const YamlNode& node, const ModelSpec& spec, std::size_t levels);

/// Integer in least..most, or the node's failure.
index_t require_integer(const YamlNode& node, std::string_view name, index_t least, index_t most);

}  // namespace slimneck::io
