// The command line of train: YOLOv5's flags, and what is stored of them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "cli.hpp"
#include "run_folder.hpp"
#include "slimneck/train.hpp"

namespace slimneck::cli {

struct TrainArguments {
  ModelArguments model;
  ExecArguments exec;
  RunFolderOptions folder{.project = "runs/train"};
  std::string data, hyp, resume, cache, optimizer = "SGD", box_loss = "ciou";
  index_t epochs = 100, batch = 16, img = 640, patience = 100, save_period = -1, seed = 0;
  int workers = 8;
  std::vector<index_t> freeze{0};  ///< one number: so many layers; several: these layers
  double label_smoothing = 0;
  bool resuming = false, caching = false;  ///< --resume, --cache are there, with or without a value
  bool rect = false, nosave = false, noval = false, noautoanchor = false, noplots = false, image_weights = false,
       multi_scale = false, single_cls = false, cos_lr = false, autobalance = false, strict = false,
       allow_skips = false, sync_bn = false;
  Communicator* communicator = nullptr;  ///< of the processes that train together

  void add_to(CLI::App& app);
  /// Throws UsageError when options do not go together.
  void check() const;

  /// Every option by name, as opt.yaml and checkpoints have it.
  [[nodiscard]] std::map<std::string, std::string> stored() const;
  /// What the library takes; `hyp` is set by whoever knows it.
  [[nodiscard]] TrainOptions options() const;
};

/// The arguments of a run that goes on: those that it was begun with, except for what may change (threads, --workers,
/// --cache, --memory, --strict, ...), which is as given now. Throws UsageError, naming both, when something else was
/// given differently in `app`.
TrainArguments resumed_arguments(const TrainArguments& given, const CLI::App& app,
                                 const std::map<std::string, std::string>& stored, const std::string& run);

/// opt.yaml
std::string write_options(const std::map<std::string, std::string>& options);

}  // namespace slimneck::cli
