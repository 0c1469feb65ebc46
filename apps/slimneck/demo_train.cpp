#include <algorithm>
#include <array>

#include "cli.hpp"
#include "demo.hpp"
#include "page.hpp"
#include "stopwatch.hpp"
#include "train_report.hpp"

namespace slimneck::cli {

namespace {

/// Families of the shapes, in the order of shape_names().
const std::vector<std::string>& families() {
  static const std::vector<std::string> names{"round", "angular", "pointed"};
  return names;
}
constexpr std::array family_of{0, 1, 1, 1, 2, 2, 0, 2};

void regroup(DataSet& data) {
  data.nc = static_cast<index_t>(families().size());
  for (Sample& sample : data.samples)
    for (BoxLabel& box : sample.boxes) box.cls = family_of.at(static_cast<std::size_t>(box.cls));
}

TrainOptions options_of(const DemoArguments& arguments) {
  TrainOptions options;
  options.epochs = 10;
  options.batch = 8;
  options.img = 160;
  options.optimizer = OptimizerKind::adamw;
  options.hyp.lr0 = 0.002;
  options.hyp.warmup_epochs = 1;
  options.hyp.warmup_bias_lr = 0.01;
  options.seed = arguments.seed;
  options.workers = 1;
  return options;
}

/// Where a machine is slow, fewer epochs will do.
constexpr double most_ms = 45e3;

void walk(Trainer& trainer, const TrainOptions& options) {
  const Stopwatch watch;
  const auto shown = [&](const LossParts& loss, const Validation& found) {
    print(format("  epoch %2lld/%lld   loss %.4f (box %.4f, objectness %.4f, classes %.4f)   mAP 0.5 %.3f\n",
                 static_cast<long long>(trainer.state().epoch), static_cast<long long>(options.epochs), loss.sum(),
                 loss.box, loss.obj, loss.cls, found.metrics.map50));
    flush_output();
  };
  while (!trainer.finished() && watch.ms() < most_ms) {
    LossParts mean;
    while (const std::optional<StepResult> step = trainer.step()) mean = step->mean;
    const Validation found = trainer.validate();
    trainer.finish_epoch(&found);
    shown(mean, found);
  }
}

}  // namespace

std::string show_training(const DemoArguments& arguments, DemoData& data) {
  regroup(data.train);
  regroup(data.val);
  const TrainOptions options = options_of(arguments);
  ModelArguments model;
  model.weights = default_weights().string();
  model.classes = data.train.nc;
  model.img = {options.img};
  const OpenModel open = open_model(model);
  Parameters initial(open.model.graph);
  initial.initialise(arguments.seed);
  static_cast<void>(transfer_state_dict(initial, *open.weights));

  print(
      format("Half a minute of training: the same network learns to tell %zu families of shapes apart, from %zu "
             "pictures.\nAll but its last layer begins with what it knows.\n",
             families().size(), data.train.samples.size()));
  flush_output();
  Stopwatch watch;
  Trainer trainer(open.model, initial, data.train, &data.val, options);
  walk(trainer, options);

  const std::vector<EpochResult>& history = trainer.state().history;
  const auto loss_of = [](const EpochResult& e) { return e.train.sum(); };
  const std::string sentence = format(
      "In %.0f s and %zu epochs the loss fell from %.4f to %.4f, and mAP 0.5 on %zu pictures beside the training rose "
      "from "
      "%.3f to %.3f.",
      watch.ms() / 1000, history.size(), loss_of(history.front()), loss_of(history.back()), data.val.samples.size(),
      history.front().map50, history.back().map50);
  print(sentence + "\n\n");
  flush_output();
  const TrainSummary summary{.title = "",
                             .history = history,
                             .best_epoch = trainer.state().best_epoch,
                             .speed = {},
                             .names = families(),
                             .metrics = nullptr,
                             .confusion = nullptr,
                             .options = {},
                             .hyp = options.hyp,
                             .facts = {}};
  return section("Learning another task", escaped(sentence), train_course(summary));
}

}  // namespace slimneck::cli
