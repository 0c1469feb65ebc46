// Model files: as `slimneck info` reads them.
#include "slimneck/model.hpp"
#include "target.hpp"

using namespace slimneck;

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Beside the library's models, which `base:` may name; the letter n is a scale of theirs.
  constexpr std::string_view name = SLIMNECK_FUZZ_MODELS "/model-n.yaml";
  fuzz::accepts([&] {
    const Model model = parse_model(fuzz::text_of(data, size), name, {.height = 64, .width = 96});
    fuzz::require(!model.layers.empty() && !model.graph.outputs().empty());
    const ModelStats stats = model_stats(model);
    fuzz::require(stats.layers.size() == model.layers.size() && stats.dead_parameters <= stats.parameters);
  });
  return 0;
}
