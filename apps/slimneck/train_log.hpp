// What a training says while it runs: lines, a progress bar where somebody looks, results.csv and TensorBoard's file.
// Nothing here stops a training: where output goes away, the rest goes on.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "progress.hpp"
#include "slimneck/tensorboard.hpp"
#include "slimneck/train.hpp"

namespace slimneck::cli {

/// A line on standard output; when that is gone, nothing more is printed.
void say(const std::string& line);

/// How fast batches went by, validation and files left out.
struct TrainSpeed {
  index_t batches = 0, pictures = 0;
  double seconds = 0, waiting = 0;  ///< in all; of them without a batch that was ready

  [[nodiscard]] double pictures_per_second() const { return seconds > 0 ? static_cast<double>(pictures) / seconds : 0; }
  [[nodiscard]] double waiting_share() const { return seconds > 0 ? waiting / seconds : 0; }
};

/// results.csv: YOLOv5's columns, a row for each epoch.
std::string results_csv(std::span<const EpochResult> history);

class TrainLog {
 public:
  /// Begins TensorBoard's file in `folder`; where that fails, says so and goes on.
  TrainLog(std::filesystem::path folder, index_t epochs);

  void begin_epoch();
  /// After a batch of so many pictures, one of so many batches.
  void batch(const StepResult& step, index_t pictures, index_t batches);
  /// The epoch's row, after its last batch.
  void end_training(index_t epoch);
  void validation(Metrics metrics);
  /// Writes down the epochs that are over. Throws IoError when results.csv cannot be written.
  void book(std::span<const EpochResult> history);
  /// Of the batches so far, the first of them left out: it waits for pictures that none had time to prepare.
  [[nodiscard]] const TrainSpeed& speed() const noexcept { return speed_; }

 private:
  [[nodiscard]] std::string row(index_t epoch) const;
  void clear_bar();

  std::filesystem::path folder_;
  index_t epochs_;
  std::optional<EventFile> events_;
  std::optional<StepResult> last_;
  TrainSpeed speed_;
  bool begun_ = false;
  Progress progress_;
};

/// Seconds since 1970.
double wall_seconds();

}  // namespace slimneck::cli
