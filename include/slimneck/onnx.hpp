// ONNX files, so that a network runs where slimneck does not.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "slimneck/model.hpp"
#include "slimneck/plan.hpp"

namespace slimneck {

/// How a network is written as ONNX.
struct OnnxOptions {
  int opset = 17;        ///< 11..17
  bool dynamic = false;  ///< batch, height and width are open; otherwise those of the model's graph
};

/// Writes inference of the model: the input `images` (n x 3 x h x w, RGB, 0..1) and the output `output0`, with Detect
/// its decoded rows (n x rows x 5 + classes: centre x, y, width, height in pixels, objectness, classes). Batch norm is
/// folded into the convolution before it; all else is one to a few plain ops. IR version 8. `metadata` stands in the
/// file. `path` is replaced when everything is on the disk, otherwise it stays as it was. Throws Error for an op that
/// has no translation, a model with several results and no Detect, and an opset out of range; FormatError for more than
/// 2 GB.
SLIMNECK_EXPORT void write_onnx(const std::filesystem::path& path, const Model& model, const Parameters& parameters,
                                const std::map<std::string, std::string>& metadata, const OnnxOptions& options = {});

}  // namespace slimneck
