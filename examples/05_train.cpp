// Training without the program: slimneck-n learns to find drawn shapes, for a few batches, with a checkpoint on the
// way.
#include <filesystem>
#include <iostream>

#include "slimneck/slimneck.hpp"

using namespace slimneck;

namespace {

/// A folder that goes with everything in it.
struct Folder {
  std::filesystem::path path = std::filesystem::temp_directory_path() / "slimneck_example_train";
  Folder() { std::filesystem::remove_all(path); }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
};

/// The mean loss of the next epoch.
double epoch(Trainer& trainer) {
  LossParts mean;
  while (const std::optional<StepResult> step = trainer.step()) mean = step->mean;
  const Validation found = trainer.validate();
  trainer.finish_epoch(&found);
  std::cout << "epoch " << trainer.state().epoch << ": box " << mean.box << ", objectness " << mean.obj << ", classes "
            << mean.cls << ", mAP50 " << found.metrics.map50 << '\n';
  return mean.sum();
}

}  // namespace

int main() {
  const Folder folder;
  ShapesOptions shapes;
  shapes.images = 40;  // 32 to train with
  shapes.img = 96;
  make_shapes(folder.path / "shapes", shapes);
  const DataConfig data = load_data(folder.path / "shapes" / "data.yaml");
  const DataSet train = scan_data(data, Split::train), val = scan_data(data, Split::val);

  ModelOptions network;
  network.classes = data.nc();
  const Model model = load_model("slimneck-n", network);
  TrainOptions options;
  options.epochs = 6;
  options.batch = 8;
  options.img = 96;
  options.hyp.mosaic = 0;  // a few whole pictures rather than four in one
  options.hyp.warmup_bias_lr = 0.01;
  const std::filesystem::path weights = folder.path / "weights";
  std::filesystem::create_directories(weights);

  double first = 0, last = 0;
  {
    Trainer trainer(model, Parameters(model.graph), train, &val, options);
    first = epoch(trainer);
    trainer.save(weights);
  }  // a new one goes on where that one stood, to the last bit
  Trainer trainer(model, Parameters(model.graph), train, &val, options);
  trainer.load(find_checkpoint(weights));
  while (!trainer.finished()) last = epoch(trainer);
  save_state_dict(folder.path / "best.safetensors", trainer.average());
  std::cout << (last < first ? "it learns\n" : "WRONG: it does not learn\n");
  return last < first ? 0 : 1;
}
