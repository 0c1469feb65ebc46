// slimneck val: how well a network finds the objects of a data set, as YOLOv5's val measures it.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "cli.hpp"
#include "progress.hpp"
#include "slimneck/evaluate.hpp"
#include "val_files.hpp"
#include "val_table.hpp"

namespace slimneck::cli {

namespace {

struct ValArguments {
  ModelArguments model;
  std::string data, task = "val", metric = "yolov5";
  EvaluateOptions evaluate;
  ValFilesOptions save;
  ExecArguments exec;
  bool rect = false, square = false, verbose = false, json = false;
};

Split split_of(const std::string& task) {
  for (const Split split : {Split::train, Split::test})
    if (task == to_string(split)) return split;
  return Split::val;
}

DataSet scan(const DataConfig& config, const ValArguments& arguments) {
  note_all("warning", config.warnings);
  DataSet data = scan_data(config, split_of(arguments.task),
                           {.single_cls = arguments.evaluate.single_cls, .threads = arguments.exec.threads});
  note_all("warning", data.notices);
  note_all("skipped", data.problems);
  return data;
}

/// Of the classes as they are judged.
std::vector<std::string> judged_names(const DataConfig& config, bool single_cls) {
  return single_cls && config.nc() != 1 ? std::vector<std::string>{"item"} : config.names;
}

/// Size of the network's input, which the model was opened for.
index_t input_size(const Model& model) {
  const Shape input = model.graph.shape({0, 0});
  if (input.h != input.w) throw UsageError("--img: pictures of a data set are seen in one SIZE");
  return input.h;
}

nlohmann::ordered_json to_json(const ValRow& row) {
  nlohmann::ordered_json json;
  if (row.cls >= 0) json = {{"class", row.cls}, {"name", row.name}};
  json["images"] = row.images;
  json["labels"] = row.labels;
  json["P"] = row.p;
  json["R"] = row.r;
  json["mAP50"] = row.ap50;
  json["mAP50_95"] = row.ap;
  return json;
}

class Validation {
 public:
  explicit Validation(const ValArguments& arguments)
      : arguments_(arguments),
        config_(load_data(arguments.data)),
        names_(judged_names(config_, arguments.evaluate.single_cls)),
        open_(open_model(arguments.model)),
        img_(input_size(open_.model)),
        parameters_(open_.parameters()),
        data_(scan(config_, arguments)),
        evaluator_(open_.model, parameters_, data_, options()) {
    if (arguments.save.json) requests_.emplace();
    if (arguments.save.saves()) files_.emplace(arguments.save, data_, names_, json_name());
  }

  void operator()() {
    const Evaluation evaluation =
        evaluator_([this](const Batch& batch, std::span<const Judged> judged) { after_batch(batch, judged); });
    progress_.clear();
    const Metrics metrics = yolov5_metrics(evaluation.judged);
    stop_if_asked();
    if (metrics.labels == 0) note("warning: there are no labels in " + data_.name + ": nothing can be measured");
    std::optional<CocoMetrics> coco;
    if (arguments_.metric == "coco") coco = coco_metrics(evaluation.judged);
    const std::vector<ValRow> rows = val_rows(metrics, coco ? &*coco : nullptr, names_);
    table(rows);
    if (coco) say(figures(*coco));
    speed(evaluation.ms);
    if (files_) {
      files_->finish(metrics);
      say("Results saved to " + bold(files_->directory().string()));
    }
    if (arguments_.json) print(json(rows, coco, evaluation).dump(2, ' ', false, replace) + "\n");
    flush_output();
  }

 private:
  static constexpr auto replace = nlohmann::ordered_json::error_handler_t::replace;

  [[nodiscard]] EvaluateOptions options() const {
    EvaluateOptions o = arguments_.evaluate;
    o.img = img_;
    o.plan = arguments_.exec.plan(Mode::infer);
    return o;
  }

  [[nodiscard]] std::string json_name() const {
    const std::string stem = std::filesystem::path(arguments_.model.weights).stem().string();
    return (stem.empty() ? "" : stem + "_") + "predictions.json";
  }

  /// With --json, standard output has nothing else.
  void say(const std::string& line) const {
    if (arguments_.json) return note(line);
    print(line + "\n");
    flush_output();
  }

  static void stop_if_asked() {
    if (StopRequests::code() != 0) throw Stopped(StopRequests::code(), "stopped: there is no result");
  }

  void after_batch(const Batch& batch, std::span<const Judged> judged) {
    if (!batch.skipped.empty()) progress_.clear();
    for (const std::string& problem : batch.skipped) note("skipped: " + printable(problem));
    if (files_) files_->add(batch, judged);
    ++batches_;
    stop_if_asked();
    if (Progress::possible())
      progress_.show(
          format("batch %lld/%lld", static_cast<long long>(batches_), static_cast<long long>(evaluator_.batches())));
  }

  /// A single class says the same as all.
  void table(const std::vector<ValRow>& rows) const {
    constexpr std::size_t few = 50;
    const bool each = (arguments_.verbose || names_.size() < few) && names_.size() > 1;
    say(val_head());
    for (const ValRow& row : rows)
      if (row.cls < 0 || each) say(val_line(row));
  }

  static std::string figures(const CocoMetrics& coco) {
    std::string text;
    for (std::size_t i = 0; i < coco.figures.size(); ++i)
      text += format("%s%9s %.3f", i == 0 ? "" : (i % 6 == 0 ? "\n" : " "), std::string(CocoMetrics::names[i]).c_str(),
                     coco.figures[i]);
    return text;
  }

  void speed(const EvaluateTimes& ms) const {
    say(format("Speed: %.1fms pre-process, %.1fms inference, %.1fms NMS per image at shape (%lld, 3, %lld, %lld)",
               ms.pre, ms.inference, ms.nms, static_cast<long long>(arguments_.evaluate.batch),
               static_cast<long long>(img_), static_cast<long long>(img_)));
  }

  [[nodiscard]] nlohmann::ordered_json json(const std::vector<ValRow>& rows, const std::optional<CocoMetrics>& coco,
                                            const Evaluation& evaluation) const {
    nlohmann::ordered_json json = to_json(rows[0]);
    json["skipped"] = data_.found - rows[0].images;
    json["classes"] = nlohmann::ordered_json::array();
    for (std::size_t i = 1; i < rows.size(); ++i) json["classes"].push_back(to_json(rows[i]));
    if (coco)
      for (std::size_t i = 0; i < coco->figures.size(); ++i)
        json["coco"][std::string(CocoMetrics::names[i])] = coco->figures[i];
    const EvaluateTimes& ms = evaluation.ms;
    json["speed_ms"] = {{"pre", ms.pre}, {"inference", ms.inference}, {"nms", ms.nms}};
    return json;
  }

  const ValArguments& arguments_;
  DataConfig config_;
  std::vector<std::string> names_;
  OpenModel open_;
  index_t img_;
  Parameters parameters_;
  DataSet data_;  // scanned last: it may take minutes
  Evaluator evaluator_;
  std::optional<StopRequests> requests_;  ///< half a list would stay if Ctrl-C ended the program at once
  std::optional<ValFiles> files_;
  Progress progress_;
  index_t batches_ = 0;
};

void run(ValArguments& arguments, const CLI::App& command) {
  require_weights(arguments.model);
  for (const index_t size : arguments.model.img)
    if (size > LoaderOptions::most_img)
      throw UsageError(format("--img %lld: pictures of a data set are seen in at most %lld pixels",
                              static_cast<long long>(size), static_cast<long long>(LoaderOptions::most_img)));
  arguments.save.folder.check();
  if (arguments.save.confidence && !arguments.save.text) throw UsageError("--save-conf goes with --save-txt");
  arguments.evaluate.rect = !arguments.square;
  if (arguments.task == "speed") {  // what a detector does all day
    if (command.count("--conf-thres") == 0) arguments.evaluate.conf = NmsOptions{}.conf;
    if (command.count("--iou-thres") == 0) arguments.evaluate.iou = NmsOptions{}.iou;
    arguments.evaluate.rect = arguments.rect;
    arguments.save.plots = false;
  }
  Validation validation(arguments);
  validation();
}

void add_save_options(CLI::App& command, ValArguments& a) {
  a.save.folder.add_to(command);
  command.add_flag("--save-txt", a.save.text, "save labels/NAME.txt: class, centre and size as parts of the picture");
  command.add_flag("--save-conf", a.save.confidence, "confidence as the last number of a label");
  command.add_flag("--save-json", a.save.json, "save WEIGHTS_predictions.json, in COCO's format");
  command.add_flag("--plots,!--noplots", a.save.plots, "save curves, confusion matrix and mosaics (the default)");
}

}  // namespace

void add_val(CLI::App& app) {
  CLI::App* command = app.add_subcommand("val", "measure how well a network finds the objects of a data set");
  auto arguments = std::make_shared<ValArguments>();
  ValArguments& a = *arguments;
  constexpr int most_workers = 8;
  a.evaluate.workers = std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, most_workers);
  a.model.add_to(*command);
  command->add_option("--data", a.data, "data set: a data.yaml")->type_name("FILE")->required();
  command->add_option("--task", a.task, "train, val or test: that part of the data; speed: as detect runs (val)")
      ->check(one_of({"train", "val", "test", "speed"}));
  command->add_option("--metric", a.metric, "whose rule mAP follows: yolov5 or coco (yolov5)")
      ->check(one_of({"yolov5", "coco"}));
  command->add_option("--batch-size,--batch", a.evaluate.batch, "pictures of a batch (32)")
      ->check(integer_in(1, 65535));
  command->add_option("--conf-thres,--conf", a.evaluate.conf, "least confidence (0.001)")->check(real_in(0, 1));
  command->add_option("--iou-thres,--iou", a.evaluate.iou, "overlap above which the weaker box goes (0.6)")
      ->check(real_in(0, 1));
  command->add_option("--max-det", a.evaluate.max_det, "most detections per picture (300)")
      ->check(integer_in(1, 1000000));
  command->add_flag("--single-cls", a.evaluate.single_cls, "judge as if there were one class");
  command->add_flag("--augment", a.evaluate.augment, "look at each picture in three sizes, once mirrored");
  CLI::Option* rect = command->add_flag("--rect", a.rect, "batches of one aspect ratio, little padding (the default)");
  command->add_flag("--square", a.square, "pad to the whole --img")->excludes(rect);
  command->add_flag("--verbose", a.verbose, "a row for each class, even where there are 50 or more");
  add_save_options(*command, a);
  command->add_option("--workers", a.evaluate.workers, "threads that read pictures ahead (one a processor, at most 8)")
      ->check(integer_in(0, 1024));
  a.exec.add_to(*command, false);
  refuse(*command, "--half", "on a CPU networks run in single precision");
  refuse(*command, "--dnn", "networks run on slimneck's own kernels");
  refuse(*command, "--save-hybrid", "labels are not mixed with what was found");
  command->add_flag("--json", a.json, "print JSON to standard output, and the rest to standard error");
  command->footer(
      "Examples:\n"
      "  slimneck val --weights yolov5n.pt --data coco.yaml\n"
      "  slimneck val --weights best.safetensors --data my.yaml --task test --metric coco --json\n"
      "  slimneck val --weights yolov5n.pt --data coco.yaml --task speed --batch-size 1");
  command->callback([arguments, command] { run(*arguments, *command); });
}

}  // namespace slimneck::cli
