// Writes weights.safetensors and picture.png into the folder that is its argument: a small network with random weights
// that is sure of itself at some anchors, so that there is something to find.
#include <filesystem>

#include "slimneck/slimneck.hpp"

using namespace slimneck;

int main(int, char** argv) {
  const std::filesystem::path folder = argv[1];
  const Model model = load_model("slimneck-n");
  Parameters parameters(model.graph);
  parameters.initialise(1);
  const index_t row = model.classes + 5;
  float* bias = parameters.at("model.24.m.2.bias").value.data<float>();  // of the coarsest level
  for (index_t anchor = 0; anchor < 3; ++anchor) {
    bias[anchor * row + 4] = 2;               // an object
    bias[anchor * row + 5 + 7 * anchor] = 2;  // of a class of this anchor
  }
  save_state_dict(folder / "weights.safetensors", parameters, {{"gsconv_dialect", model.dialect}});

  Image picture(200, 120, {40, 90, 160});
  for (std::size_t i = 0; i < picture.rgb.size(); ++i) picture.rgb[i] = static_cast<std::uint8_t>(i * i / 97);
  write_image(folder / "picture.png", picture);
  return 0;
}
