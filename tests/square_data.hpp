// A data set whose objects are squares on grey ground, and a network that is made to see them: what evaluation must
// find is known to the pixel.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "slimneck/data.hpp"
#include "slimneck/image.hpp"
#include "slimneck/model.hpp"
#include "slimneck/plan.hpp"

namespace slimneck::test {

/// Red is class 0, blue is class 1; the more green, the lower the score.
struct Square {
  int cls = 0;
  index_t column = 0, row = 0;  ///< in cells
  std::uint8_t green = 0;
};

/// In a picture of columns x rows cells.
struct SquarePicture {
  std::string name;
  index_t columns = 8, rows = 8, cell = 8;
  std::vector<Square> squares;
};

/// Square, wide, tall, twice as large; with the least size of network the cells of all are 8 x 8 pixels there.
inline std::vector<SquarePicture> square_pictures() {
  return {{"a.png", 8, 8, 8, {{0, 1, 1}, {1, 5, 2, 10}, {0, 3, 6, 20}}},
          {"b.png", 8, 4, 8, {{0, 1, 1, 30}, {1, 6, 2}}},
          {"c.png", 4, 8, 8, {{1, 2, 5, 20}}},
          {"d.png", 8, 8, 16, {{0, 2, 2, 10}, {0, 5, 5, 40}}},
          {"e.png", 8, 8, 8, {}}};
}

inline constexpr index_t square_size = 64;

inline Image draw(const SquarePicture& picture) {
  constexpr std::uint8_t ground = 114;
  Image image(picture.columns * picture.cell, picture.rows * picture.cell, {ground, ground, ground});
  for (const Square& s : picture.squares)
    for (index_t y = s.row * picture.cell; y < (s.row + 1) * picture.cell; ++y)
      for (index_t x = s.column * picture.cell; x < (s.column + 1) * picture.cell; ++x) {
        std::uint8_t* const pixel = image.rgb.data() + (y * image.width + x) * 3;
        pixel[0] = s.cls == 0 ? 255 : 0;
        pixel[1] = s.green;
        pixel[2] = s.cls == 1 ? 255 : 0;
      }
  return image;
}

inline std::string labels_of(const SquarePicture& picture) {
  std::string text;
  for (const Square& s : picture.squares) {
    const auto part = [](index_t at, index_t of) {
      return " " + std::to_string((static_cast<double>(at) + 0.5) / static_cast<double>(of));
    };
    text += std::to_string(s.cls) + part(s.column, picture.columns) + part(s.row, picture.rows) + " " +
            std::to_string(1 / static_cast<double>(picture.columns)) + " " +
            std::to_string(1 / static_cast<double>(picture.rows)) + "\n";
  }
  return text;
}

/// images/, labels/ and squares.yaml in the folder.
inline void write_squares(const std::filesystem::path& folder, const std::vector<SquarePicture>& pictures) {
  std::filesystem::create_directories(folder / "images");
  std::filesystem::create_directories(folder / "labels");
  for (const SquarePicture& picture : pictures) {
    write_image(folder / "images" / picture.name, draw(picture));
    std::ofstream(label_path(folder / "images" / picture.name)) << labels_of(picture);
  }
  std::ofstream(folder / "squares.yaml") << "train: images\nval: images\nnames: [red, blue]\n";
}

inline constexpr const char* square_yaml = R"(nc: 2
depth_multiple: 1.0
width_multiple: 1.0
anchors:
  - [8, 8]
  - [64, 64]
backbone:
  - [-1, 1, Conv, [8, 8, 8, 0, 1, 1, False]]
  - [-1, 1, Conv, [8, 2, 2, 0, 1, 1, False]]
head:
  - [[0, 1], 1, Detect, [nc, anchors]]
)";

/// Makes the network of square_yaml see: the first layer averages each cell, and Detect looks at its colour. Nothing is
/// found in the second level.
inline void open_eyes(Parameters& parameters) {
  constexpr float sure = 30, weight_of_green = 120, off = -30;
  for (Parameters::Entry& e : parameters.entries()) {
    if (e.name.ends_with("anchors")) continue;
    const float value = e.name.ends_with("bn.weight") || e.name.ends_with("running_var") ? 1.0F : 0.0F;
    std::fill_n(e.value.data<float>(), e.value.numel(), value);
  }
  float* const average = parameters.at("model.0.conv.weight").value.data<float>();
  for (index_t colour = 0; colour < 3; ++colour) std::fill_n(average + (colour * 3 + colour) * 64, 64, 1.0F / 64);
  float* const weight = parameters.at("model.2.m.0.weight").value.data<float>();
  const auto from = [&](index_t result, index_t colour) -> float& { return weight[result * 8 + colour]; };
  from(4, 1) = -weight_of_green;
  parameters.at("model.2.m.0.bias").value.data<float>()[4] = sure;
  from(5, 0) = from(6, 2) = sure;
  from(5, 2) = from(6, 0) = -sure;
  parameters.at("model.2.m.1.bias").value.data<float>()[4] = off;
  parameters.touch();
}

inline Model square_model() {
  return parse_model(square_yaml, "squares.yaml", {.height = square_size, .width = square_size});
}

}  // namespace slimneck::test
