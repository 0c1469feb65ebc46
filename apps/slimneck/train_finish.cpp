// After the last epoch: a last look at the best weights, and the files that tell of the run.
#include "slimneck/evaluate.hpp"
#include "slimneck/files.hpp"
#include "slimneck/plot.hpp"
#include "train_folder.hpp"
#include "train_report.hpp"
#include "train_run.hpp"
#include "val_files.hpp"
#include "val_table.hpp"

namespace slimneck::cli {

namespace fs = std::filesystem;

namespace {

void table(const Metrics& metrics, std::span<const std::string> names) {
  constexpr std::size_t few = 50;
  say(val_head());
  for (const ValRow& row : val_rows(metrics, nullptr, names))
    if (row.cls < 0 || (names.size() > 1 && names.size() < few)) say(val_line(row));
}

/// The weights that are judged: the best, or the last where no epoch was.
fs::path weights_of(const fs::path& folder) {
  std::error_code problem;
  const fs::path best = folder / weights_folder / "best.safetensors";
  return fs::exists(best, problem) ? best : folder / weights_folder / "last.safetensors";
}

/// Judges them, and leaves its pictures in the folder.
Metrics judge(const TrainSetup& setup, const fs::path& folder, ConfusionMatrix& confusion) {
  const fs::path file = weights_of(folder);
  note("Validating " + file.string() + "...");
  Parameters parameters(setup.model().graph);
  load_state_dict(parameters, read_weights(file));
  EvaluateOptions options;
  options.batch = 2 * setup.options().batch;  // as it was while training: batches share their shape
  options.img = setup.options().img;
  options.workers = setup.options().workers;
  options.plan = setup.arguments().exec.plan(Mode::infer);
  Evaluator evaluator(setup.model(), parameters, setup.val(), options);
  const ValFilesOptions saved{.folder = {.project = folder.parent_path().empty() ? "." : folder.parent_path().string(),
                                         .name = folder.filename().string(),
                                         .exist_ok = true},
                              .plots = !setup.arguments().noplots};
  ValFiles files(saved, setup.val(), setup.names(), "");
  const Evaluation found =
      evaluator([&](const Batch& batch, std::span<const Judged> judged) { files.add(batch, judged); });
  Metrics metrics = yolov5_metrics(found.judged);
  files.finish(metrics);
  confusion = files.confusion();
  return metrics;
}

}  // namespace

void finish_training(const TrainSetup& setup, const fs::path& folder, const TrainState& state, const TrainSpeed& speed,
                     std::vector<std::pair<std::string, std::string>> facts) {
  ConfusionMatrix confusion(setup.model().classes);
  const Metrics metrics = judge(setup, folder, confusion);
  table(metrics, setup.names());
  const TrainSummary summary{.title = setup.model().name + " trained on " + setup.train().name,
                             .history = state.history,
                             .best_epoch = state.best_epoch,
                             .speed = speed,
                             .names = setup.names(),
                             .metrics = &metrics,
                             .confusion = &confusion,
                             .options = setup.arguments().stored(),
                             .hyp = setup.options().hyp,
                             .facts = std::move(facts)};
  const Uninterrupted shield;
  write_text((folder / "metrics.json").string(), metrics_json(summary));
  if (setup.arguments().noplots) return;
  write_text((folder / "report.html").string(), train_report(summary));
  write_image(folder / "results.png", plot_results(results_csv(state.history), "results.csv"));
}

}  // namespace slimneck::cli
