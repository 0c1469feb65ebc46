// From a picture to boxes: 03_detect MODEL WEIGHTS PICTURE, for example 03_detect yolov5n yolov5n.safetensors bus.jpg.
#include <iostream>

#include "slimneck/slimneck.hpp"

using namespace slimneck;

namespace {

void detect(const char* model_name, const char* weights_file, const char* picture_file) {
  // Weights first: their metadata know the dialect and the names of the classes.
  const SafeTensors weights = SafeTensors::read(weights_file);
  const Image picture = read_image(picture_file);

  // The picture is scaled to 640 pixels and padded to a multiple of the network's stride.
  ModelOptions options;
  if (const auto dialect = weights.metadata().find("gsconv_dialect"); dialect != weights.metadata().end())
    options.weights_dialect = dialect->second;
  const index_t stride = load_model(model_name, options).max_stride();
  const Letterbox box = letterbox_geometry(picture.height, picture.width, 640, 640, true, true, stride);
  options.height = box.out_h();
  options.width = box.out_w();
  const Model model = load_model(model_name, options);

  Parameters parameters(model.graph);
  load_state_dict(parameters, weights);
  Plan plan(model.graph, parameters);
  image_to_tensor(letterbox(picture, box), plan.input());
  plan.forward();

  NmsOptions nms;
  nms.max_det = 1000;
  std::vector<Detection> found = non_max_suppression(plan.output("pred"), nms);
  scale_boxes(found, box.out_h(), box.out_w(), picture.height, picture.width);
  const std::vector<std::string> names = class_names(weights.metadata(), model.classes);
  for (const Detection& d : found)
    std::cout << names[static_cast<std::size_t>(d.cls)] << ' ' << d.score << "  " << d.x1 << ' ' << d.y1 << ' ' << d.x2
              << ' ' << d.y2 << '\n';
  std::cout << found.size() << " boxes\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: 03_detect MODEL WEIGHTS PICTURE\n";
    return 2;
  }
  try {
    detect(argv[1], argv[2], argv[3]);
  } catch (const std::exception& problem) {  // which file, and what is wrong with it
    std::cerr << "error: " << problem.what() << '\n';
    return 1;
  }
  return 0;
}
