// Training of detectors: the same few steps that the command `train` takes.
//
//   const DataSet train = scan_data(data, Split::train), val = scan_data(data, Split::val);
//   Trainer trainer(model, parameters, train, &val, options);
//   while (!trainer.finished()) {
//     while (trainer.step()) {
//     }                                   // a batch each
//     const Validation found = trainer.validate();
//     trainer.finish_epoch(&found);
//     trainer.save("runs/train/weights");  // trainer.load(find_checkpoint("runs/train/weights")) goes on, bit for bit
//   }
//   save_state_dict("best.safetensors", trainer.average());
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "slimneck/data.hpp"
#include "slimneck/evaluate.hpp"
#include "slimneck/export.hpp"
#include "slimneck/hyp.hpp"
#include "slimneck/loss.hpp"
#include "slimneck/metrics.hpp"
#include "slimneck/model.hpp"
#include "slimneck/optim.hpp"
#include "slimneck/parallel.hpp"
#include "slimneck/plan.hpp"

namespace slimneck {

/// How a network is trained; names and defaults are YOLOv5's.
struct TrainOptions {
  Hyp hyp;                                       ///< rates, gains, augmentation
  index_t epochs = 100;                          ///< walks through the data
  index_t batch = 16;                            ///< pictures of a batch
  index_t img = 640;                             ///< size of the network's input; a multiple of its stride
  OptimizerKind optimizer = OptimizerKind::sgd;  ///< how parameters follow gradients
  BoxLoss box_loss = BoxLoss::ciou;              ///< what the box loss measures
  bool cos_lr = false;                           ///< learning rates fall along half a cosine, not a line
  bool autobalance = false;                      ///< levels' objectness losses are balanced while training
  bool rect = false;                             ///< batches of one aspect ratio, without mosaics
  bool multi_scale = false;                      ///< each batch in another size, 0.5 to 1.5 times img
  bool image_weights = false;                    ///< pictures of classes that are hard are seen more often
  double label_smoothing = 0;                    ///< see LossOptions
  index_t patience = 100;                        ///< epochs without a better fitness before it ends; 0: never
  std::vector<index_t> freeze;                   ///< layers whose parameters stay as they are
  std::uint64_t seed = 0;                        ///< of everything that is drawn while training
  int workers = 0;                               ///< threads that prepare batches; see LoaderOptions
  std::uint64_t cache_bytes = 0;                 ///< see LoaderOptions
  PlanOptions plan;                              ///< how the network runs; its mode is set here
  /// Processes that train together, each on its part of every batch; absent: one. Must outlive the trainer.
  Communicator* communicator = nullptr;
  /// Batch norms see the whole batch: it is cut into 8 parts of one size (4, 2 or 1 where its pictures do not allow
  /// more), of which each process takes as many. What comes out does not depend on the number of processes.
  bool sync_bn = false;
};

/// What came of one batch.
struct StepResult {
  index_t epoch = 0, batch = 0, iteration = 0;  ///< of this batch; batches are counted within the epoch and in all
  LossParts loss, mean;                         ///< of this batch; of the epoch's batches so far
  index_t labels = 0;                           ///< boxes in the batch
  index_t height = 0, width = 0;                ///< of its pictures
  Rates rates;                                  ///< that hold now
  bool moved = false;                           ///< the parameters were moved after it
  double gradient_norm = 0;                     ///< of the gradients that moved them
  double wait_ms = 0, step_ms = 0;              ///< waiting for the batch; all the rest
};

/// An epoch in the books: a row of results.csv.
struct EpochResult {
  index_t epoch = 0;               ///< from 0
  LossParts train, val;            ///< means over the batches
  double p = 0, r = 0;             ///< see Metrics
  double map50 = 0, map50_95 = 0;  ///< see Metrics
  std::array<double, 3> lr{};      ///< learning rates at its end, of each Group

  /// As Metrics::fitness().
  [[nodiscard]] double fitness() const noexcept { return fitness_of(map50, map50_95); }
  friend bool operator==(const EpochResult&, const EpochResult&) = default;  ///< equal in every number
};

/// How the average of the weights does on the validation data.
struct Validation {
  Evaluation evaluation;  ///< what was found
  Metrics metrics;        ///< YOLOv5's rule
  LossParts loss;         ///< mean over the batches
};

/// Where a training stands, as a checkpoint says it beside the tensors.
struct TrainState {
  index_t generation = 0;                       ///< counts checkpoints
  index_t epoch = 0, batch = 0, iteration = 0;  ///< the next batch: its epoch, its place in it, its place in all
  index_t last_move = -1;                       ///< iteration after which parameters moved last
  index_t moves = 0, averages = 0;              ///< steps of the optimiser, updates of the average
  LossParts loss_sum;                           ///< over the batches of the epoch so far
  std::vector<double> balance;                  ///< of the loss
  std::vector<double> class_fitness;            ///< mAP of each class in the last validation; may be empty
  double best_fitness = 0;                      ///< of best_epoch
  index_t best_epoch = 0;                       ///< the first one if there was none yet
  std::vector<EpochResult> history;             ///< every epoch that is over
  std::map<std::string, std::string> options;   ///< whatever save() was given
  std::string data;                             ///< fingerprint of the training data
  std::string tensors;                          ///< name of the file with the tensors
  std::uint64_t tensors_bytes = 0;              ///< its size
  std::string tensors_sha256;                   ///< its checksum

  friend bool operator==(const TrainState&, const TrainState&) = default;  ///< equal in everything
};

/// A TrainState as JSON, and back to the last bit. parse_train_state throws FormatError "FILE: cause" on what is no
/// state, or of a newer format; `file_name` is for messages.
SLIMNECK_EXPORT std::string write_train_state(const TrainState& state);
/// See write_train_state.
SLIMNECK_EXPORT TrainState parse_train_state(std::string_view json, std::string_view file_name);

/// A checkpoint that was found whole.
struct Checkpoint {
  std::filesystem::path folder;       ///< where it lies
  TrainState state;                   ///< what it says
  std::vector<std::string> problems;  ///< "FILE: cause" where the other one, newer or older, is damaged
};

/// The newest checkpoint in a folder of which every file has the size and the SHA-256 that its state names. Throws
/// IoError when there is none, saying what is wrong with those that are there.
SLIMNECK_EXPORT Checkpoint find_checkpoint(const std::filesystem::path& folder);

/// Trains one network. What comes out is a pure function of model, parameters, data and options: the number of threads,
/// of workers and of interruptions do not change a bit.
class SLIMNECK_EXPORT Trainer {
 public:
  /// The model has a Detect and as many classes as the data; `initial` are its parameters (f32), which are copied.
  /// `validation` may be empty: then validate() must not be called. Both data sets must outlive the trainer. Throws
  /// Error (ShapeError, FormatError) when things do not fit, and as check_hyp.
  Trainer(const Model& model, const Parameters& initial, const DataSet& data, const DataSet* validation,
          const TrainOptions& options);
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// Trains on the next batch of the epoch; nothing when the epoch has no more. Throws Error, naming the first tensor
  /// that is not finite and the pictures of the batch, when the loss or a gradient is not: the parameters were not
  /// moved then, and the trainer must not be used further.
  std::optional<StepResult> step();
  /// The batch that step() worked on last.
  [[nodiscard]] const Batch& batch() const noexcept;
  /// Batches of an epoch.
  [[nodiscard]] index_t batches() const noexcept;

  /// Evaluates the average. `after_batch` as in EvaluateOptions; it may throw to end it.
  Validation validate(const std::function<void(const Batch&, std::span<const Judged>)>& after_batch = {});

  /// Books the epoch that is over, and goes to the next one. With several processes all take what the first one, which
  /// alone validates, gives here: they wait for it. True when no epoch before had a better fitness. Without a
  /// validation the epoch counts as the best. Throws Error when all epochs are over.
  bool finish_epoch(const Validation* validation);

  /// All epochs are over, or as many as `patience` allows passed without a better one.
  [[nodiscard]] bool finished() const noexcept;
  /// Where the training stands.
  [[nodiscard]] const TrainState& state() const noexcept;
  /// The network that is trained.
  [[nodiscard]] const Model& model() const noexcept;
  /// The moving average of the weights, which validate() looks at and which should be kept.
  [[nodiscard]] const Parameters& average() const noexcept;
  /// What is trained.
  [[nodiscard]] Parameters& parameters() noexcept;
  /// The plan that trains full batches.
  [[nodiscard]] PlanStats plan_stats();
  /// Pictures that could not be read so far.
  [[nodiscard]] index_t skipped() const noexcept;

  /// Writes a checkpoint into the folder, in place of the one before the last. Whatever happens meanwhile, the last one
  /// stays whole. `options` are kept with it. Throws IoError.
  void save(const std::filesystem::path& folder, const std::map<std::string, std::string>& options = {});
  /// Goes on from a checkpoint, as if training had never stopped. Returns what has changed since and makes that untrue,
  /// "FILE: what", if anything: the training data. Throws FormatError, IoError when it is not one of this training, or
  /// holds numbers that are not finite; nothing is changed then.
  std::vector<std::string> load(const Checkpoint& checkpoint);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slimneck
