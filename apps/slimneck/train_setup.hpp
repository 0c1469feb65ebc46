// Everything that a training needs, read and checked before it begins.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "slimneck/train.hpp"
#include "train_options.hpp"

namespace slimneck::cli {

class TrainSetup {
 public:
  /// A new training.
  explicit TrainSetup(TrainArguments given);
  /// One that goes on: model and hyperparameters come from the checkpoint.
  TrainSetup(TrainArguments resumed, const TrainState& state);
  TrainSetup(const TrainSetup&) = delete;
  TrainSetup& operator=(const TrainSetup&) = delete;

  [[nodiscard]] const TrainArguments& arguments() const noexcept { return arguments_; }
  [[nodiscard]] const TrainOptions& options() const noexcept { return options_; }
  [[nodiscard]] const std::vector<std::string>& names() const noexcept { return names_; }
  [[nodiscard]] const DataSet& train() const noexcept { return train_; }
  [[nodiscard]] const DataSet& val() const noexcept { return val_; }
  [[nodiscard]] const Model& model() const noexcept { return model_; }
  [[nodiscard]] const Parameters& parameters() const noexcept { return *parameters_; }
  /// What checkpoints keep, so that a run can go on without the files that it was begun with, save for the data.
  [[nodiscard]] std::map<std::string, std::string> stored() const;
  /// What weights and checkpoints take on the disk while the next checkpoint is written.
  [[nodiscard]] std::uint64_t bytes_on_disk() const;
  /// What files of weights say about themselves.
  [[nodiscard]] std::map<std::string, std::string> metadata() const;

 private:
  void scan();
  [[nodiscard]] DataSet scan(const DataConfig& config, Split split) const;
  void check_data() const;
  void fit_anchors();
  void open();
  void initialise();

  TrainArguments arguments_;
  TrainOptions options_;
  std::vector<std::string> names_;
  DataSet train_, val_;
  Model model_;
  std::optional<SafeTensors> weights_;  ///< to begin with
  std::optional<Parameters> parameters_;
};

/// More than 5 % of so many.
[[nodiscard]] bool too_many(index_t skipped, index_t pictures) noexcept;

}  // namespace slimneck::cli
