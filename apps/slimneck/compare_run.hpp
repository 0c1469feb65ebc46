// The measurement of `slimneck compare`: what each kind of convolution costs in a layer's place, counted and timed.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compare_layers.hpp"
#include "measure/machine.hpp"
#include "slimneck/plan.hpp"

namespace slimneck::cli {

enum class Pass : std::uint8_t {
  fwd,    ///< inference: batch norm folded, activation
  bwd,    ///< gradients of input and parameters, batch norm with statistics of the batch
  fwdbwd  ///< a training step of the module: weights packed, forward with statistics, backward
};
inline constexpr std::array all_passes{Pass::fwd, Pass::bwd, Pass::fwdbwd};

std::string_view name_of(Pass pass) noexcept;

/// Exact counts of a module; multiply-adds of its convolutions.
struct Counts {
  Shape output;
  index_t parameters = 0;
  index_t forward = 0, input_gradient = 0, weight_gradient = 0;
  std::optional<index_t> paper;  ///< the forward by the paper's formula

  [[nodiscard]] index_t macs(Pass pass) const;
};

/// From the graph of the module and from that of its gradients.
Counts counts_of(const Op& op, const LayerShape& layer, index_t batch, const kernels::Activation& act);

/// Bytes that a pass reads and writes.
struct Traffic {
  std::size_t unfused = 0;  ///< by the steps of a plan whose concat and shuffle copy, GSConv's halves apart
  std::size_t fused = 0;    ///< by those of the plan that networks get
  /// What must be read and written at the least: input, parameters and upstream gradient, output and gradients, each
  /// once.
  std::size_t least = 0;
};

/// Who ran it.
enum class Engine : std::uint8_t { slimneck, onednn_best, onednn_framework };
std::string_view name_of(Engine engine) noexcept;

/// "oneDNN 2.6.3"; empty where the program was built without it.
std::string peer_name();

/// A kind of convolution in a layer's place, in one direction.
struct CompareRow {
  Op op;
  Engine engine = Engine::slimneck;
  Pass pass = Pass::fwd;
  index_t macs = 0;
  std::size_t bytes = 0;  ///< that the steps move; of a peer the least
  Traffic traffic;
  double median_ms = 0, min_ms = 0, p95_ms = 0;
  double spread = 0;  ///< of the pairs with SC; SC's own of its times
  double macs_vs_sc = 0;
  std::optional<double> time_vs_sc;  ///< none where the machine was too noisy
  double roofline_ms = 0;            ///< arithmetic at its peak, or the least bytes at the rate of memory
  bool memory_bound = false;         ///< what it moves takes longer than what it computes, at the machine's rates
  std::string kernels;               ///< the code that ran

  [[nodiscard]] double reached() const { return roofline_ms / median_ms; }
  /// FLOPs for each byte moved.
  [[nodiscard]] double intensity() const { return 2 * static_cast<double>(macs) / static_cast<double>(bytes); }
};

struct CompareLayer {
  LayerShape shape;
  std::vector<Counts> counts;  ///< of CompareOptions::ops, one after another
  std::vector<CompareRow> rows;
  int repetitions = 0;
  double calibration_spread = 0;  ///< of multiply-adds on registers, in turns with the rows

  /// nullptr when it was not measured.
  [[nodiscard]] const CompareRow* find(std::string_view op, Pass pass, Engine engine = Engine::slimneck) const;
};

struct CompareOptions {
  std::vector<Op> ops;  ///< SC first
  std::vector<Pass> passes{all_passes.begin(), all_passes.end()};
  index_t batch = 1;
  kernels::Activation act{kernels::Act::silu};
  Exec exec;             ///< its threads and ISA resolved
  int ordinal = 0;       ///< as PlanOptions has it
  double time = 5;       ///< seconds after which a layer is not repeated because of noise
  bool peer = false;     ///< also oneDNN's SC, DSC and GSConv, where the program was built with it
  int repetitions = 25;  ///< at least so many
};

struct Comparison {
  CompareOptions options;
  std::string machine;
  std::vector<int> processors;  ///< to which the threads were bound; none: to none
  measure::Roofline peaks;
  std::vector<CompareLayer> layers;
  std::vector<std::pair<std::string, std::string>> skipped;

  /// The worst of all layers.
  [[nodiscard]] double calibration_spread() const;
};

/// Above this spread of the calibration the machine is too noisy for ratios.
inline constexpr double steady = 0.1;

/// Measures the layers one after another; `done` sees what is there after each. Throws before the first is timed where
/// a module does not fit a layer.
Comparison compare(const CompareOptions& options, const std::vector<LayerShape>& layers,
                   const std::function<void(const Comparison&)>& done = {});

}  // namespace slimneck::cli
