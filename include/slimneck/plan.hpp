// Parameters and Plan: a graph compiled for one shape, precision and device, ready to run.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "slimneck/exec.hpp"
#include "slimneck/graph.hpp"
#include "slimneck/tune.hpp"

namespace slimneck {

namespace graph {
class PackedStore;
}

class BatchPart;

/// Owns the parameters and the state of a graph by name, in logical order (OIHW), and one gradient for each parameter.
/// Plans of any shape share one Parameters; each backward adds to the gradients.
class SLIMNECK_EXPORT Parameters {
 public:
  /// A parameter or state, under the name of its node.
  struct Entry {
    std::string name;              ///< as in weight files
    std::vector<index_t> dims;     ///< as PyTorch writes them
    Role role = Role::parameter;   ///< parameter or state
    Init init;                     ///< how initialise() fills it
    Tensor value;                  ///< plain, OIHW order
    index_t gradient_offset = -1;  ///< first element in the common gradient buffer; -1 for state
  };

  /// All parameters and states of the graph, initialised with seed 0. type: f32 or f64.
  explicit Parameters(const Graph& graph, DType type = DType::f32);

  /// Draws every parameter and state anew; the numbers depend on the seed and the name only.
  void initialise(std::uint64_t seed);

  /// Of all values and gradients.
  [[nodiscard]] DType dtype() const noexcept { return type_; }
  /// In the order of the graph; call touch() after writing values.
  [[nodiscard]] std::vector<Entry>& entries() noexcept { return entries_; }
  /// In the order of the graph.
  [[nodiscard]] const std::vector<Entry>& entries() const noexcept { return entries_; }
  /// Index of an entry, -1 when there is none.
  [[nodiscard]] int find(std::string_view name) const noexcept;
  /// Throws Error when there is no such entry.
  [[nodiscard]] Entry& at(std::string_view name);
  /// View of the gradient of entry i, which must be a parameter.
  template <class T>
  [[nodiscard]] View<T> gradient(const Entry& entry) {
    return View<T>(gradients_.data<T>() + entry.gradient_offset, entry.value.shape());
  }
  /// All gradients in one piece.
  [[nodiscard]] Tensor& gradients() noexcept { return gradients_; }
  /// All gradients become zero.
  void zero_grad() noexcept;

  /// Counts changes; whoever writes values calls touch(), and plans then pack again: for inference on refresh(), for
  /// training in the next run.
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }
  /// The last version that changed more than states.
  [[nodiscard]] std::uint64_t parameters_version() const noexcept { return parameters_version_; }
  /// Values have changed.
  void touch() noexcept { parameters_version_ = ++version_; }
  /// Only states have, such as running statistics.
  void touch_states() noexcept { ++version_; }

  /// What the inference plans of these parameters share.
  [[nodiscard]] graph::PackedStore& packed_store() const noexcept { return *store_.store; }

 private:
  /// A copy of parameters has other numbers soon: it shares nothing.
  struct Store {
    Store();
    Store(const Store& /*other*/) : Store() {}
    Store(Store&&) noexcept = default;
    Store& operator=(const Store& other);
    Store& operator=(Store&&) noexcept = default;
    ~Store() = default;
    std::shared_ptr<graph::PackedStore> store;
  };

  DType type_;
  std::vector<Entry> entries_;
  std::map<std::string, int, std::less<>> index_;
  Tensor gradients_;
  std::uint64_t version_ = 1, parameters_version_ = 1;
  Store store_;
};

enum class Mode : std::uint8_t { infer, train };

/// What a plan is compiled for.
struct PlanOptions {
  Mode mode = Mode::infer;       ///< train: batch statistics, and a backward
  Exec exec = {};                ///< where and how it runs; on a CUDA device f32 only
  bool input_gradients = false;  ///< training: also the gradients with respect to the graph's inputs
  /// Training: bytes that the arena should stay below. As long as it does not, values that the backward needs are
  /// computed again there instead of being kept, the largest first. 0: what the machine has.
  std::size_t memory = 0;
  Tune tune = Tune::table;     ///< how kernels are chosen
  TuneCache* tuned = nullptr;  ///< read and filled by Tune::measure; null: what is measured serves this plan alone
  /// To see what they gain: rewrites to leave out by name ("fuse_gs_pair"; explain() lists them). Throws Error for a
  /// name that is none, and for one that a plan cannot do without.
  std::vector<std::string> without = {};
  /// Likewise: concat, slice and channel shuffle copy their channels instead of being bookkeeping.
  bool copy_channels = false;
  /// Training: the plan works on a part of a batch, beside others. Must outlive the plan.
  BatchPart* part = nullptr;
  int ordinal = 0;  ///< which of the devices of kind exec.device
  /// CUDA: dense convolutions may round what they multiply to 10 bits of mantissa, for tensor cores.
  bool tf32 = false;
};

/// Throws DeviceError, which says why, when no plan can run on this device.
SLIMNECK_EXPORT void require_device(Device device, int ordinal = 0);

/// One step of a plan: a kernel, or a movement where memory could not be shared.
struct PlanStep {
  std::string name;  ///< of the node, or of the parameter that is packed or that a gradient is added to
  /// "conv_bn_act", or what a movement is: "copy", "reorder", "concat", "slice", ...; "pack" where a training plan
  /// brings a parameter into the order that kernels read.
  std::string op;
  std::string kernel;             ///< "winograd4"; "reference" where the scalar specification runs
  std::string fused;              ///< the ops that a composite stands for
  std::string why;                ///< of a movement: why it was needed
  std::string layout;             ///< of what is written: "nChw16c +8 holes"
  Shape shape;                    ///< of what is written, logical
  bool backward = false;          ///< of the backward segment
  bool moves = false;             ///< its output is its input in other places
  bool in_place = false;          ///< its output lies over one of its inputs
  Cost cost;                      ///< logical work; nothing for movements
  std::size_t bytes_read = 0;     ///< every operand once, as it lies in memory
  std::size_t bytes_written = 0;  ///< results once, as they lie in memory
  bool port = false;              ///< writes an input or output of the plan, or a packed parameter
  std::size_t offset = 0;         ///< bytes, in the arena or among the ports
};

/// A piece of the arena and the steps, forward and backward counted as one list, during which it is kept.
struct PlanBuffer {
  std::string name;                   ///< of the node that first writes it
  std::size_t offset = 0, bytes = 0;  ///< place and size in the arena
  int first_step = 0, last_step = 0;  ///< both included
};

/// What a plan keeps and moves, from the read and write sets of its steps.
struct PlanStats {
  std::size_t arena_bytes = 0;  ///< all values that live between steps
  /// The most that must be kept at once in this order of steps, whatever the placement: over all steps the greatest sum
  /// of the logical bytes of live values, without padding, holes and copies.
  std::size_t arena_lower_bound = 0;
  std::size_t persistent_bytes = 0;  ///< the plan's inputs and outputs, and what depends on parameters alone
  std::size_t packed_bytes = 0;      ///< copies of parameters in the order that kernels read
  std::size_t workspace_bytes = 0;   ///< scratch memory, common to all steps
  std::size_t steps = 0;             ///< forward and backward
  std::size_t lone_activations = 0;  ///< steps that only apply an activation
  std::string order;                 ///< of the nodes: "as given", or what needs less memory
  std::size_t kept_bytes = 0;        ///< training: logical bytes that the backward reads of what the forward computed
  /// Training: what is computed again in the backward instead, by name, in logical bytes.
  std::vector<std::pair<std::string, std::size_t>> recomputed;
  /// Bytes written by steps that only rearrange their input: by op ("channel_shuffle", "concat", "upsample", ...),
  /// "copy" where two layouts could not agree, "reorder" at the plan's inputs and outputs, "pack" for parameters in
  /// training. What became bookkeeping is not here.
  std::map<std::string, std::size_t> bytes_moved;
};

/// When the steps of a run began and ended, in nanoseconds of std::chrono::steady_clock. Plan::timeline() makes one.
struct Timeline {
  /// Begin and end of one step.
  struct Span {
    std::int64_t begin = 0, end = 0;  ///< nanoseconds
    /// Milliseconds between the two.
    [[nodiscard]] double ms() const noexcept { return static_cast<double>(end - begin) * 1e-6; }
  };
  std::vector<Span> steps;  ///< as Plan::steps() lists them
};

/// A plan keeps references to the Parameters it was made for, and reads and writes their tensors in place: do not
/// replace or move them while it lives. It is immutable apart from its own buffers: several threads may each make and
/// run a plan of one model, as long as nobody writes its parameters meanwhile.
class SLIMNECK_EXPORT Plan {
 public:
  /// Compiles: everything is decided, checked and allocated here. Throws ShapeError, DeviceError or Error. A plan for a
  /// CUDA device holds its work as graphs that are launched in one call each.
  Plan(const Graph& graph, Parameters& parameters, const PlanOptions& options = {});
  ~Plan();
  Plan(Plan&&) noexcept;             ///< views stay valid
  Plan& operator=(Plan&&) noexcept;  ///< views stay valid

  /// Plain NCHW views of the plan's own memory. T must be the plan's element type. Throws Error for an unknown name.
  template <class T = float>
  [[nodiscard]] View<T> input(std::size_t i = 0) {
    return input_any(i, dtype_of<T>).template as<T>();
  }
  /// As input, of a result; valid after forward().
  template <class T = float>
  [[nodiscard]] View<T> output(std::string_view name) {
    return output_any(name, dtype_of<T>).template as<T>();
  }
  /// Upstream gradient of a result; write it before backward(). It begins as zero and keeps what was written.
  template <class T = float>
  [[nodiscard]] View<T> output_gradient(std::string_view name) {
    return output_gradient_any(name, dtype_of<T>).template as<T>();
  }
  /// Valid after backward() of a plan with input_gradients.
  template <class T = float>
  [[nodiscard]] View<T> input_gradient(std::size_t i = 0) {
    return input_gradient_any(i, dtype_of<T>).template as<T>();
  }
  /// Names of the results of this mode.
  [[nodiscard]] std::vector<std::string> outputs() const;

  /// Packs the parameters again if they changed: call it before the next forward, since plans share what they pack.
  /// Training plans pack in every forward and need no call. On a CUDA device it waits.
  void refresh();
  /// With a timeline of this plan, begin and end of the steps that run are written there; nothing else is different.
  /// In training running statistics change, and the parameters' version with them.
  void forward(Timeline* timeline = nullptr) noexcept;
  /// Adds to the gradients of the parameters; valid once after each forward.
  void backward(Timeline* timeline = nullptr) noexcept;
  /// Until what forward and backward began is done. On a CUDA device they only queue work, and outputs, running
  /// statistics and gradients are those of before until this returns: call it before they are read, and before inputs
  /// or parameters are written again. Throws DeviceError, which names what failed first, and for which node; what came
  /// of the work then is of no use. With a timeline forward and backward wait after each step.
  void wait();

  /// One line per step: kernel, layouts, arena offsets, bytes; then what was fused, copied and why.
  [[nodiscard]] std::string explain() const;
  /// Sums over the steps.
  [[nodiscard]] PlanStats stats() const;
  /// The steps of the forward, then of the backward.
  [[nodiscard]] std::vector<PlanStep> steps() const;
  /// Pieces of the arena, in the order of their first step.
  [[nodiscard]] std::vector<PlanBuffer> buffers() const;
  /// One to give to this plan's forward and backward.
  [[nodiscard]] Timeline timeline() const;

 private:
  [[nodiscard]] AnyView input_any(std::size_t i, DType type);
  [[nodiscard]] AnyView output_any(std::string_view name, DType type);
  [[nodiscard]] AnyView output_gradient_any(std::string_view name, DType type);
  [[nodiscard]] AnyView input_gradient_any(std::size_t i, DType type);

  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Inference or training at several sizes of the one input: a plan for each, kept until it is the one that was not used
/// for longest. They share the packed parameters (inference).
class SLIMNECK_EXPORT PlanCache {
 public:
  /// Keeps `most` plans. The graph has one input; parameters outlive the cache.
  PlanCache(Graph graph, Parameters& parameters, const PlanOptions& options = {}, std::size_t most = 8);

  /// The plan for inputs of this shape, refreshed; valid until as many others were asked for. Throws as Plan does.
  Plan& at(const Shape& input);
  /// Plans that are kept now.
  [[nodiscard]] std::size_t size() const noexcept { return plans_.size(); }

 private:
  struct Kept {
    Shape input;
    Plan plan;
  };
  Graph graph_;
  Parameters& parameters_;
  PlanOptions options_;
  std::size_t most_;
  std::list<Kept> plans_;  ///< the one used last is first
};

}  // namespace slimneck
