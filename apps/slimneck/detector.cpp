#include "detector.hpp"

#include <map>

#include "slimneck/data.hpp"
#include "slimneck/files.hpp"
#include "stopwatch.hpp"

namespace slimneck::cli {

namespace {

std::vector<std::string> names_of(const DetectorOptions& options, const OpenModel& open) {
  if (options.data.empty()) return class_names(open.metadata(), open.model.classes);
  constexpr std::uint64_t most_bytes = std::uint64_t{1} << 20;
  DataConfig data = parse_data(read_text(options.data, most_bytes), options.data);
  if (data.nc() != open.model.classes)
    throw Error(options.data + ": names " + std::to_string(data.nc()) + " classes; the model has " +
                std::to_string(open.model.classes));
  for (std::string& name : data.names) name = printable(name);
  return data.names;
}

/// Boxes alone: raw heads need not leave the plan.
Graph boxes_of(const Model& model) {
  return model.graph.with_outputs([](const Output& o) { return o.name == "pred"; });
}

}  // namespace

Detector::Detector(const DetectorOptions& options)
    : options_(options), open_(open_model(options.model)), parameters_(open_.parameters()) {
  const Model& model = open_.model;
  if (model.strides.empty()) throw Error(model.name + ": the model has no Detect");
  input_ = model.graph.shape({0, 0});
  if (input_.c != 3)
    throw Error(model.name + ": the model takes " + std::to_string(input_.c) + " channels; pictures have 3");
  names_ = names_of(options, open_);
  for (const int c : options.nms.classes)
    if (c >= model.classes)
      throw UsageError("--classes: " + std::to_string(c) + " is not in 0.." + std::to_string(model.classes - 1));
  const PlanOptions plan = options.exec.plan(Mode::infer);
  if (options.augment)
    augmented_.emplace(model, parameters_, plan);
  else
    plans_.emplace(boxes_of(model), parameters_, plan);
}

Found Detector::operator()(const Image& image) {
  const Letterbox geometry = letterbox_geometry(image.height, image.width, input_.h, input_.w, !options_.square, true,
                                                open_.model.max_stride());
  Found found{.detections = {}, .ms = {}, .net_h = geometry.out_h(), .net_w = geometry.out_w()};
  const Shape shape{1, input_.c, found.net_h, found.net_w};
  Plan* const plan = plans_ ? &plans_->at(shape) : nullptr;
  const View<float> input = plan != nullptr ? plan->input() : augmented_->input(shape);
  Stopwatch watch;
  image_to_tensor(letterbox(image, geometry), input);
  found.ms.pre = watch.lap();
  View<const float> rows;
  if (plan != nullptr) {
    plan->forward();
    plan->wait();
    rows = plan->output("pred");
  } else {
    rows = augmented_->forward();
  }
  found.ms.inference = watch.lap();
  found.detections = non_max_suppression(rows, options_.nms);
  scale_boxes(found.detections, found.net_h, found.net_w, image.height, image.width);
  found.ms.nms = watch.lap();
  return found;
}

std::string Detector::summary(const Found& found) const {
  std::map<int, int> counts;
  for (const Detection& d : found.detections) ++counts[d.cls];
  if (counts.empty()) return "(no detections), ";
  std::string text;
  for (const auto& [cls, count] : counts) text += std::to_string(count) + " " + name(cls) + (count > 1 ? "s, " : ", ");
  return text;
}

}  // namespace slimneck::cli
