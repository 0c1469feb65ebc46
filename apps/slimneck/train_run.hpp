// A training as the program runs it: epochs, files, signals.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "slimneck/train.hpp"
#include "stopwatch.hpp"
#include "train_log.hpp"
#include "train_setup.hpp"

namespace slimneck::cli {

class TrainRun {
 public:
  /// Works in `folder`, which the caller has locked. Throws as Trainer.
  TrainRun(const TrainSetup& setup, std::filesystem::path folder);

  /// What a new run leaves before its first epoch: opt.yaml, hyp.yaml, pictures of the labels.
  void begin();
  /// Goes on from a checkpoint instead.
  void resume(const Checkpoint& checkpoint);

  /// Trains to the end. Throws Stopped when a signal ended it, with everything saved, and IoError at the end when
  /// something could not be saved.
  void operator()();

 private:
  void describe();
  void epoch();
  void batches();
  std::optional<StepResult> step();
  void after_step(const StepResult& step);
  std::optional<Validation> validate();
  void save(bool best);
  void save_weights(bool best);
  [[nodiscard]] bool stop_requested() const;
  [[noreturn]] void leave();
  void conclude();
  [[nodiscard]] std::filesystem::path weights(const std::string& name) const;

  template <class Work>
  void attempt(const Work& work);

  const TrainSetup& setup_;
  std::filesystem::path folder_;
  std::map<std::string, std::string> stored_;
  Trainer trainer_;
  TrainLog log_;
  Stopwatch watch_;
  index_t first_epoch_ = 0;
  std::string unsaved_;  ///< why something could not be saved
};

/// What the processes beside the first one do: they train with it, and leave the rest to it. Goes on from a checkpoint
/// where there is one.
void follow(const TrainSetup& setup, const Checkpoint* checkpoint = nullptr);

/// Looks at the weights of the best epoch once more, and writes what is told of the whole run.
void finish_training(const TrainSetup& setup, const std::filesystem::path& folder, const TrainState& state,
                     const TrainSpeed& speed, std::vector<std::pair<std::string, std::string>> facts);

}  // namespace slimneck::cli
