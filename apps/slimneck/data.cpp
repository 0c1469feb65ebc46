// slimneck data: looks through a data set and says what is wrong with it, or draws one.
#include "slimneck/data.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "run_folder.hpp"
#include "slimneck/plot.hpp"

namespace slimneck::cli {

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

constexpr std::array<Split, 3> all_splits{Split::train, Split::val, Split::test};

struct CheckArguments {
  std::string file, split, plots;
  bool json = false;
};

long long ll(index_t number) { return static_cast<long long>(number); }

index_t boxes_of(const DataSet& data) {
  index_t boxes = 0;
  for (const index_t count : data.class_counts()) boxes += count;
  return boxes;
}

/// "3 pictures", "1 picture".
std::string counted(index_t count, std::string what) {
  return std::to_string(count) + " " + std::move(what) + (count == 1 ? "" : "s");
}

// ---- check ----------------------------------------------------------------------------------------------------------

ordered_json as_json(const DataSet& data, Split split, const std::vector<std::string>& names) {
  const std::vector<index_t> counts = data.class_counts();
  ordered_json classes = ordered_json::array();
  for (std::size_t i = 0; i < names.size(); ++i) classes.push_back({{"name", names[i]}, {"boxes", counts[i]}});
  return {{"split", to_string(split)},           {"pictures", data.found},
          {"usable", data.samples.size()},       {"corrupt", data.corrupt},
          {"backgrounds", data.backgrounds()},   {"without_label_file", data.missing},
          {"with_empty_label_file", data.empty}, {"boxes", boxes_of(data)},
          {"duplicates", data.duplicates},       {"classes", classes},
          {"problems", data.problems},           {"notices", data.notices}};
}

void print_text(const DataSet& data, Split split, const std::vector<std::string>& names) {
  print(bold(std::string(to_string(split))) + ": " + counted(data.found, "picture") + ", " +
        std::to_string(data.corrupt) + " of them not usable; " + counted(data.backgrounds(), "background") + " (" +
        std::to_string(data.missing) + " without a label file); " +
        (boxes_of(data) == 1 ? "1 box" : std::to_string(boxes_of(data)) + " boxes") + ", " +
        counted(data.duplicates, "duplicate") + " left out\n");
  const std::vector<index_t> counts = data.class_counts();
  for (std::size_t i = 0; i < names.size(); ++i)
    print(format("  %4zu  %-24s%10lld\n", i, printable(names[i]).c_str(), ll(counts[i])));
  for (const std::string& problem : data.problems) print("  bad: " + printable(problem) + "\n");
  for (const std::string& notice : data.notices) print("  note: " + printable(notice) + "\n");
}

std::vector<PlottedLabel> labels_of(const DataSet& data) {
  std::vector<PlottedLabel> labels;
  for (const Sample& sample : data.samples)
    for (const BoxLabel& box : sample.boxes) labels.push_back({box.cls, box.x, box.y, box.w, box.h});
  return labels;
}

/// 16 pictures, drawn by chance, with their labels.
Image pictures_of(const DataSet& data, const std::vector<std::string>& names) {
  LoaderOptions options;
  options.batch = 16;
  options.img = 480;  // four of them are as wide as a mosaic may be
  options.shuffle = true;
  Loader loader(data, options);
  loader.begin_epoch(0);
  Batch batch;
  loader.next(batch);
  std::vector<Tile> tiles;
  for (std::size_t i = 0; i < batch.images.size(); ++i)
    tiles.push_back({std::move(batch.images[i]),
                     data.samples[static_cast<std::size_t>(batch.indices[i])].image.filename().string(),
                     {}});
  const auto size = static_cast<float>(options.img);
  for (const BoxTarget& t : batch.targets)
    tiles[static_cast<std::size_t>(t.image)].boxes.push_back(
        {(t.x - t.w / 2) * size, (t.y - t.h / 2) * size, (t.x + t.w / 2) * size, (t.y + t.h / 2) * size, 1, t.cls});
  return plot_mosaic(tiles, names, false);
}

void write_plots(const fs::path& folder, const DataSet& data, Split split, const std::vector<std::string>& names) {
  if (data.samples.empty()) return;
  const std::string ending = "_" + std::string(to_string(split)) + ".jpg";
  const std::vector<PlottedLabel> labels = labels_of(data);
  write_image(folder / ("labels" + ending), plot_labels(labels, names));
  write_image(folder / ("pictures" + ending), pictures_of(data, names));
}

void check(const CheckArguments& arguments) {
  const DataConfig config = load_data(arguments.file);
  for (const std::string& warning : config.warnings) note("warning: " + printable(warning));
  if (!arguments.plots.empty()) make_folders(arguments.plots, arguments.plots);
  ScanOptions options;
  options.check = true;
  ordered_json splits = ordered_json::array();
  std::size_t problems = 0;
  for (const Split split : all_splits) {
    const bool wanted = arguments.split.empty() ? !config.sources(split).empty() : arguments.split == to_string(split);
    if (!wanted) continue;
    const DataSet data = scan_data(config, split, options);
    problems += data.problems.size();
    if (arguments.json)
      splits.push_back(as_json(data, split, config.names));
    else
      print_text(data, split, config.names);
    if (!arguments.plots.empty()) write_plots(arguments.plots, data, split, config.names);
  }
  if (arguments.json) {
    const ordered_json all{{"file", config.file}, {"names", config.names}, {"splits", splits}};
    print(all.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  }
  flush_output();
  if (problems > 0)
    throw FormatError(arguments.file + ": " + std::to_string(problems) +
                      (problems == 1 ? " bad label row or picture" : " bad label rows or pictures"));
}

void add_check(CLI::App& data) {
  CLI::App* command = data.add_subcommand("check", "every bad label row and picture of a data set, and its counts");
  auto arguments = std::make_shared<CheckArguments>();
  command->add_option("file", arguments->file, "data.yaml")->type_name("FILE")->required();
  command->add_option("--split", arguments->split, "only train, val or test")->check(one_of({"train", "val", "test"}));
  command->add_flag("--json", arguments->json, "print JSON");
  command
      ->add_option("--plots", arguments->plots,
                   "folder for labels_SPLIT.jpg (how labels are spread) and pictures_SPLIT.jpg (16 with labels)")
      ->type_name("DIR");
  command->footer(
      "Ends with 1 when a row or a picture is bad.\nExamples:\n  slimneck data check shapes/data.yaml\n"
      "  slimneck data check coco128.yaml --split train --plots look");
  command->callback([arguments] { check(*arguments); });
}

// ---- make-shapes ----------------------------------------------------------------------------------------------------

struct ShapesArguments {
  std::string folder;
  index_t images = ShapesOptions{}.images, img = ShapesOptions{}.img, seed = 0;
};

void make(const ShapesArguments& arguments) {
  if (arguments.folder.empty()) throw UsageError("the folder may not be empty");
  ShapesOptions options;
  options.images = arguments.images;
  options.img = arguments.img;
  options.seed = static_cast<std::uint64_t>(arguments.seed);
  make_shapes(arguments.folder, options);
  print(counted(options.images, "picture") + " of " + counted(static_cast<index_t>(shape_names().size()), "kind") +
        " of shapes: " + printable((fs::path(arguments.folder) / "data.yaml").string()) + "\n");
}

void add_make_shapes(CLI::App& data) {
  CLI::App* command = data.add_subcommand("make-shapes", "draw a data set of shapes, the same ones on every machine");
  auto arguments = std::make_shared<ShapesArguments>();
  command->add_option("folder", arguments->folder, "made by this command")->type_name("DIR")->required();
  command->add_option("--images", arguments->images, "pictures: 8 of 10 to train, 1 to validate, 1 to test")
      ->check(integer_in(3, 1'000'000))
      ->capture_default_str();
  command->add_option("--img,--imgsz", arguments->img, "width and height in pixels")
      ->check(integer_in(32, 4096))
      ->capture_default_str();
  command->add_option("--seed", arguments->seed, "another one, other pictures")
      ->check(integer_in(0, largest_seed))
      ->capture_default_str();
  command->footer("Example:\n  slimneck data make-shapes shapes --images 600 --seed 1");
  command->callback([arguments] { make(*arguments); });
}

}  // namespace

void add_data(CLI::App& app) {
  CLI::App* command = app.add_subcommand("data", "check a data set, or draw one");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n  slimneck data make-shapes shapes\n  slimneck data check shapes/data.yaml\n"
      "Each command has its own --help.");
  add_check(*command);
  add_make_shapes(*command);
}

}  // namespace slimneck::cli
