#include "train_run.hpp"

#include <algorithm>

#include "model_table.hpp"
#include "slimneck/cost.hpp"
#include "slimneck/files.hpp"
#include "train_folder.hpp"
#include "train_pictures.hpp"

namespace slimneck::cli {

namespace fs = std::filesystem;

namespace {

constexpr index_t shown_batches = 3;

long long ll(index_t number) { return static_cast<long long>(number); }
double mib(std::size_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

/// Ends a validation that was asked to stop.
struct Interrupted {};

std::string joined(std::string yaml) {
  std::replace(yaml.begin(), yaml.end(), '\n', ',');
  for (std::size_t at = 0; (at = yaml.find(": ", at)) != std::string::npos;) yaml.replace(at, 2, "=");
  for (std::size_t at = 0; (at = yaml.find(',', at)) != std::string::npos; at += 2) yaml.replace(at, 1, ", ");
  return yaml.substr(0, yaml.find_last_not_of(", ") + 1);
}

/// What to exit with; where the signal came to another process, as for Ctrl-C.
int stop_code() {
  constexpr int interrupted = 130;
  return StopRequests::code() != 0 ? StopRequests::code() : interrupted;
}

/// Each process sees its share of the pictures.
bool too_many_skipped(const TrainSetup& setup, const Trainer& trainer) {
  const auto pictures = static_cast<index_t>(setup.train().samples.size());
  return !setup.arguments().allow_skips &&
         too_many(trainer.skipped() * setup.arguments().communicator->size(), pictures);
}

/// A trainer wants an epoch; without one it only checks what it is given.
TrainOptions at_least_an_epoch(TrainOptions options) {
  options.epochs = std::max<index_t>(options.epochs, 1);
  return options;
}

}  // namespace

TrainRun::TrainRun(const TrainSetup& setup, fs::path folder)
    : setup_(setup),
      folder_(std::move(folder)),
      stored_(setup.stored()),
      trainer_(setup.model(), setup.parameters(), setup.train(), &setup.val(), at_least_an_epoch(setup.options())),
      log_(folder_, setup.options().epochs) {}

fs::path TrainRun::weights(const std::string& name) const { return folder_ / weights_folder / name; }

void TrainRun::begin() {
  const Uninterrupted shield;
  write_text((folder_ / "opt.yaml").string(), write_options(setup_.arguments().stored()));
  write_text((folder_ / "hyp.yaml").string(), write_hyp(setup_.options().hyp));
  if (!setup_.arguments().noplots) save_labels_pictures(folder_, setup_.train(), setup_.names());
}

void TrainRun::resume(const Checkpoint& checkpoint) {
  note_all("warning", checkpoint.problems);
  const std::vector<std::string> changed = trainer_.load(checkpoint);
  if (trainer_.finished()) throw Error(folder_.string() + ": the training is finished, nothing to resume");
  if (!changed.empty() && setup_.arguments().strict) throw Error(changed.front());
  note_all("warning", changed);
  first_epoch_ = trainer_.state().epoch;
  note(format("Resuming training from epoch %lld, batch %lld", ll(trainer_.state().epoch), ll(trainer_.state().batch)));
}

void TrainRun::describe() {
  const Model& model = setup_.model();
  const ModelStats stats = model_stats(model);
  say(model_table(model, stats) + format("%s summary: %zu layers, %lld parameters, %.1f GFLOPs", model.name.c_str(),
                                         model.layers.size(), ll(stats.parameters),
                                         2e-9 * static_cast<double>(stats.macs)));
  const TrainOptions& o = setup_.options();
  note("hyperparameters: " + joined(write_hyp(o.hyp)));
  note(format("optimizer: %s(lr=%g), batches of %lld pictures, %lld batches an epoch",
              std::string(to_string(o.optimizer)).c_str(), o.hyp.lr0, ll(o.batch), ll(trainer_.batches())));
  const Communicator& processes = *setup_.arguments().communicator;
  if (processes.size() > 1)
    note(format("data parallel: %d processes, the first is ", processes.size()) + processes.name(0));
  const PlanStats plan = trainer_.plan_stats();
  note(format("memory: %.1f MiB for values of a %s, %.1f MiB workspace", mib(plan.arena_bytes),
              processes.size() > 1 || o.sync_bn ? "part of a batch" : "batch", mib(plan.workspace_bytes)));
  note(format("Image sizes %lld train, %lld val\nUsing %d loader workers\nLogging results to ", ll(o.img), ll(o.img),
              o.workers) +
       folder_.string() + format("\nStarting training for %lld epochs...", ll(o.epochs)));
}

void TrainRun::operator()() {
  describe();
  watch_.lap();
  {
    const StopRequests requests;
    while (!trainer_.finished() && setup_.options().epochs > 0) epoch();
  }
  conclude();
  if (!unsaved_.empty()) throw IoError("something could not be saved: " + unsaved_);
}

/// A full disk may have room later: says so and goes on.
template <class Work>
void TrainRun::attempt(const Work& work) {
  try {
    work();
  } catch (const IoError& problem) {
    unsaved_ = problem.what();
    note("warning: not saved: " + printable(unsaved_));
  }
}

void TrainRun::epoch() {
  const index_t number = trainer_.state().epoch;
  const bool last = number + 1 == setup_.options().epochs;
  log_.begin_epoch();
  batches();
  log_.end_training(number);
  std::optional<Validation> found;
  if (last || !setup_.arguments().noval) found = validate();
  const bool best = trainer_.finish_epoch(found ? &*found : nullptr);
  if (found) log_.validation(found->metrics);
  attempt([&] { log_.book(trainer_.state().history); });
  if (!setup_.arguments().nosave || trainer_.finished()) save(best);
  if (!trainer_.finished() && stop_requested()) leave();
}

void TrainRun::batches() {
  while (const std::optional<StepResult> done = step()) {
    after_step(*done);
    if (stop_requested()) leave();
  }
}

/// Of any process: all end after the same batch.
bool TrainRun::stop_requested() const { return setup_.arguments().communicator->any(StopRequests::code() != 0); }

std::optional<StepResult> TrainRun::step() {
  try {
    return trainer_.step();
  } catch (const IoError&) {
    throw;
  } catch (const Error& problem) {
    // What could be seen of it: the tensor is in the message.
    const std::string text = problem.what(), cause = text.substr(0, text.find("; pictures:"));
    std::string list = cause + "\n";
    for (const index_t index : trainer_.batch().indices)
      list += setup_.train().samples[static_cast<std::size_t>(index)].image.string() + "\n";
    attempt([&] { write_text((folder_ / "failure.txt").string(), list); });
    throw Error(cause + " (" + (folder_ / "failure.txt").string() + " lists the batch)");
  }
}

void TrainRun::after_step(const StepResult& step) {
  const index_t batch = setup_.options().batch, all = static_cast<index_t>(setup_.train().samples.size());
  log_.batch(step, std::min(batch, all - step.batch * batch), trainer_.batches());
  note_all("ignoring corrupt image/label", trainer_.batch().skipped);
  if (step.iteration < shown_batches && !setup_.arguments().noplots)
    attempt([&] { save_batch_picture(folder_, step.iteration, trainer_.batch(), setup_.train(), setup_.names()); });
  if (too_many_skipped(setup_, trainer_)) {
    save(false);
    throw Error(format("%lld of %lld pictures cannot be read any more, more than 5 %%; --allow-skips goes on",
                       ll(trainer_.skipped()), static_cast<long long>(setup_.train().samples.size())));
  }
}

std::optional<Validation> TrainRun::validate() {
  try {
    return trainer_.validate([](const Batch&, std::span<const Judged>) {
      if (StopRequests::code() != 0) throw Interrupted();
    });
  } catch (const Interrupted&) {
    setup_.arguments().communicator->leave("stopped by a signal");  // the others wait for the validation
    leave();
  }
}

void TrainRun::save(bool best) {
  const Uninterrupted shield;
  attempt([&] { save_weights(best); });
  // The checkpoint comes last: whoever goes on from it finds the files of its epoch.
  attempt([&] { trainer_.save(folder_ / weights_folder, stored_); });
}

void TrainRun::save_weights(bool best) {
  const std::map<std::string, std::string> metadata = setup_.metadata();
  save_state_dict(weights("last.safetensors"), trainer_.average(), metadata);
  if (best) save_state_dict(weights("best.safetensors"), trainer_.average(), metadata);
  const index_t period = setup_.arguments().save_period, done = trainer_.state().epoch;
  if (period > 0 && trainer_.state().batch == 0 && done > 0 && (done - 1) % period == 0)
    save_state_dict(weights("epoch" + std::to_string(done - 1) + ".safetensors"), trainer_.average(), metadata);
}

void TrainRun::leave() {
  save(false);
  if (!unsaved_.empty()) throw IoError("something could not be saved: " + unsaved_);
  throw Stopped(stop_code(), format("stopped in epoch %lld after batch %lld; go on with: slimneck train --resume ",
                                    ll(trainer_.state().epoch), ll(trainer_.state().batch)) +
                                 folder_.string());
}

void follow(const TrainSetup& setup, const Checkpoint* checkpoint) {
  Communicator& processes = *setup.arguments().communicator;
  Trainer trainer(setup.model(), setup.parameters(), setup.train(), nullptr, at_least_an_epoch(setup.options()));
  if (checkpoint != nullptr) static_cast<void>(trainer.load(*checkpoint));
  const StopRequests requests;
  const auto stop_when_asked = [&] {
    if (processes.any(StopRequests::code() != 0)) throw Stopped(stop_code(), "");
  };
  while (!trainer.finished() && setup.options().epochs > 0) {
    while (trainer.step()) {
      for (const std::string& picture : trainer.batch().skipped)
        complain("ignoring corrupt image/label: " + printable(picture));
      if (too_many_skipped(setup, trainer)) throw Error("too many pictures cannot be read any more");
      stop_when_asked();
    }
    trainer.finish_epoch(nullptr);
    if (!trainer.finished()) stop_when_asked();
  }
}

void TrainRun::conclude() {
  const TrainState& state = trainer_.state();
  if (state.epoch < setup_.options().epochs)
    note(
        format("Stopping training early as no improvement observed in last %lld epochs. Best results observed at "
               "epoch %lld, best model saved as best.safetensors.",
               ll(setup_.options().patience), ll(state.best_epoch)));
  const double hours = watch_.lap() / 3.6e6;
  say(format("\n%lld epochs completed in %.3f hours.", ll(state.epoch - first_epoch_), hours));
  const TrainSpeed& speed = log_.speed();
  const std::string pace = format("%.1f pictures per second in training, %.1f %% of the time waiting for them",
                                  speed.pictures_per_second(), 100 * speed.waiting_share());
  if (speed.batches > 0) note(pace);
  const index_t skipped = setup_.train().corrupt + trainer_.skipped();
  if (skipped > 0) note(format("%lld pictures could not be used", ll(skipped)));
  if (state.epoch > 0)
    attempt([&] {
      finish_training(
          setup_, folder_, state, speed,
          {{"model", setup_.model().name + ", dialect " + setup_.model().dialect},
           {"training data", format("%zu pictures, %lld of them without objects; %lld could not be used",
                                    setup_.train().samples.size(), ll(setup_.train().backgrounds()), ll(skipped))},
           {"epochs",
            format("%lld, %.3f hours for the last %lld", ll(state.epoch), hours, ll(state.epoch - first_epoch_))},
           {"speed", pace}});
    });
  say("Results saved to " + bold(folder_.string()));
}

}  // namespace slimneck::cli
