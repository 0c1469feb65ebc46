#include "train_setup.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "slimneck/files.hpp"

namespace slimneck::cli {

namespace {

constexpr const char* model_key = "model.yaml";
constexpr const char* name_key = "model.name";
constexpr const char* hyp_key = "hyp.yaml";
constexpr std::uint64_t most_hyp_bytes = 1 << 20;

long long ll(index_t number) { return static_cast<long long>(number); }

const std::string& required(const TrainState& state, const char* key) {
  const auto found = state.options.find(key);
  if (found == state.options.end()) throw FormatError(std::string("the checkpoint lacks ") + key);
  return found->second;
}

/// Anchors of every level in one list, and back.
std::vector<AnchorSize> flat(const std::vector<std::vector<double>>& levels) {
  std::vector<AnchorSize> anchors;
  for (const std::vector<double>& level : levels)
    for (std::size_t i = 0; i + 1 < level.size(); i += 2) anchors.push_back({level[i], level[i + 1]});
  return anchors;
}

/// To a thousandth of a pixel: they are read by people, too.
std::vector<std::vector<double>> by_level(const std::vector<AnchorSize>& anchors, std::size_t levels) {
  const auto rounded = [](double side) { return std::round(side * 1000) / 1000; };
  std::vector<std::vector<double>> rows(levels);
  const std::size_t each = anchors.size() / levels;
  for (std::size_t i = 0; i < each * levels; ++i) {
    rows[i / each].push_back(rounded(anchors[i].w));
    rows[i / each].push_back(rounded(anchors[i].h));
  }
  return rows;
}

std::string figures(const AnchorFit& fit) {
  return format("%.2f anchors/target, %.3f Best Possible Recall (BPR)", fit.anchors_per_target, fit.recall);
}

}  // namespace

bool too_many(index_t skipped, index_t pictures) noexcept {
  constexpr index_t one_in = 20;
  return skipped * one_in > pictures;
}

TrainSetup::TrainSetup(TrainArguments given) : arguments_(std::move(given)), options_(arguments_.options()) {
  if (!arguments_.hyp.empty()) options_.hyp = parse_hyp(read_text(arguments_.hyp, most_hyp_bytes), arguments_.hyp);
  scan();
  open();
  if (!arguments_.noautoanchor) fit_anchors();
  initialise();
}

TrainSetup::TrainSetup(TrainArguments resumed, const TrainState& state)
    : arguments_(std::move(resumed)), options_(arguments_.options()) {
  options_.hyp = parse_hyp(required(state, hyp_key), hyp_key);
  scan();
  model_ = parse_model(required(state, model_key), required(state, name_key) + ".yaml",
                       {.height = options_.img, .width = options_.img});
  if (model_.classes != train_.nc)
    throw FormatError(format("%s: %lld classes, but the run was begun with %lld", arguments_.data.c_str(),
                             ll(train_.nc), ll(model_.classes)));
  parameters_.emplace(model_.graph);
}

DataSet TrainSetup::scan(const DataConfig& config, Split split) const {
  DataSet data =
      scan_data(config, split,
                {.single_cls = arguments_.single_cls, .strict = arguments_.strict, .threads = arguments_.exec.threads});
  note(format("%s: Scanning %s... %zu images, %lld backgrounds, %lld corrupt", std::string(to_string(split)).c_str(),
              printable(data.name).c_str(), data.samples.size(), ll(data.backgrounds()), ll(data.corrupt)));
  note_all("warning", data.notices);
  note_all("ignoring corrupt image/label", data.problems);
  return data;
}

void TrainSetup::scan() {
  const DataConfig config = load_data(arguments_.data);
  note_all("warning", config.warnings);
  train_ = scan(config, Split::train);
  val_ = scan(config, Split::val);
  names_ = arguments_.single_cls && config.nc() != 1 ? std::vector<std::string>{"item"} : config.names;
  check_data();
}

void TrainSetup::check_data() const {
  if (std::all_of(train_.samples.begin(), train_.samples.end(), [](const Sample& s) { return s.boxes.empty(); }))
    throw Error("train: No labels found in " + train_.name + ", can not start training");
  for (const DataSet* data : {&train_, &val_})
    if (too_many(data->corrupt, data->found) && !arguments_.allow_skips)
      throw Error(format("%s: %lld of %lld pictures cannot be used, more than 5 %%; --allow-skips goes on",
                         data->name.c_str(), ll(data->corrupt), ll(data->found)));
}

void TrainSetup::open() {
  ModelArguments& model = arguments_.model;
  model.classes = train_.nc;
  model.img = {options_.img};
  OpenModel opened = open_model(model);
  if (options_.hyp.anchors && model.anchors.empty()) {
    if (arguments_.noautoanchor) throw UsageError("--noautoanchor: the hyperparameters ask for other anchors");
    std::vector<double> row(2 * static_cast<std::size_t>(std::max(1.0, *options_.hyp.anchors + 0.5)));
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<double>(i + 1);  // to be replaced
    model.anchors.assign(opened.model.strides.size(), row);
    opened = open_model(model);
  }
  model_ = std::move(opened.model);
  weights_ = std::move(opened.weights);
  if (model_.strides.empty()) throw Error(model_.name + ": the model has no Detect");
  const Shape& input = model_.graph.shape({0, 0});
  if (input.c != 3)
    throw Error(model_.name + ": the model takes " + std::to_string(input.c) + " channels; pictures have 3");
  options_.img = arguments_.img = input.h;
  for (const index_t layer : options_.freeze)
    if (layer >= static_cast<index_t>(model_.layers.size()))
      throw UsageError(
          format("--freeze: there is no layer %lld; %s has %zu", ll(layer), model_.name.c_str(), model_.layers.size()));
}

void TrainSetup::fit_anchors() {
  const AutoAnchors found =
      auto_anchors(train_, flat(model_.anchors), options_.img, options_.hyp.anchor_t, options_.seed);
  constexpr double good = 0.98;
  const bool fits = found.before.recall > good;
  note("AutoAnchor: " + figures(found.before) + ". Current anchors are " +
       (fits ? "a good fit to dataset" : "a poor fit to dataset, attempting to improve..."));
  if (fits) return;
  if (!found.changed)
    return note("AutoAnchor: original anchors better than new anchors. Proceeding with original anchors.");
  arguments_.model.anchors = by_level(found.anchors, model_.strides.size());
  open();
  note("AutoAnchor: " + figures(found.after) + ". Done (optional: update model *.yaml to use these anchors)");
}

void TrainSetup::initialise() {
  parameters_.emplace(model_.graph);
  std::uint64_t seed = options_.seed;
  if (!arguments_.model.init.empty()) seed = seed_of_init(arguments_.model.init);
  parameters_->initialise(seed);
  if (!weights_) return;
  const Transfer done = transfer_state_dict(*parameters_, *weights_);
  note(format("Transferred %lld/%lld items from %s", ll(done.taken), ll(done.entries),
              printable(arguments_.model.weights).c_str()));
  weights_.reset();
}

std::map<std::string, std::string> TrainSetup::stored() const {
  std::map<std::string, std::string> all = arguments_.stored();
  all[model_key] = model_.yaml;
  all[name_key] = model_.name;
  all[hyp_key] = write_hyp(options_.hyp);
  return all;
}

std::uint64_t TrainSetup::bytes_on_disk() const {
  std::uint64_t weights = 0;
  for (const Parameters::Entry& entry : parameters_->entries())
    weights += static_cast<std::uint64_t>(entry.value.numel()) * sizeof(float);
  // Parameters, their average, gradients that wait, moments; the newest two and the one that takes the older one's
  // place.
  const std::uint64_t in_checkpoint = options_.optimizer == OptimizerKind::sgd ? 4 : 5, checkpoints = 3, files = 2;
  return weights * (in_checkpoint * checkpoints + files);
}

std::map<std::string, std::string> TrainSetup::metadata() const {
  const nlohmann::json names = names_;
  return {{std::string(metadata_key::names), names.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)},
          {std::string(metadata_key::dialect), model_.dialect},
          {std::string(metadata_key::yaml), model_.yaml},
          {"model", model_.name},
          {"stride", std::to_string(model_.max_stride())}};
}

}  // namespace slimneck::cli
