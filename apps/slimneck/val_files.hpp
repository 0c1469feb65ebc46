// What a run of val leaves behind: labels, COCO's JSON, curves, the confusion matrix, mosaics of the first batches.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "run_folder.hpp"
#include "slimneck/data.hpp"
#include "slimneck/metrics.hpp"

namespace slimneck::cli {

struct ValFilesOptions {
  RunFolderOptions folder{.project = "runs/val"};
  bool text = false, confidence = false, json = false, plots = true;

  [[nodiscard]] bool saves() const noexcept { return text || json || plots; }
};

class ValFiles {
 public:
  /// `names` of the classes; `json` is the name of the JSON file. Throws IoError when the folder cannot be made. What
  /// is given must outlive this.
  ValFiles(const ValFilesOptions& options, const DataSet& data, std::span<const std::string> names, std::string json);

  [[nodiscard]] const std::filesystem::path& directory() const noexcept { return folder_.path(); }
  /// Of the batches so far, with plots.
  [[nodiscard]] const ConfusionMatrix& confusion() const noexcept { return confusion_; }
  /// After each batch, in order.
  void add(const Batch& batch, std::span<const Judged> judged);
  void finish(const Metrics& metrics);

 private:
  void save_labels(const Sample& sample, std::span<const Detection> detections);
  void list(const Sample& sample, std::span<const Detection> detections);
  void save_mosaics(const Batch& batch, std::span<const Judged> judged) const;

  const ValFilesOptions& options_;
  const DataSet& data_;
  std::span<const std::string> names_;
  std::string json_name_;
  RunFolder folder_;
  ConfusionMatrix confusion_;
  std::map<std::string, int> stems_;  ///< how many pictures had each name so far
  std::vector<int> categories_;       ///< COCO's number of each class
  std::string json_ = "[";
  int batches_ = 0;
};

}  // namespace slimneck::cli
