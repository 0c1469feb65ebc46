// slimneck compare: are the operations that DSC, GSConv and Ghost save time that they save?
#include <unistd.h>

#include "cli.hpp"
#include "compare_report.hpp"
#include "compare_verdict.hpp"
#include "page_charts.hpp"
#include "page_compare.hpp"
#include "page_network.hpp"
#include "slimneck/files.hpp"

namespace slimneck::cli {

namespace {

struct CompareArguments {
  LayerShape layer;
  index_t hw = 80;
  bool one_layer = false;  ///< some of its sizes were given
  std::string layers, model, act = "SiLU", peer, html, svg;
  index_t img = 640;
  std::vector<std::string> ops, passes;
  index_t batch = 1, repetitions = 25;
  double time = 5;
  ExecArguments exec;
  bool json = false, csv = false, details = false;
};

std::vector<Pass> passes_of(const CompareArguments& arguments, std::size_t layers) {
  if (arguments.passes.empty())
    return layers == 1 ? std::vector<Pass>{all_passes.begin(), all_passes.end()}
                       : std::vector<Pass>{Pass::fwd, Pass::fwdbwd};
  std::vector<Pass> passes;
  for (const Pass pass : all_passes)
    if (std::find(arguments.passes.begin(), arguments.passes.end(), name_of(pass)) != arguments.passes.end())
      passes.push_back(pass);
  return passes;
}

/// SC first, each once.
std::vector<Op> ops_of(const CompareArguments& arguments) {
  std::vector<std::string> names{"sc"};
  const std::vector<std::string> standard{"dsc", "gsconv", "gsconv-unfused"};
  for (const std::string& name : arguments.ops.empty() ? standard : arguments.ops)
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  std::vector<Op> ops;
  for (const std::string& name : names) ops.push_back(op_of(name));
  return ops;
}

std::vector<LayerShape> layers_for(const CompareArguments& arguments) {
  if (!arguments.layers.empty()) return read_layers(arguments.layers);
  if (!arguments.one_layer) return default_layers();
  LayerShape layer = arguments.layer;
  layer.h = layer.w = arguments.hw;
  layer.name = "layer";
  return {layer};
}

CompareOptions options_of(const CompareArguments& arguments, std::size_t layers) {
  CompareOptions options;
  options.ops = ops_of(arguments);
  options.passes = passes_of(arguments, layers);
  options.batch = arguments.batch;
  options.act = *find_activation(arguments.act);
  options.exec = arguments.exec.exec();
  options.ordinal = arguments.exec.device.ordinal;
  if (options.exec.threads == 0) options.exec.threads = measure::threads_here();
  options.repetitions = static_cast<int>(arguments.repetitions);
  options.time = arguments.time;
  options.peer = !arguments.peer.empty();
  return options;
}

void print_progress(const Comparison& all, std::size_t layers) {
  if (isatty(STDERR_FILENO) != 1) return;
  const CompareLayer& last = all.layers.back();
  note(format("%zu of %zu: %s %s", all.layers.size(), layers, last.shape.name.c_str(), last.shape.geometry().c_str()));
}

void print_text(const CompareArguments& arguments, const Comparison& all) {
  print(machine_text(all) + "\n");
  const bool one = all.layers.size() == 1;
  if (!one || arguments.details) print(summary(all) + "\n");
  if (one || arguments.details)
    for (const CompareLayer& layer : all.layers) print(details(all, layer) + "\n");
  if (!arguments.model.empty()) print(model_text(all) + "\n");
  print(bold(conclusion(all)) + "\n");
}

/// What the numbers are of.
std::string subject_of(const CompareArguments& arguments, const Comparison& all) {
  if (!arguments.model.empty())
    return format("the convolutions of %s at %lld", arguments.model.c_str(), static_cast<long long>(arguments.img));
  if (arguments.layers.empty() && !arguments.one_layer) return "ten layers of YOLOv5s at 640";
  return all.layers.size() == 1 ? all.layers[0].shape.geometry() : format("%zu layers", all.layers.size());
}

/// The network in inference on this many threads, its steps timed.
std::string network_of(const CompareArguments& arguments, const OpenModel& open) {
  constexpr int runs = 15;
  Parameters parameters = open.parameters();
  const PlanOptions options = arguments.exec.plan(Mode::infer);
  Plan plan(with_batch(results_only(open.model.graph), arguments.batch), parameters, options);
  fill_like_picture(plan.input());
  const measure::Pinned pinned(options.exec.threads > 0 ? options.exec.threads : measure::threads_here());
  return network_sections(open.model, plan, time_steps(plan, false, runs));
}

void write_files(const CompareArguments& arguments, const Comparison& all, const std::optional<OpenModel>& model) {
  const std::string subject = subject_of(arguments, all);
  const std::string title = "Operations and time: " + subject;
  if (!arguments.html.empty()) {
    const std::string text = compare_page(title, all, model ? network_of(arguments, *model) : "");
    const Uninterrupted shield;
    write_text(arguments.html, text);
  }
  if (!arguments.svg.empty()) {
    const Uninterrupted shield;
    write_text(arguments.svg, summary_picture(all, subject));
  }
  for (const std::string& path : {arguments.html, arguments.svg})
    if (!path.empty()) note("written: " + path);
}

void run(const CompareArguments& arguments) {
  if (!arguments.peer.empty() && peer_name().empty())
    throw UsageError(
        "--peer onednn: this program was built without oneDNN (install libdnnl-dev and build with "
        "-DSLIMNECK_BUILD_BENCH=ON)");
  for (const std::string& path : {arguments.html, arguments.svg})
    if (!path.empty()) require_writable(path);
  ModelLayers wanted;
  std::optional<OpenModel> model;
  if (arguments.model.empty()) {
    wanted.layers = layers_for(arguments);
  } else {
    ModelArguments which;
    which.cfg = arguments.model;
    which.img = {arguments.img};
    model = open_model(which);
    wanted = layers_of(model->model);
    if (wanted.layers.empty()) throw Error(arguments.model + " has no standard convolution that others can replace");
  }
  Comparison all = compare(options_of(arguments, wanted.layers.size()), wanted.layers,
                           [&](const Comparison& so_far) { print_progress(so_far, wanted.layers.size()); });
  all.skipped = wanted.skipped;
  if (arguments.json)
    print(json_of(all).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  else if (arguments.csv)
    print(csv_of(json_of(all)));
  else
    print_text(arguments, all);
  write_files(arguments, all, model);
}

void add_layer_options(CLI::App& command, CompareArguments& a) {
  constexpr const char* group = "Layers (ten of YOLOv5s at 640)";
  constexpr index_t most_map = 65535, most_kernel = 1024;
  const auto size = [&](const char* name, index_t& value, const char* help, index_t most) {
    return command
        .add_option_function<index_t>(
            name,
            [&a, &value](const index_t& given) {
              value = given;
              a.one_layer = true;
            },
            help)
        ->check(integer_in(1, most))
        ->group(group);
  };
  std::vector<CLI::Option*> one{size("--c1", a.layer.c1, "one layer: channels in (64)", max_channels),
                                size("--c2", a.layer.c2, "channels out (64)", max_channels),
                                size("--hw", a.hw, "height and width of the input (80)", most_map),
                                size("--k", a.layer.k, "kernel (3)", most_kernel),
                                size("--s", a.layer.s, "stride (1)", most_kernel)};
  CLI::Option* file =
      command.add_option("--layers", a.layers, "layers of a file, a line each: name=P3 c1=64 c2=128 k=3 s=2 hw=80")
          ->type_name("FILE")
          ->group(group);
  CLI::Option* model = command.add_option("--model,--cfg", a.model, "every different standard convolution of a model")
                           ->type_name("MODEL")
                           ->excludes(file)
                           ->group(group);
  command.add_option("--img,--imgsz,--img-size", a.img, "size of the model's input (640)")
      ->check(integer_in(1, 65535))
      ->needs(model)
      ->group(group);
  for (CLI::Option* option : one) option->excludes(file)->excludes(model);
}

void add_what(CLI::App& command, CompareArguments& a) {
  command
      .add_option("--ops", a.ops,
                  "sc, dsc, dw, gsconv, gsconvns, ghost, each also with -unfused (sc,dsc,gsconv,gsconv-unfused)")
      ->type_name("OP,...")
      ->delimiter(',')
      ->allow_extra_args(false);
  command
      .add_option("--passes", a.passes,
                  "fwd: inference, bwd: both gradients, fwdbwd: a training step (one layer: all, else fwd,fwdbwd)")
      ->type_name("PASS,...")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember({"fwd", "bwd", "fwdbwd"}));
  command.add_option("--batch", a.batch, "pictures at once (1)")->check(integer_in(1, 4096));
  command.add_option("--act", a.act, "activation (SiLU)")->check(activation_name());
  command.add_option("--repetitions", a.repetitions, "of every row at least (25)")->check(integer_in(1, 100000));
  command
      .add_option("--peer", a.peer, "also its SC, DSC and GSConv, as good as it can and as frameworks call it: onednn")
      ->check(CLI::IsMember({"onednn"}));
  command.add_option("--time", a.time, "seconds after which a layer is not repeated for noise (5)")
      ->check(real_in(0.01, 3600));
}

}  // namespace

void add_compare(CLI::App& app) {
  CLI::App* command = app.add_subcommand("compare", "SC, DSC, GSConv, Ghost: their operations beside their time");
  auto arguments = std::make_shared<CompareArguments>();
  add_layer_options(*command, *arguments);
  add_what(*command, *arguments);
  arguments->exec.threads = 1;
  arguments->exec.add_to(*command, false);
  CLI::Option* json = command->add_flag("--json", arguments->json, "print JSON");
  command->add_flag("--csv", arguments->csv, "print a line for each row")->excludes(json);
  command->add_option("--html", arguments->html, "write a page: charts, roofline, table; with --model its network")
      ->type_name("FILE");
  command->add_option("--svg", arguments->svg, "write a picture of all layers together")->type_name("FILE");
  command->add_flag("--details", arguments->details, "also of many layers: counts, formulas, bytes, bounds, kernels");
  command->footer(
      "Layers, kinds and a calibration take turns, one thread bound to one processor (unless --threads says\n"
      "otherwise). Unfused: convolutions apart, concat and shuffle copy.\n"
      "Examples:\n  slimneck compare\n  slimneck compare --c1 128 --c2 128 --hw 40 --k 1 --ops dsc,gsconv,ghost\n"
      "  slimneck compare --model yolov5s --img 640 --html compare.html");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace slimneck::cli
