// What a training says while it runs: lines, a progress bar where somebody looks, results.csv and TensorBoard's file.
// Nothing here stops a training: where output goes away, the rest goes on.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "slimneck/tensorboard.hpp"
#include "slimneck/train.hpp"

namespace slimneck::cli {

/// A line on standard output; when that is gone, nothing more is printed.
void say(const std::string& line);

/// results.csv: YOLOv5's columns, a row for each epoch.
std::string results_csv(std::span<const EpochResult> history);

class TrainLog {
 public:
  /// Begins TensorBoard's file in `folder`; where that fails, says so and goes on.
  TrainLog(std::filesystem::path folder, index_t epochs);

  void begin_epoch();
  void batch(const StepResult& step, index_t batches);
  /// The epoch's row, after its last batch.
  void end_training(index_t epoch);
  void validation(Metrics metrics);
  /// Writes down the epochs that are over. Throws IoError when results.csv cannot be written.
  void book(std::span<const EpochResult> history);

 private:
  [[nodiscard]] std::string row(index_t epoch) const;
  void clear_bar();

  std::filesystem::path folder_;
  index_t epochs_;
  bool terminal_;
  std::optional<EventFile> events_;
  std::optional<StepResult> last_;
  double bar_seconds_ = 0;  ///< when the bar was drawn last
};

/// Seconds since 1970.
double wall_seconds();

}  // namespace slimneck::cli
