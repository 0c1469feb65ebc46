// slimneck detect: finds objects in pictures, as YOLOv5's detect does.
#include "slimneck/detect.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "cli.hpp"
#include "slimneck/image.hpp"
#include "stopwatch.hpp"

namespace slimneck::cli {

namespace fs = std::filesystem;

namespace {

struct DetectArguments {
  ModelArguments model;
  std::vector<std::string> sources;
  NmsOptions nms{.classes = {}, .max_det = 1000};
  std::string project = "runs/detect", name = "exp";
  bool no_save = false, exist_ok = false, rect = false, square = false, json = false;
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
        plans_(boxes(), parameters_, {.mode = Mode::infer, .exec = arguments.exec.exec(), .input_gradients = false}) {
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

/// project/name, or project/name2, name3, ...: the first that could be made is ours.
fs::path make_run_directory(const DetectArguments& arguments) {
  fs::path wanted = fs::path(arguments.project) / arguments.name;
  std::error_code problem;
  fs::create_directories(arguments.exist_ok ? wanted : wanted.parent_path(), problem);
  if (problem) throw IoError(wanted.string() + ": cannot be made: " + problem.message());
  if (arguments.exist_ok) return wanted;
  constexpr int most = 10000;
  for (int i = 1; i < most; ++i) {
    fs::path path = i == 1 ? wanted : fs::path(wanted.string() + std::to_string(i));
    if (mkdir(path.c_str(), 0777) == 0) return path;
    if (errno != EEXIST) throw IoError(path.string() + ": cannot be made: " + std::strerror(errno));
  }
  throw IoError(wanted.string() + ": there are too many runs of this name");
}

/// Draws what was found and saves it under the picture's name; two pictures of one name do not share a file.
class Gallery {
 public:
  explicit Gallery(fs::path directory) : directory_(std::move(directory)) {}

  [[nodiscard]] const fs::path& directory() const noexcept { return directory_; }

  void save(const fs::path& source, Image image, const Found& found, const Detector& detector) {
    const index_t thickness = line_width(image);
    // The best ones last, so that they lie on top.
    for (auto d = found.detections.rbegin(); d != found.detections.rend(); ++d)
      draw_box(image, {d->x1, d->y1, d->x2, d->y2},
               detector.name(d->cls) + format(" %.2f", static_cast<double>(d->score)), class_colour(d->cls), thickness);
    const Uninterrupted shield;
    write_image(directory_ / file_name(source), image);
  }

 private:
  std::string file_name(const fs::path& source) {
    static const std::set<std::string> writable{".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG"};
    const std::string stem = source.stem().string();
    const std::string extension = source.extension().string();
    const std::string ending = writable.contains(extension) ? extension : extension + ".jpg";
    std::string name = stem + ending;
    for (int i = 2; !used_.insert(name).second; ++i) name = numbered(stem, i) + ending;
    return name;
  }

  static std::string numbered(std::string stem, int i) { return stem.append("-").append(std::to_string(i)); }

  fs::path directory_;
  std::set<std::string> used_;
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

void check_sources(const DetectArguments& arguments) {
  for (const std::string& source : arguments.sources) {
    std::error_code problem;
    if (!fs::exists(source, problem)) throw IoError(source + ": there is no such file");
    if (fs::is_directory(source, problem)) throw IoError(source + ": is a directory; --source takes picture files");
  }
}

void run(const DetectArguments& arguments) {
  require_weights(arguments.model);
  check_sources(arguments);
  if (arguments.project.empty() || arguments.name.empty()) throw UsageError("--project and --name may not be empty");
  Detector detector(arguments);
  std::optional<Gallery> gallery;
  if (!arguments.no_save) gallery.emplace(make_run_directory(arguments));

  // With --json, standard output has nothing else.
  const auto say = [&](const std::string& line) {
    if (arguments.json) return note(line);
    print(line + "\n");
    flush_output();
  };
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  Times total;
  const std::size_t count = arguments.sources.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::string& source = arguments.sources[i];
    const Image image = read_image(source);
    const Found found = detector(image);
    say(format("image %zu/%zu %s: %lldx%lld ", i + 1, count, printable(source).c_str(),
               static_cast<long long>(found.net_h), static_cast<long long>(found.net_w)) +
        summary(found, detector) + format("%.1fms", found.ms.inference));
    total.pre += found.ms.pre;
    total.inference += found.ms.inference;
    total.nms += found.ms.nms;
    if (arguments.json) json.push_back(to_json(source, image, found, detector));
    if (gallery) gallery->save(source, image, found, detector);
  }
  const auto pictures = static_cast<double>(count);
  say(format("Speed: %.1fms pre-process, %.1fms inference, %.1fms NMS per image at shape (1, 3, %lld, %lld)",
             total.pre / pictures, total.inference / pictures, total.nms / pictures,
             static_cast<long long>(detector.input().h), static_cast<long long>(detector.input().w)));
  if (gallery) say("Results saved to " + bold(gallery->directory().string()));
  if (arguments.json) print(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

}  // namespace

void add_detect(CLI::App& app) {
  CLI::App* command = app.add_subcommand("detect", "find objects in pictures and draw them");
  auto arguments = std::make_shared<DetectArguments>();
  DetectArguments& a = *arguments;
  a.model.add_to(*command);
  command->add_option("--source", a.sources, "pictures: JPEG, PNG, BMP, PNM")->type_name("FILE")->required();
  command->add_option("--conf-thres,--conf", a.nms.conf, "least confidence (0.25)")->check(real_in(0, 1));
  command->add_option("--iou-thres,--iou", a.nms.iou, "overlap above which the weaker box goes (0.45)")
      ->check(real_in(0, 1));
  command->add_option("--classes", a.nms.classes, "only these class numbers")->check(integer_in(0, 65534));
  command->add_option("--max-det", a.nms.max_det, "most detections per picture (1000)")->check(integer_in(1, 1000000));
  command->add_flag("--agnostic-nms", a.nms.agnostic, "boxes of different classes suppress each other, too");
  command->add_flag("--nosave", a.no_save, "draw and save nothing");
  command->add_option("--project", a.project, "folder of the runs (runs/detect)")->type_name("DIR");
  command->add_option("--name", a.name, "folder of this run within it (exp)")->type_name("DIR");
  command->add_flag("--exist-ok", a.exist_ok, "write into project/name even if it exists");
  CLI::Option* rect = command->add_flag("--rect", a.rect, "pad only up to a multiple of the stride (the default)");
  command->add_flag("--square", a.square, "pad to the whole --img")->excludes(rect);
  a.exec.add_to(*command, false);
  command->add_flag("--json", a.json, "print JSON to standard output, and the rest to standard error");
  command->footer(
      "Examples:\n"
      "  slimneck detect --cfg yolov5n --weights yolov5n.safetensors --source bus.jpg zidane.jpg\n"
      "  slimneck detect --cfg slimneck-s --weights w.safetensors --source *.png --conf 0.4 --json --nosave");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
