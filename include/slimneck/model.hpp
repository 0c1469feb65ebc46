// Model files: YOLOv5's YAML (and what slimneck adds to it) to a graph.
//
// slimneck's own keys, besides nc, depth_multiple, width_multiple, anchors, backbone, head, ch, activation and
// channel_multiple:
//   scales: {n: [0.33, 0.25], ...}         depth and width multiple by scale letter, which ends the name: slimneck-n
//   base: yolov5.yaml                      a file in the same folder gives what is missing here
//   neck: {Conv: GSConv, C3: VoVGSCSP}     modules to replace in the rows of the head
//   dialect: y5   shuffle: interleave      see Dialect
//   max_channels: 1024                     widths are cut to this before scaling
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "slimneck/layers.hpp"

namespace slimneck {

/// Empty strings mean "decide": dialect = the argument, else the weights' metadata, else the file's `dialect:` key,
/// else yolov5 where no GS module occurs, else paper. Activation = the argument, else the file's `activation:`, else
/// the dialect's. Shuffle likewise.
struct ModelOptions {
  std::string dialect = {};                        ///< name of a Dialect
  std::string activation = {};                     ///< as find_activation takes it
  std::string shuffle = {};                        ///< interleave or deinterleave
  std::string weights_dialect = {};                ///< from the metadata of a weights file
  std::string scale = {};                          ///< a key of `scales:`; empty: the letter that ends the file's name
  std::optional<index_t> classes = {};             ///< replaces the file's nc
  std::vector<std::vector<double>> anchors = {};   ///< replace the file's: pixels, a row for each level
  index_t batch = 1, height = 640, width = 640;    ///< shape of the input, in pictures and pixels
  std::span<const ModuleDef* const> modules = {};  ///< besides the library's own, and before them
};

/// A row of a model file, as built.
struct ModelLayer {
  int index = 0;                      ///< from 0; names begin with "model.<index>"
  std::vector<int> from;              ///< as the file has it: negative numbers count back
  index_t repeats = 1;                ///< after scaling
  std::string module;                 ///< name of the module that was built
  std::string arguments;              ///< as YOLOv5 prints them: "[16, 32, 3, 2]"
  std::vector<Value> outputs;         ///< one value; Detect: one raw head per level
  int first_node = 0, last_node = 0;  ///< half-open range of graph nodes that the layer added
};

/// A model file as a graph.
struct Model {
  std::string name;  ///< "slimneck-s": the file's name without folder and ending, with its scale
  Graph graph;       ///< input x; results head.0 .. and inference output pred, or result y when there is no Detect
  std::vector<ModelLayer> layers;            ///< one for each row
  index_t classes = 0;                       ///< 0 when the file has no nc
  std::vector<index_t> strides;              ///< of the heads; empty without Detect
  std::vector<std::vector<double>> anchors;  ///< pixels, per level; empty without Detect
  std::string dialect, activation, shuffle;  ///< as decided
  std::vector<std::string> warnings;         ///< unknown keys, layers nobody reads
  std::string yaml;                          ///< a model file of the same network that needs no base and no scale

  /// 32 without Detect.
  [[nodiscard]] SLIMNECK_EXPORT index_t max_stride() const noexcept;
};

/// The model in a YAML text. `file_name` is for messages, the scale letter and the folder of `base:`. Throws
/// FormatError "FILE:LINE:COLUMN: cause" (ShapeError where sizes do not fit, IoError where the base cannot be read),
/// before any memory for tensors. Nothing in the file is evaluated or fetched.
SLIMNECK_EXPORT Model parse_model(std::string_view yaml, std::string_view file_name, const ModelOptions& options = {});

/// `name` is a path, or a model of the library: "slimneck-s", "yolov5n", with or without ".yaml". The library's models
/// lie in $SLIMNECK_MODELS, else in the source tree, else where they were installed. Throws as parse_model; IoError
/// when there is no such file or model.
SLIMNECK_EXPORT Model load_model(const std::filesystem::path& name, const ModelOptions& options = {});

/// Names that load_model knows: "yolov5n", ... , "slimneck3-s".
SLIMNECK_EXPORT std::vector<std::string> model_names();

/// Counts of a model as published tables give them.
struct ModelStats {
  /// One row of the file.
  struct Layer {
    index_t parameters = 0, dead_parameters = 0, macs = 0;  ///< numbers; multiply-adds of one forward
    std::vector<std::vector<index_t>> shapes;               ///< n c h w; of Detect per level: n anchors h w 5+nc
  };
  index_t parameters = 0;         ///< all learned numbers
  index_t dead_parameters = 0;    ///< no output depends on them
  std::vector<std::string> dead;  ///< names of the dead ones
  index_t macs = 0;               ///< multiply-adds of one forward
  Cost cost;  ///< of one forward, with those macs; the conventions of cost.hpp make a number of FLOPs of it
  std::vector<Layer> layers;  ///< as Model::layers
};

/// For the batch and picture size that the model was built with.
SLIMNECK_EXPORT ModelStats model_stats(const Model& model);

}  // namespace slimneck
