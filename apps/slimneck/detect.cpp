// slimneck detect: finds objects in pictures, as YOLOv5's detect does.
#include "slimneck/detect.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "gallery.hpp"
#include "slimneck/image.hpp"
#include "sources.hpp"
#include "stopwatch.hpp"

namespace slimneck::cli {

namespace {

struct DetectArguments {
  ModelArguments model;
  std::vector<std::string> sources;
  NmsOptions nms{.classes = {}, .max_det = 1000};
  GalleryOptions save;
  bool no_save = false, rect = false, square = false, json = false;
  ExecArguments exec;
};

struct Times {
  double pre = 0, inference = 0, nms = 0;
};

struct Found {
  std::vector<Detection> detections;
  Times ms;
  index_t net_h = 0, net_w = 0;
};

/// Picture to detections. Plans are kept by the size of the network's input.
class Detector {
 public:
  explicit Detector(const DetectArguments& arguments)
      : arguments_(arguments),
        open_(open_model(arguments.model)),
        parameters_(open_.parameters()),
        plans_(boxes(), parameters_, arguments.exec.plan(Mode::infer)) {
    const Model& model = open_.model;
    if (model.strides.empty()) throw Error(open_.model.name + ": the model has no Detect");
    input_ = model.graph.shape({0, 0});
    if (input_.c != 3)
      throw Error(open_.model.name + ": the model takes " + std::to_string(input_.c) + " channels; pictures have 3");
    names_ = class_names(open_.metadata(), model.classes);
    for (const int c : arguments.nms.classes)
      if (c >= model.classes)
        throw UsageError("--classes: " + std::to_string(c) + " is not in 0.." + std::to_string(model.classes - 1));
  }

  [[nodiscard]] const std::string& name(int cls) const { return names_[static_cast<std::size_t>(cls)]; }

  Found operator()(const Image& image) {
    const Letterbox geometry = letterbox_geometry(image.height, image.width, input_.h, input_.w, !arguments_.square,
                                                  true, open_.model.max_stride());
    Plan& plan = plans_.at({1, input_.c, geometry.out_h(), geometry.out_w()});
    Found found{.detections = {}, .ms = {}, .net_h = geometry.out_h(), .net_w = geometry.out_w()};
    Stopwatch watch;
    image_to_tensor(letterbox(image, geometry), plan.input());
    found.ms.pre = watch.lap();
    plan.forward();
    found.ms.inference = watch.lap();
    found.detections = non_max_suppression(plan.output("pred"), arguments_.nms);
    scale_boxes(found.detections, found.net_h, found.net_w, image.height, image.width);
    found.ms.nms = watch.lap();
    return found;
  }

  /// The shape that --img asks for; with --rect a picture's own may be smaller.
  [[nodiscard]] const Shape& input() const noexcept { return input_; }

 private:
  /// Boxes alone: raw heads need not leave the plan.
  [[nodiscard]] Graph boxes() const {
    return open_.model.graph.with_outputs([](const Output& o) { return o.name == "pred"; });
  }

  const DetectArguments& arguments_;
  OpenModel open_;
  Parameters parameters_;
  Shape input_;
  std::vector<std::string> names_;
  PlanCache plans_;
};

/// "4 persons, 1 bus, "
std::string summary(const Found& found, const Detector& detector) {
  std::map<int, int> counts;
  for (const Detection& d : found.detections) ++counts[d.cls];
  if (counts.empty()) return "(no detections), ";
  std::string text;
  for (const auto& [cls, count] : counts)
    text += std::to_string(count) + " " + detector.name(cls) + (count > 1 ? "s, " : ", ");
  return text;
}

nlohmann::ordered_json to_json(const std::string& source, const Image& image, const Found& found,
                               const Detector& detector) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Detection& d : found.detections)
    list.push_back(
        {{"class", d.cls}, {"name", detector.name(d.cls)}, {"conf", d.score}, {"xyxy", {d.x1, d.y1, d.x2, d.y2}}});
  return {{"source", source},
          {"width", image.width},
          {"height", image.height},
          {"detections", list},
          {"ms", {{"pre", found.ms.pre}, {"inference", found.ms.inference}, {"nms", found.ms.nms}}}};
}

class Run {
 public:
  explicit Run(const DetectArguments& arguments)
      : arguments_(arguments), pictures_(find_pictures(arguments.sources)), detector_(arguments) {
    if (arguments.save.saves())
      gallery_.emplace(arguments.save, [this](int cls) -> const std::string& { return detector_.name(cls); });
  }

  void operator()() {
    for (std::size_t i = 0; i < pictures_.size(); ++i) picture(i);
    if (done_ > 0) speed();
    if (gallery_) {
      gallery_->finish();
      say("Results saved to " + bold(gallery_->directory().string()));
    }
    if (arguments_.json) print(json_.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
    flush_output();
    if (done_ < pictures_.size())
      throw Error(format("%zu of %zu pictures could not be read", pictures_.size() - done_, pictures_.size()));
  }

 private:
  /// With --json, standard output has nothing else.
  void say(const std::string& line) const {
    if (arguments_.json) return note(line);
    print(line + "\n");
    flush_output();
  }

  /// A broken picture is no reason to give up the others.
  std::optional<Image> read(const std::string& source) const {
    try {
      return read_image(source);
    } catch (const Error& problem) {
      if (pictures_.size() == 1) throw;
      note("skipped: " + printable(problem.what()));
    }
    return std::nullopt;
  }

  void picture(std::size_t i) {
    const std::string& source = pictures_[i];
    std::optional<Image> image = read(source);
    if (!image) return;
    const Found found = detector_(*image);
    say(format("image %zu/%zu %s: %lldx%lld ", i + 1, pictures_.size(), printable(source).c_str(),
               static_cast<long long>(found.net_h), static_cast<long long>(found.net_w)) +
        summary(found, detector_) + format("%.1fms", found.ms.inference));
    ++done_;
    total_.pre += found.ms.pre;
    total_.inference += found.ms.inference;
    total_.nms += found.ms.nms;
    if (arguments_.json) json_.push_back(to_json(source, *image, found, detector_));
    if (gallery_) gallery_->save(source, std::move(*image), found.detections);
  }

  void speed() const {
    const auto pictures = static_cast<double>(done_);
    say(format("Speed: %.1fms pre-process, %.1fms inference, %.1fms NMS per image at shape (1, 3, %lld, %lld)",
               total_.pre / pictures, total_.inference / pictures, total_.nms / pictures,
               static_cast<long long>(detector_.input().h), static_cast<long long>(detector_.input().w)));
  }

  const DetectArguments& arguments_;
  std::vector<std::string> pictures_;
  Detector detector_;
  std::optional<Gallery> gallery_;
  nlohmann::ordered_json json_ = nlohmann::ordered_json::array();
  Times total_;
  std::size_t done_ = 0;  ///< pictures that could be read
};

void run(DetectArguments& arguments) {
  require_weights(arguments.model);
  arguments.save.folder.check();
  if (arguments.save.confidence && !arguments.save.text) throw UsageError("--save-conf goes with --save-txt");
  arguments.save.pictures = !arguments.no_save;
  Run detection(arguments);
  detection();
}

}  // namespace

void add_detect(CLI::App& app) {
  CLI::App* command = app.add_subcommand("detect", "find objects in pictures and draw them");
  auto arguments = std::make_shared<DetectArguments>();
  DetectArguments& a = *arguments;
  a.model.add_to(*command);
  command->add_option("--source", a.sources, "pictures (JPEG, PNG, BMP, PNM), folders, patterns, .txt lists")
      ->type_name("SOURCE")
      ->required();
  command->add_option("--conf-thres,--conf", a.nms.conf, "least confidence (0.25)")->check(real_in(0, 1));
  command->add_option("--iou-thres,--iou", a.nms.iou, "overlap above which the weaker box goes (0.45)")
      ->check(real_in(0, 1));
  command->add_option("--classes", a.nms.classes, "only these class numbers")->check(integer_in(0, 65534));
  command->add_option("--max-det", a.nms.max_det, "most detections per picture (1000)")->check(integer_in(1, 1000000));
  command->add_flag("--agnostic-nms", a.nms.agnostic, "boxes of different classes suppress each other, too");
  command->add_flag("--nosave", a.no_save, "save no drawn pictures");
  a.save.folder.add_to(*command);
  command->add_flag("--save-txt", a.save.text, "save labels/NAME.txt: class, centre and size as parts of the picture");
  command->add_option("--save-format", a.save.text_format, "labels: 0 as said, 1 corners in pixels (0)")
      ->check(integer_in(0, 1));
  command->add_flag("--save-conf", a.save.confidence, "confidence as the last number of a label");
  command->add_flag("--save-csv", a.save.csv, "save predictions.csv");
  command->add_flag("--save-crop", a.save.crops, "save every box as crops/CLASS/NAME.jpg");
  command->add_option("--line-thickness", a.save.thickness, "thickness of boxes (by the picture's size)")
      ->check(integer_in(1, 1000));
  command->add_flag("--hide-labels", a.save.hide_labels, "draw boxes without names");
  command->add_flag("--hide-conf", a.save.hide_confidence, "draw names without confidence");
  CLI::Option* rect = command->add_flag("--rect", a.rect, "pad only up to a multiple of the stride (the default)");
  command->add_flag("--square", a.square, "pad to the whole --img")->excludes(rect);
  a.exec.add_to(*command, false);
  command->add_flag("--json", a.json, "print JSON to standard output, and the rest to standard error");
  command->footer(
      "Examples:\n"
      "  slimneck detect --weights yolov5n.pt --source bus.jpg zidane.jpg\n"
      "  slimneck detect --weights yolov5n.pt --source photos --save-txt --save-conf --nosave\n"
      "  slimneck detect --cfg slimneck-s --weights w.safetensors --source *.png --conf 0.4 --json --nosave");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
