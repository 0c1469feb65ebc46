// A folder with small models to run the program in.
#pragma once

#include <string>
#include <vector>

#include "program.hpp"
#include "slimneck/weights.hpp"

namespace slimneck::test {

inline constexpr const char* detector_yaml = R"(nc: 2
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [10, 13, 16, 30, 33, 23]
  - [30, 61, 62, 45, 59, 119]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, GSConv, [16, 3, 2]]
head:
  - [[2, 3], 1, Detect, [nc, anchors]]
)";
inline constexpr const char* plain_yaml = R"(depth_multiple: 1.0
width_multiple: 1.0
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
head:
  - [-1, 1, GSConv, [8, 1, 1]]
)";

#ifdef SLIMNECK_CLI

/// A folder with two models and a program to run in it.
class Workplace : public ProgramFolder {
 public:
  explicit Workplace(const std::string& name = "cli") : ProgramFolder(name) {
    text("detector.yaml", detector_yaml);
    text("plain.yaml", plain_yaml);
  }

  void tensor(const std::string& name, const char* key, const std::vector<index_t>& dims, float scale = 1) const {
    std::vector<float> values(static_cast<std::size_t>(shape_of(dims).numel()));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = scale * static_cast<float>((i * 37) % 64) / 64;
    write_safetensors(*this / name, std::vector{TensorEntry{key, dims, std::span<const float>(values)}});
  }
};

#endif

}  // namespace slimneck::test
