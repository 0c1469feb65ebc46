// How parameters follow their gradients: schedules, optimisers, and the average of the weights that is kept beside
// them. YOLOv5's rules throughout.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "slimneck/exec.hpp"
#include "slimneck/export.hpp"
#include "slimneck/hyp.hpp"
#include "slimneck/plan.hpp"

namespace slimneck {

// ---- Schedule -------------------------------------------------------------------------------------------------------

/// Groups of parameters, in YOLOv5's order.
enum class Group : std::uint8_t {
  bias,    ///< every bias, those of batch norms too: no decay, and a learning rate of their own in the warm-up
  weight,  ///< weights of convolutions, which decay
  norm     ///< weights of batch norms: no decay
};

/// What one step is made with.
struct Rates {
  std::array<double, 3> lr{};  ///< learning rate of each Group
  double momentum = 0;         ///< of SGD
  index_t accumulate = 1;      ///< batches whose gradients are added up before parameters move
};

/// Rates over a training. For the first `warmup()` batches learning rates rise from 0 (of biases: fall from
/// warmup_bias_lr) to the epoch's, momentum and accumulation rise. The epoch's learning rate falls from lr0 to about
/// lr0 * lrf, along a line or half a cosine. Gradients of 64 pictures are added up, as far as whole batches allow.
class SLIMNECK_EXPORT Schedule {
 public:
  /// For `epochs` epochs of `batches` batches of `batch` pictures.
  Schedule(const Hyp& hyp, index_t epochs, index_t batches, index_t batch, bool cosine);

  /// Of batch `iteration`, counted from the begin of training, which lies in `epoch`; both from 0.
  [[nodiscard]] Rates at(index_t iteration, index_t epoch) const;
  /// Batches of the warm-up: hyp.warmup_epochs, but at least 100.
  [[nodiscard]] index_t warmup() const noexcept { return warmup_; }
  /// hyp.weight_decay for the pictures of a step.
  [[nodiscard]] double weight_decay() const noexcept { return weight_decay_; }

 private:
  Hyp hyp_;
  index_t epochs_, batch_, warmup_;
  double weight_decay_;
  bool cosine_;
};

// ---- Optimiser ------------------------------------------------------------------------------------------------------

/// SGD with Nesterov's momentum, Adam, or Adam with decoupled decay; formulas as in torch.optim.
enum class OptimizerKind : std::uint8_t { sgd, adam, adamw };
/// "SGD", "Adam", "AdamW".
SLIMNECK_EXPORT std::string_view to_string(OptimizerKind kind) noexcept;
/// The kind of this name; throws Error when there is none.
SLIMNECK_EXPORT OptimizerKind optimizer_of(std::string_view name);

/// What an optimiser is made with.
struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::sgd;  ///< the formula
  double weight_decay = 5e-4;               ///< of Group::weight
  double beta1 = 0.937;                     ///< of Adam; SGD's momentum comes with the rates
  double clip = 10;                         ///< gradients of a greater norm are scaled down to it; 0: never
  /// Parameters that stay as they are, by name: frozen ones, and those that no output depends on (no decay either).
  std::vector<std::string> frozen = {};
  Exec exec = {};  ///< isa and threads
};

/// Moves the parameters of a network. Results do not depend on the number of threads.
class SLIMNECK_EXPORT Optimizer {
 public:
  /// `parameters` must be f32 and outlive the optimiser. Throws Error for another type, and for a name in `frozen` that
  /// is none.
  Optimizer(Parameters& parameters, const OptimizerOptions& options);

  /// Norm of all gradients that count; not finite when one of them is not.
  [[nodiscard]] double gradient_norm();
  /// Clips by `norm`, moves the parameters, sets all gradients to zero and touches the parameters. Returns the factor
  /// by which gradients were scaled: 1 where they were not clipped.
  double step(const Rates& rates, double norm);

  /// Steps done so far; Adam's bias correction counts them.
  [[nodiscard]] index_t steps() const noexcept { return steps_; }
  /// As if so many steps had been done; moments() must then be filled.
  void set_steps(index_t steps) noexcept { steps_ = steps; }
  /// First and (of Adam) second moments, each as long as Parameters::gradients() and in its order; zero before the
  /// first step.
  [[nodiscard]] std::vector<Tensor>& moments() noexcept { return moments_; }

 private:
  struct Moved {
    std::size_t entry;
    Group group;
  };

  Parameters& parameters_;
  OptimizerOptions options_;
  std::vector<Moved> moved_;
  std::vector<Tensor> moments_;
  std::vector<double> workspace_;
  index_t steps_ = 0;
};

// ---- Average --------------------------------------------------------------------------------------------------------

/// The exponential moving average of a network's weights and running statistics, which is evaluated and saved. Its
/// decay rises with the number of updates: 0.9999 (1 - exp(-updates / 2000)).
class SLIMNECK_EXPORT Ema {
 public:
  /// Begins with the values of `parameters`, which must be f32.
  explicit Ema(const Parameters& parameters, const Exec& exec = {});

  /// Takes in the values of the parameters it was made from. Counters of batches stay as they were.
  void update(const Parameters& parameters);

  /// The average.
  [[nodiscard]] Parameters& parameters() noexcept { return average_; }
  /// The average.
  [[nodiscard]] const Parameters& parameters() const noexcept { return average_; }
  /// Updates so far.
  [[nodiscard]] index_t updates() const noexcept { return updates_; }
  /// As if there had been so many.
  void set_updates(index_t updates) noexcept { updates_ = updates; }

 private:
  Parameters average_;
  Exec exec_;
  index_t updates_ = 0;
};

}  // namespace slimneck
