// report.html and metrics.json of a training.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "slimneck/metrics.hpp"
#include "slimneck/train.hpp"
#include "train_log.hpp"
#include "val_table.hpp"

namespace slimneck::cli {

/// What is told of a training that is over.
struct TrainSummary {
  std::string title;  ///< of the page
  std::span<const EpochResult> history;
  index_t best_epoch = 0;
  TrainSpeed speed;
  std::span<const std::string> names;
  const Metrics* metrics = nullptr;            ///< of the best weights; null: never validated
  const ConfusionMatrix* confusion = nullptr;  ///< may be null
  std::map<std::string, std::string> options;  ///< as in opt.yaml
  Hyp hyp;
  std::vector<std::pair<std::string, std::string>> facts;  ///< what else is worth saying
};

/// metrics.json
std::string metrics_json(const TrainSummary& summary);

/// A row for each class, as in the table of a validation.
std::string class_table(const std::string& caption, std::span<const ValRow> rows);

/// Charts of how losses, accuracy and learning rates went.
std::string train_course(const TrainSummary& summary);

/// A page that stands alone.
std::string train_report(const TrainSummary& summary);

}  // namespace slimneck::cli
