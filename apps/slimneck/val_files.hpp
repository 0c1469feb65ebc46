// What a run of val leaves behind: labels, COCO's JSON, curves, the confusion matrix, mosaics of the first batches.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "run_folder.hpp"
#include "slimneck/data.hpp"
#include "slimneck/files.hpp"
#include "slimneck/metrics.hpp"

namespace slimneck::cli {

struct ValFilesOptions {
  RunFolderOptions folder{.project = "runs/val"};
  bool text = false, confidence = false, json = false, plots = true;

  [[nodiscard]] bool saves() const noexcept { return text || json || plots; }
};

class ValFiles {
 public:
  /// `names` of the classes; `json` is the name of the JSON file. Throws IoError when the folder cannot be made, or
  /// that file. What is given must outlive this.
  ValFiles(const ValFilesOptions& options, const DataSet& data, std::span<const std::string> names,
           const std::string& json);

  [[nodiscard]] const std::filesystem::path& directory() const noexcept { return folder_.path(); }
  /// Of the batches so far, with plots.
  [[nodiscard]] const ConfusionMatrix& confusion() const noexcept { return confusion_; }
  /// After each batch, in order.
  void add(const Batch& batch, std::span<const Judged> judged);
  void finish(const Metrics& metrics);

 private:
  void save_labels(const Sample& sample, std::span<const Detection> detections);
  [[nodiscard]] std::string listed(const Sample& sample, std::span<const Detection> detections);
  void save_mosaics(const Batch& batch, std::span<const Judged> judged) const;

  const ValFilesOptions& options_;
  const DataSet& data_;
  std::span<const std::string> names_;
  RunFolder folder_;
  ConfusionMatrix confusion_;
  std::map<std::string, int> stems_;  ///< how many pictures of each name had to take another one
  std::set<std::string> used_;        ///< names of label files
  std::vector<int> categories_;       ///< COCO's number of each class
  std::optional<WholeFile> json_;     ///< goes before its folder
  std::string between_ = "[\n";       ///< what stands before the next entry of it
  int batches_ = 0;
};

}  // namespace slimneck::cli
