#include "train_options.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <set>

namespace slimneck::cli {

namespace {

std::string text_of(const std::string& value) { return value; }
std::string text_of(bool value) { return value ? "true" : "false"; }
std::string text_of(index_t value) { return std::to_string(value); }
std::string text_of(int value) { return std::to_string(value); }
std::string text_of(std::uint64_t value) { return std::to_string(value); }
std::string text_of(double value) { return format("%.17g", value); }
std::string text_of(const std::vector<index_t>& values) {
  std::string text;
  for (const index_t value : values) text += (text.empty() ? "" : " ") + std::to_string(value);
  return text;
}

/// Calls visit(name, value) for every option that is stored, under its name on the command line.
template <class Visit>
void each_option(const TrainArguments& a, const Visit& visit) {
  visit("data", a.data);
  visit("cfg", a.model.cfg);
  visit("weights", a.model.weights);
  visit("init", a.model.init);
  visit("hyp", a.hyp);
  visit("dialect", a.model.dialect);
  visit("act", a.model.act);
  visit("shuffle", a.model.shuffle);
  visit("epochs", a.epochs);
  visit("batch-size", a.batch);
  visit("imgsz", a.img);
  visit("rect", a.rect);
  visit("nosave", a.nosave);
  visit("noval", a.noval);
  visit("noautoanchor", a.noautoanchor);
  visit("noplots", a.noplots);
  visit("image-weights", a.image_weights);
  visit("multi-scale", a.multi_scale);
  visit("single-cls", a.single_cls);
  visit("optimizer", a.optimizer);
  visit("box-loss", a.box_loss);
  visit("autobalance", a.autobalance);
  visit("sync-bn", a.sync_bn);
  visit("cos-lr", a.cos_lr);
  visit("label-smoothing", a.label_smoothing);
  visit("patience", a.patience);
  visit("freeze", a.freeze);
  visit("save-period", a.save_period);
  visit("seed", a.seed);
  visit("project", a.folder.project);
  visit("name", a.folder.name);
  visit("exist-ok", a.folder.exist_ok);
  visit("algo", a.exec.algo);
  // What may differ from one start to the next.
  visit("cache", a.caching ? std::string("ram") : std::string());
  visit("workers", a.workers);
  visit("threads", a.exec.threads);
  visit("isa", a.exec.isa);
  visit("memory", a.exec.memory);
  visit("strict", a.strict);
  visit("allow-skips", a.allow_skips);
}

/// Options that a resumed run takes from the command line: they do not change what is learned.
const std::set<std::string>& free_options() {
  static const std::set<std::string> names{"cache",  "workers",     "threads", "isa",  "memory",
                                           "strict", "allow-skips", "project", "name", "exist-ok",
                                           "resume", "device",      "tune"};
  return names;
}

void add_refused(CLI::App& app) {
  refuse(app, "--quad", "the loader makes no quads");
  for (const auto& [name, reason] :
       {std::pair{"--evolve", "evolving hyperparameters is not offered; vary --hyp by a script"},
        {"--local_rank", "mpirun -np N slimneck train starts N processes that know each other"},
        {"--bucket", "nothing is fetched or sent"},
        {"--entity", "nothing is fetched or sent"},
        {"--upload_dataset", "nothing is fetched or sent"},
        {"--bbox_interval", "nothing is fetched or sent"},
        {"--artifact_alias", "nothing is fetched or sent"}})
    refuse(app, name, reason, true);
}

void add_data_options(CLI::App& app, TrainArguments& a) {
  app.add_option("--data", a.data, "data.yaml: folders of pictures, names of classes")->type_name("FILE");
  app.add_option("--img,--imgsz,--img-size", a.img, "size of the network's input (640)")
      ->check(integer_in(1, LoaderOptions::most_img));
  app.add_flag("--rect", a.rect, "batches of one aspect ratio, without mosaics");
  app.add_option("--cache", a.cache, "keep pictures decoded in memory while it has room")
      ->expected(0, 1)
      ->type_name("ram");
  app.add_flag("--image-weights", a.image_weights, "pictures of classes that are hard are seen more often");
  app.add_flag("--multi-scale", a.multi_scale, "each batch in another size, 0.5 to 1.5 times --img");
  app.add_flag("--single-cls", a.single_cls, "all boxes are of one class");
  app.add_option("--workers", a.workers, "threads that prepare pictures, at most one for each processor (8)")
      ->check(integer_in(0, 1024));
  app.add_flag("--strict", a.strict, "pictures and labels that cannot be used are an error");
  app.add_flag("--allow-skips", a.allow_skips, "go on when more than 5 % of the pictures cannot be used");
}

void add_training_options(CLI::App& app, TrainArguments& a) {
  app.add_option("--hyp", a.hyp, "hyperparameters: YOLOv5's hyp.yaml (hyp.scratch-low)")->type_name("FILE");
  app.add_option("--epochs", a.epochs, "walks through the data (100)")->check(integer_in(0, 1000000));
  app.add_option("--batch-size,--batch", a.batch, "pictures of a batch (16)")
      ->check(CLI::Validator(
          [](std::string& text) {
            if (text == "-1") throw UsageError("--batch-size -1: there is no GPU memory to fill; say how many");
            return std::string();
          },
          ""))
      ->check(integer_in(1, 65535));
  app.add_option("--optimizer", a.optimizer, "SGD, Adam or AdamW (SGD)")
      ->check(one_of(std::vector<std::string_view>{"SGD", "Adam", "AdamW"}));
  app.add_flag("--cos-lr", a.cos_lr, "learning rates fall along a cosine");
  app.add_option("--box-loss", a.box_loss, "ciou: YOLOv5's, or eiou: Slim-Neck's (ciou)")
      ->check(one_of(std::vector<std::string_view>{"ciou", "eiou"}));
  app.add_flag("--autobalance", a.autobalance, "balance the levels' objectness losses while training");
  app.add_flag("--sync-bn", a.sync_bn,
               "batch norms see whole batches; any number of processes then trains the same bits");
  app.add_option("--label-smoothing", a.label_smoothing, "class targets are so much softer (0)")->check(real_in(0, 1));
  app.add_option("--patience", a.patience, "end after so many epochs without a better one; 0: never (100)")
      ->check(integer_in(0, 1000000));
  app.add_option("--freeze", a.freeze, "keep the first N layers as they are, or those of a list: 0 1 2 (0)")
      ->expected(1, 4096)
      ->check(integer_in(0, 4095));
  app.add_option("--seed", a.seed, "of everything that is drawn (0)")->check(integer_in(0, largest_seed));
  app.add_flag("--noautoanchor", a.noautoanchor, "keep the anchors even if they do not fit the data");
}

void add_run_options(CLI::App& app, TrainArguments& a) {
  app.add_option("--resume", a.resume, "go on with a run: its folder, or a file in its weights (the latest)")
      ->expected(0, 1)
      ->type_name("RUN");
  app.add_flag("--nosave", a.nosave, "save weights only at the end");
  app.add_flag("--noval", a.noval, "validate only after the last epoch");
  app.add_flag("--noplots", a.noplots, "save no pictures and no report");
  app.add_option("--save-period", a.save_period, "also keep weights/epochN.safetensors every so many epochs (-1)")
      ->check(integer_in(-1, 1000000));
}

}  // namespace

void TrainArguments::add_to(CLI::App& app) {
  model.add_to(app, false);
  app.get_option("--nc")->group("");  // the data says it, and check() refuses it
  add_data_options(app, *this);
  add_training_options(app, *this);
  add_run_options(app, *this);
  folder.add_to(app);
  exec.add_to(app, false);
  exec.add_memory(app);
  add_refused(app);
}

void TrainArguments::check() const {
  if (model.classes) throw UsageError("--nc: the number of classes comes from --data");
  if (!cache.empty() && cache != "ram")
    throw UsageError("--cache " + printable(cache) + ": wanted ram; nothing is written beside the data");
  if (resuming) return;
  if (data.empty()) throw UsageError("--data is required");
  if (model.cfg.empty() && model.weights.empty()) throw UsageError("--cfg or --weights is required");
  if (rect && image_weights) throw UsageError("--image-weights needs batches in any order; --rect fixes it");
  if (rect && multi_scale) throw UsageError("--multi-scale and --rect both choose the size of a batch");
  folder.check();
}

std::map<std::string, std::string> TrainArguments::stored() const {
  std::map<std::string, std::string> all;
  each_option(*this, [&](const char* name, const auto& value) { all[name] = text_of(value); });
  return all;
}

namespace {

/// Half of what the machine has left now: networks need memory, too.
std::uint64_t cache_bytes() {
  const long pages = sysconf(_SC_AVPHYS_PAGES), bytes = sysconf(_SC_PAGESIZE);
  return pages > 0 && bytes > 0 ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(bytes) / 2 : 0;
}

int processors() { return static_cast<int>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN))); }

}  // namespace

TrainOptions TrainArguments::options() const {
  TrainOptions o;
  o.epochs = epochs;
  o.batch = batch;
  o.img = img;
  o.optimizer = optimizer_of(optimizer);
  o.box_loss = box_loss == "eiou" ? BoxLoss::eiou : BoxLoss::ciou;
  o.cos_lr = cos_lr;
  o.autobalance = autobalance;
  o.rect = rect;
  o.multi_scale = multi_scale;
  o.image_weights = image_weights;
  o.label_smoothing = label_smoothing;
  o.patience = patience;
  o.freeze = freeze;
  if (freeze.size() == 1) {
    o.freeze.resize(static_cast<std::size_t>(freeze.front()));
    std::iota(o.freeze.begin(), o.freeze.end(), index_t{0});
  }
  o.seed = static_cast<std::uint64_t>(seed);
  o.workers = std::min(workers, processors());
  o.cache_bytes = caching ? cache_bytes() : 0;
  o.plan = exec.plan(Mode::train);
  o.communicator = communicator;
  o.sync_bn = sync_bn;
  return o;
}

namespace {

/// The options as a command line; empty values and flags that are off are left out.
std::vector<std::string> command_line(const std::map<std::string, std::string>& options) {
  std::vector<std::string> words;
  for (const auto& [name, value] : options) {
    if (value.empty() || value == "false" || name == "cache") continue;
    words.push_back("--" + name);
    if (value == "true") continue;
    for (std::size_t at = 0; at <= value.size();) {
      const std::size_t end = name == "freeze" ? std::min(value.find(' ', at), value.size()) : value.size();
      words.push_back(value.substr(at, end - at));
      at = end + 1;
    }
  }
  std::reverse(words.begin(), words.end());  // as CLI11 takes them
  return words;
}

TrainArguments parse_stored(const std::map<std::string, std::string>& stored, const std::string& run) {
  std::map<std::string, std::string> options;
  TrainArguments arguments;
  for (const auto& [name, value] : arguments.stored())
    if (const auto found = stored.find(name); found != stored.end() && !free_options().contains(name))
      options[name] = found->second;
  CLI::App app;
  arguments.add_to(app);
  try {
    app.parse(command_line(options));
  } catch (const CLI::ParseError& problem) {
    throw FormatError(run + ": the checkpoint's options are damaged: " + problem.what());
  }
  return arguments;
}

/// The option of that name was given on the command line.
bool given_now(const CLI::App& app, const std::string& name) {
  const CLI::Option* option = app.get_option_no_throw("--" + name);
  return option != nullptr && option->count() > 0;
}

}  // namespace

TrainArguments resumed_arguments(const TrainArguments& given, const CLI::App& app,
                                 const std::map<std::string, std::string>& stored, const std::string& run) {
  TrainArguments arguments = parse_stored(stored, run);
  const std::map<std::string, std::string> now = given.stored(), then = arguments.stored();
  for (const auto& [name, value] : now)
    if (!free_options().contains(name) && given_now(app, name) && then.at(name) != value)
      throw UsageError("--" + name + " " + value + " was given, but " + run + " was begun with " +
                       (then.at(name).empty() ? "none" : then.at(name)));
  const std::string algo = arguments.exec.algo;
  arguments.folder = given.folder;
  arguments.exec = given.exec;
  arguments.exec.algo = algo;
  arguments.workers = given.workers;
  arguments.caching = given.caching;
  arguments.strict = given.strict;
  arguments.allow_skips = given.allow_skips;
  arguments.communicator = given.communicator;
  arguments.resuming = true;
  arguments.resume = given.resume;
  return arguments;
}

std::string write_options(const std::map<std::string, std::string>& options) {
  std::string text;
  for (const auto& [name, value] : options) {
    std::string key = name;
    std::replace(key.begin(), key.end(), '-', '_');
    const bool plain = !value.empty() && value.find_first_not_of("0123456789.eE+-") == std::string::npos;
    const bool word = value == "true" || value == "false";
    std::string quoted = "'";
    for (const char c : printable(value)) quoted += c == '\'' ? std::string("''") : std::string(1, c);
    text += key + ": " + (plain || word ? value : quoted + "'") + "\n";
  }
  return text;
}

}  // namespace slimneck::cli
