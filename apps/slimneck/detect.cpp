// slimneck detect: finds objects in pictures and videos, as YOLOv5's detect does.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "detector.hpp"
#include "frames.hpp"
#include "gallery.hpp"
#include "progress.hpp"
#include "saver.hpp"
#include "sources.hpp"
#include "stopwatch.hpp"

namespace slimneck::cli {

namespace {

/// So many pictures have a line each on a terminal; of more there is one that changes.
constexpr std::size_t most_lines = 20;

struct DetectArguments {
  DetectorOptions detector;
  std::vector<std::string> sources;
  GalleryOptions save;
  bool no_save = false, rect = false, json = false;

  /// Standard output is for data: lines go to standard error.
  [[nodiscard]] bool quiet_output() const { return json || save.output == "-"; }
};

/// What all frames took together, in milliseconds.
struct Total {
  Times network;
  double decode = 0, waiting = 0;
};

nlohmann::ordered_json to_json(const std::string& source, const Frame& frame, const Found& found,
                               const Detector& detector, double waiting) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const Detection& d : found.detections)
    list.push_back(
        {{"class", d.cls}, {"name", detector.name(d.cls)}, {"conf", d.score}, {"xyxy", {d.x1, d.y1, d.x2, d.y2}}});
  nlohmann::ordered_json item{{"source", source}};
  if (frame.number > 0) item["frame"] = frame.number;
  item["width"] = frame.image.width;
  item["height"] = frame.image.height;
  item["detections"] = list;
  item["ms"] = {{"decode", frame.decode_ms},
                {"read", waiting},
                {"pre", found.ms.pre},
                {"inference", found.ms.inference},
                {"nms", found.ms.nms}};
  return item;
}

class Run {
 public:
  explicit Run(const DetectArguments& arguments)
      : arguments_(arguments),
        sources_(find_pictures(arguments.sources)),
        detector_(arguments.detector),
        lines_on_terminal_(isatty(arguments.quiet_output() ? STDERR_FILENO : STDOUT_FILENO) == 1) {
    refuse_own_output();
    if (arguments.save.pictures || arguments.save.into_folder())
      gallery_.emplace(arguments.save, [this](int cls) -> const std::string& { return detector_.name(cls); });
  }

  void operator()() {
    Stopwatch all;
    look_at_all();
    progress_.finish();
    if (done_ > 0) {
      speed(all.lap());
      saved();
    }
    if (arguments_.json) print(listed_ > 0 ? "\n]\n" : sources_.size() > 1 ? "[]\n" : "");
    flush_output();
    if (failed_ == 0) return;
    if (sources_.size() == 1) throw Error(problem_);
    throw Error(format("%zu of %zu %s could not be read", failed_, sources_.size(),
                       videos_ ? "pictures and videos" : "pictures"));
  }

 private:
  void refuse_own_output() const {
    const std::string& output = arguments_.save.output;
    if (output.empty() || output == "-") return;
    std::error_code problem;
    for (const std::string& source : sources_)
      if (source != "-" && std::filesystem::equivalent(source, output, problem))
        throw UsageError("--output: " + source + " would be overwritten while it is read");
  }

  void say(const std::string& line) {
    if (lines_on_terminal_) progress_.clear();
    if (arguments_.quiet_output()) return note(line);
    print(line + "\n");
    flush_output();
  }

  void look_at_all() {
    FrameReader reader(sources_, arguments_.save.vid_stride);
    std::optional<Saver> saver;
    if (gallery_) saver.emplace(*gallery_);
    watch_.lap();
    for (std::optional<Frame> frame = reader.next(); frame; frame = reader.next()) {
      const double waiting = watch_.lap();
      if (!is_good(*frame)) continue;
      Found found = look(*frame, waiting);
      if (saver)
        saver->save(
            {.source = sources_[frame->source], .frame = std::move(*frame), .detections = std::move(found.detections)});
      watch_.lap();
    }
    if (saver) saver->finish();
  }

  /// What is broken is no reason to give up the others.
  bool is_good(const Frame& frame) {
    if (failed_ > 0 && frame.source == failed_source_) return false;
    std::string problem = frame.problem;
    if (problem.empty() && !arguments_.save.output.empty()) {
      const Image& image = frame.image;
      if (done_ == 0) extents_ = {image.width, image.height};
      if (extents_ != Extents{image.width, image.height})
        problem = format("%s: %lldx%lld pixels; the video has %lldx%lld", sources_[frame.source].c_str(),
                         static_cast<long long>(image.width), static_cast<long long>(image.height),
                         static_cast<long long>(extents_.width), static_cast<long long>(extents_.height));
    }
    if (problem.empty()) return true;
    ++failed_;
    failed_source_ = frame.source;
    problem_ = std::move(problem);
    if (sources_.size() == 1) return false;
    progress_.clear();
    note((video_source_ == frame.source && videos_ ? "ends early: " : "skipped: ") + printable(problem_));
    return false;
  }

  Found look(const Frame& frame, double waiting) {
    const std::string& source = sources_[frame.source];
    Found found = detector_(frame.image);
    ++done_;
    if (frame.number > 0) {
      videos_ = true;
      video_source_ = frame.source;
    }
    total_.network.pre += found.ms.pre;
    total_.network.inference += found.ms.inference;
    total_.network.nms += found.ms.nms;
    total_.decode += frame.decode_ms;
    total_.waiting += waiting;
    report(frame, found);
    if (arguments_.json) list(to_json(source, frame, found, detector_, waiting));
    return found;
  }

  void report(const Frame& frame, const Found& found) {
    std::string number;
    if (frame.number > 0)
      number = frame.count > 0
                   ? format(" (%lld/%lld)", static_cast<long long>(frame.number), static_cast<long long>(frame.count))
                   : format(" (%lld)", static_cast<long long>(frame.number));
    const std::string line =
        format("%s %zu/%zu%s %s: %lldx%lld ", frame.number > 0 ? "video" : "image", frame.source + 1, sources_.size(),
               number.c_str(), printable(sources_[frame.source]).c_str(), static_cast<long long>(found.net_h),
               static_cast<long long>(found.net_w)) +
        detector_.summary(found) + format("%.1fms", found.ms.inference);
    const bool progress = Progress::possible() && (frame.number > 0 || sources_.size() > most_lines);
    if (!progress || !lines_on_terminal_) say(line);
    if (progress)
      progress_.show(format("%zu images, %.1f per second: ", done_, 1e3 * static_cast<double>(done_) / since_.ms()) +
                     line);
  }

  /// Items are printed as they come: a video may have no end.
  void list(const nlohmann::ordered_json& item) {
    std::string text = item.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    for (std::size_t at = text.find('\n'); at != std::string::npos; at = text.find('\n', at + 1))
      text.insert(at + 1, "  ");
    print((listed_++ == 0 ? "[\n  " : ",\n  ") + text);
    flush_output();
  }

  void speed(double ms) {
    const auto pictures = static_cast<double>(done_);
    const Times& network = total_.network;
    say(format("Speed: %.1fms pre-process, %.1fms inference, %.1fms NMS per image at shape (1, 3, %lld, %lld)",
               network.pre / pictures, network.inference / pictures, network.nms / pictures,
               static_cast<long long>(detector_.input().h), static_cast<long long>(detector_.input().w)));
    if (done_ > 1)
      say(format("%zu images in %.2fs, %.1f per second; %.1fms decoding per image beside it, waiting for images %.1f%%",
                 done_, ms / 1e3, 1e3 * pictures / ms, total_.decode / pictures, 100 * total_.waiting / ms));
  }

  void saved() {
    if (!gallery_) return;
    const std::string& output = arguments_.save.output;
    if (!output.empty() && output != "-") say("Results saved to " + bold(output));
    if (!gallery_->directory().empty()) say("Results saved to " + bold(gallery_->directory().string()));
  }

  const DetectArguments& arguments_;
  std::vector<std::string> sources_;
  Detector detector_;
  std::optional<Gallery> gallery_;
  const bool lines_on_terminal_;
  Progress progress_;
  Stopwatch watch_, since_;
  Total total_;
  std::size_t done_ = 0;                              ///< pictures and frames that could be read
  std::size_t failed_ = 0;                            ///< sources that could not
  std::size_t failed_source_ = 0, video_source_ = 0;  ///< the last ones of their kind
  std::size_t listed_ = 0;
  std::string problem_;  ///< of the last source that failed
  bool videos_ = false;  ///< whether there was one
  Extents extents_;      ///< of the video that --output makes
};

void check_output(const DetectArguments& arguments) {
  const std::string& output = arguments.save.output;
  if (output.empty()) return;
  if (output != "-") {
    if (!output.ends_with(".y4m")) throw UsageError("--output: a file that ends with .y4m, or - for standard output");
    return require_writable(output);
  }
  if (arguments.json) throw UsageError("--json and --output - both want standard output");
  if (isatty(STDOUT_FILENO) == 1)
    throw UsageError("--output -: standard output is a terminal; pipe it: ... --output - | ffplay -");
}

/// Whoever asks for no network gets the one that comes with the library.
void choose_weights(ModelArguments& model) {
  if (!model.cfg.empty() || !model.weights.empty()) return require_weights(model);
  if (!model.init.empty()) return;
  model.weights = default_weights().string();
  constexpr index_t trained_at = 320;
  if (model.img.empty()) model.img = {trained_at};
  note("no --weights: using " + model.weights + ", which knows drawn shapes and nothing else");
}

void run(DetectArguments& arguments) {
  choose_weights(arguments.detector.model);
  arguments.save.folder.check();
  if (arguments.save.confidence && !arguments.save.text) throw UsageError("--save-conf goes with --save-txt");
  const auto inputs = std::count(arguments.sources.begin(), arguments.sources.end(), "-");
  if (inputs > 1) throw UsageError("--source: standard input can be read once");
  if (inputs == 1 && isatty(STDIN_FILENO) == 1)
    throw UsageError("--source -: standard input is a terminal; pipe a picture or a Y4M video into it");
  arguments.save.pictures = !arguments.no_save;
  check_output(arguments);
  Run detection(arguments);
  detection();
}

void refuse_others(CLI::App& command) {
  refuse(command, "--half", "on a CPU networks run in single precision");
  refuse(command, "--view-img", "there are no windows here; --output - | ffplay - shows what is drawn");
  refuse(command, "--visualize", "feature maps are not drawn; slimneck run --layers writes them");
  refuse(command, "--update", "weights stay as they are; slimneck convert writes them anew");
  refuse(command, "--dnn", "networks run on slimneck's own kernels");
}

void add_saving(CLI::App& command, DetectArguments& a) {
  CLI::Option* no_save = command.add_flag("--nosave", a.no_save, "save no drawn pictures or videos");
  command
      .add_option("--output", a.save.output,
                  "everything that is drawn as one video: FILE.y4m, or - for standard output (lines go to standard "
                  "error)")
      ->type_name("FILE")
      ->excludes(no_save);
  a.save.folder.add_to(command);
  command.add_flag("--save-txt", a.save.text,
                   "save labels/NAME.txt (NAME_FRAME.txt): class, centre and size as parts of the picture");
  command.add_option("--save-format", a.save.text_format, "labels: 0 as said, 1 corners in pixels (0)")
      ->type_name("INT")
      ->check(integer_in(0, 1));
  command.add_flag("--save-conf", a.save.confidence, "confidence as the last number of a label");
  command.add_flag("--save-csv", a.save.csv, "save predictions.csv");
  command.add_flag("--save-crop", a.save.crops, "save every box as crops/CLASS/NAME.jpg");
  command.add_option("--line-thickness", a.save.thickness, "thickness of boxes (by the picture's size)")
      ->check(integer_in(1, 1000));
  command.add_flag("--hide-labels", a.save.hide_labels, "draw boxes without names");
  command.add_flag("--hide-conf", a.save.hide_confidence, "draw names without confidence");
}

}  // namespace

void add_detect(CLI::App& app) {
  CLI::App* command = app.add_subcommand("detect", "find objects in pictures and videos and draw them");
  auto arguments = std::make_shared<DetectArguments>();
  DetectArguments& a = *arguments;
  a.detector.model.add_to(*command);
  command
      ->add_option("--source", a.sources,
                   "pictures (JPEG, PNG, BMP, PNM), videos (Y4M), folders, patterns, .txt lists, - for standard input")
      ->type_name("SOURCE")
      ->required();
  command->add_option("--conf-thres,--conf", a.detector.nms.conf, "least confidence (0.25)")->check(real_in(0, 1));
  command->add_option("--iou-thres,--iou", a.detector.nms.iou, "overlap above which the weaker box goes (0.45)")
      ->check(real_in(0, 1));
  command->add_option("--classes", a.detector.nms.classes, "only these class numbers")->check(integer_in(0, 65534));
  command->add_option("--max-det", a.detector.nms.max_det, "most detections per picture (1000)")
      ->check(integer_in(1, 1000000));
  command->add_flag("--agnostic-nms", a.detector.nms.agnostic, "boxes of different classes suppress each other, too");
  add_saving(*command, a);
  CLI::Option* rect = command->add_flag("--rect", a.rect, "pad only up to a multiple of the stride (the default)");
  command->add_flag("--square", a.detector.square, "pad to the whole --img")->excludes(rect);
  a.detector.exec.add_to(*command, false);
  command->add_flag("--augment", a.detector.augment, "look at three sizes, once mirrored, for more objects");
  command->add_option("--vid-stride", a.save.vid_stride, "of so many frames of a video look at the last (1)")
      ->check(integer_in(1, 1000000));
  command->add_option("--data", a.detector.data, "data.yaml with the names of the classes (what the weights hold)")
      ->type_name("FILE");
  refuse_others(*command);
  command->add_flag("--json", a.json, "print JSON to standard output, and the rest to standard error");
  command->footer(
      "Examples:\n"
      "  slimneck detect --weights yolov5n.pt --source bus.jpg zidane.jpg\n"
      "  slimneck detect --weights yolov5n.pt --source photos --save-txt --save-conf --nosave\n"
      "  ffmpeg -i a.mp4 -f yuv4mpegpipe -pix_fmt yuv420p - |\n"
      "    slimneck detect --weights yolov5n.pt --source - --output - | ffplay -\n"
      "  slimneck detect --cfg slimneck-s --weights w.safetensors --source *.png --conf 0.4 --json --nosave");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
