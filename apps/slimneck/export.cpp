// slimneck export: a network in a form that other programs run.
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "cli.hpp"
#include "slimneck/onnx.hpp"

namespace slimneck::cli {

namespace {

namespace fs = std::filesystem;

struct ExportArguments {
  ModelArguments model;
  std::vector<std::string> include{"onnx"};
  std::string output;
  index_t batch = 1;
  int opset = 17;
  bool dynamic = false;
};

/// Where a format goes: --output, else beside the weights under their name, else here under the model's.
fs::path target(const ExportArguments& arguments, const OpenModel& open, const std::string& format) {
  if (!arguments.output.empty()) return arguments.output;
  if (arguments.model.weights.empty()) return open.model.name + "." + format;
  return fs::path(arguments.model.weights).replace_extension(format);
}

/// Class names as a list, which JSON and Python read alike, and the stride as YOLOv5 writes it.
std::map<std::string, std::string> describe(const OpenModel& open) {
  std::map<std::string, std::string> metadata{{"stride", std::to_string(open.model.max_stride())}};
  if (open.model.classes > 0)
    metadata[std::string(metadata_key::names)] = nlohmann::json(class_names(open.metadata(), open.model.classes))
                                                     .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  metadata[std::string(metadata_key::dialect)] = open.model.dialect;
  return metadata;
}

void check_targets(const ExportArguments& arguments, const OpenModel& open) {
  if (std::set(arguments.include.begin(), arguments.include.end()).size() != arguments.include.size())
    throw UsageError("--include names a format twice");
  if (!arguments.output.empty() && arguments.include.size() > 1)
    throw UsageError("--output goes with one format of --include");
  for (const std::string& format : arguments.include) {
    require_writable(target(arguments, open, format).string());
    if (std::error_code problem; !arguments.model.weights.empty() &&
                                 fs::equivalent(arguments.model.weights, target(arguments, open, format), problem))
      throw UsageError(arguments.model.weights + ": the export would replace the weights; --output names another file");
  }
}

void run(const ExportArguments& arguments) {
  require_weights(arguments.model);
  OpenModel open = open_model(arguments.model);
  check_targets(arguments, open);
  const Parameters parameters = open.parameters();
  open.model.graph = with_batch(open.model.graph, arguments.batch);
  std::map<std::string, std::string> metadata = describe(open);
  for (const std::string& format : arguments.include) {
    const fs::path path = target(arguments, open, format);
    const Uninterrupted shield;
    if (format == "onnx") {
      write_onnx(path, open.model, parameters, metadata, {.opset = arguments.opset, .dynamic = arguments.dynamic});
    } else {
      std::map<std::string, std::string> all = open.metadata();
      for (const auto& [key, value] : metadata) all[key] = value;
      save_state_dict(path, parameters, all);
    }
    print("Results saved to " + bold(path.string()) + "\n");
  }
}

}  // namespace

void add_export(CLI::App& app) {
  CLI::App* command = app.add_subcommand("export", "a network as ONNX, or its weights as safetensors");
  auto arguments = std::make_shared<ExportArguments>();
  ExportArguments& a = *arguments;
  a.model.add_to(*command);
  command->add_option("--include", a.include, "formats: onnx, safetensors (onnx)")
      ->check(CLI::IsMember({"onnx", "safetensors"}));
  command->add_option("--output", a.output, "file to write (beside the weights)")->type_name("FILE");
  command->add_option("--batch-size,--batch", a.batch, "pictures at once (1)")->check(integer_in(1, 65535));
  command->add_flag("--dynamic", a.dynamic, "leave batch, height and width open");
  command->add_option("--opset", a.opset, "version of ONNX's operators, 11..17 (17)")->check(integer_in(11, 17));
  command->footer(
      "The ONNX file reads images (n x 3 x h x w, RGB, 0..1) and gives output0 (n x rows x 5 + classes: centre x, y,\n"
      "width, height in pixels, objectness, class scores). Class names and stride stand in its metadata.\n"
      "Examples:\n"
      "  slimneck export --weights yolov5n.pt --include onnx\n"
      "  slimneck export --cfg slimneck-n --weights w.safetensors --img 320 --dynamic --output n.onnx");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
