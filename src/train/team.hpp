// A training step in parts: the parts of a batch that this process works on, each with a plan and a thread of its own,
// beside those of other processes.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "slimneck/data.hpp"
#include "slimneck/loss.hpp"
#include "slimneck/model.hpp"
#include "slimneck/parallel.hpp"
#include "slimneck/plan.hpp"
#include "train/buckets.hpp"

namespace slimneck::train {

/// How a batch is cut. Part p of `parts` has the pictures from p n / parts up to (p + 1) n / parts; the first `ranks`
/// processes work on parts / ranks of them each, in order.
struct Cut {
  index_t parts = 1;
  int ranks = 1;

  /// Statistics in common: parts of one size, the most of 8, 4, 2 and 1, whatever the number of processes. Else a part
  /// for each process.
  static Cut of(index_t pictures, int processes, bool sync_bn);
  /// First picture of a part, or of the one after the last.
  [[nodiscard]] index_t first(index_t part, index_t pictures) const { return part * pictures / parts; }
  /// Parts of each of the processes that have any.
  [[nodiscard]] index_t each() const { return parts / ranks; }
};

/// What a team is made with.
struct TeamOptions {
  PlanOptions plan;                      ///< mode and part are set here
  Communicator* communicator = nullptr;  ///< absent: one process
  bool sync_bn = false;                  ///< statistics in common
  index_t batch = 1;                     ///< pictures of a full batch
  std::size_t most_plans = 8;            ///< of each part
  std::vector<std::string> dead;         ///< parameters that no gradient reaches
};

class Team {
 public:
  /// Parameters are f32 and outlive the team. Throws Error when the processes cannot share such a batch.
  Team(const Model& model, Parameters& parameters, const TeamOptions& options);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  /// LoaderOptions::part: the pictures of this process.
  [[nodiscard]] std::array<index_t, 2> pictures(index_t batch) const;
  /// The shape of a part of a full batch.
  [[nodiscard]] Shape part_of(const Shape& batch) const;
  /// The plan of a part of such a batch.
  Plan& plan(const Shape& batch);

  /// Forward, loss and backward of a batch, of which `batch` holds this process's pictures. Gradients are added to the
  /// parameters', running statistics move, and the balance of the loss. The loss is that of the whole batch. Throws
  /// what went wrong in any part; IoError when another process is gone.
  LossParts operator()(const Batch& batch, DetectionLoss& loss);

 private:
  class Member;

  /// What a slot does with a batch.
  struct Task {
    Plan* plan = nullptr;
    int threads = 1;
    index_t first = 0, last = 0;  ///< pictures, among those of this process
  };

  Member& member(index_t slot, index_t parts);
  void prepare(const Batch& batch, const Cut& cut);
  void run_parts(const Batch& batch, const DetectionLoss& loss);
  void run(index_t slot, const Batch& batch, const DetectionLoss& loss) noexcept;
  void work(index_t slot, const Batch& batch, const DetectionLoss& loss);
  void sum(index_t slot, std::span<double> numbers) noexcept;
  void add_up();
  void stop(const std::exception_ptr& problem) noexcept;

  const Model& model_;
  Parameters& parameters_;
  TeamOptions options_;
  std::unique_ptr<Communicator> single_;
  Communicator& communicator_;
  Buckets buckets_;
  std::vector<Tensor> gradients_;                                      ///< of each slot: a part of a batch here
  std::map<std::array<index_t, 2>, std::unique_ptr<Member>> members_;  ///< by slot and parts
  std::vector<Task> tasks_;                                            ///< of the batch, one for each slot

  std::mutex mutex_;
  std::condition_variable changed_;
  index_t here_ = 0, arrived_ = 0;  ///< parts of this process; those that came to the present sum
  int ranks_ = 1;
  std::int64_t round_ = 0;
  bool adding_ = false;
  std::vector<std::span<double>> numbers_;
  std::vector<double> result_;  ///< of the batch: losses and the levels' objectness
  std::exception_ptr problem_;
  std::atomic<bool> stopped_ = false;
};

}  // namespace slimneck::train
