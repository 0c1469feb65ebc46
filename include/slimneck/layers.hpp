// Layers: modules as compositions of ops, every published dialect of them chosen by data.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "slimneck/ops.hpp"

namespace slimneck {

enum class ShuffleKind : std::uint8_t {
  interleave,   ///< out[j] = in[j/2 + (j%2) n/2]: a0 b0 a1 b1 ...
  deinterleave  ///< even channels first, then odd ones: the inverse permutation
};

/// "source" list of channel_shuffle for n channels. Throws ShapeError when n is odd.
SLIMNECK_EXPORT std::vector<index_t> shuffle_source(index_t channels, ShuffleKind kind);

/// "interleave", "deinterleave".
SLIMNECK_EXPORT std::string_view to_string(ShuffleKind kind) noexcept;
SLIMNECK_EXPORT std::optional<ShuffleKind> find_shuffle(std::string_view name) noexcept;

/// PyTorch's spelling, "nn.SiLU()" or "nn.LeakyReLU(0.1)"; Act::none is "nn.Identity()".
SLIMNECK_EXPORT std::string to_string(const kernels::Activation& act);
/// The activation of that name: "nn.SiLU()", "nn.SiLU", "SiLU", "silu", "nn.LeakyReLU(0.1, inplace=True)".
SLIMNECK_EXPORT std::optional<kernels::Activation> find_activation(std::string_view name);

/// How one published family of slim-neck code builds its modules. The table is in src/layers/dialects.cpp.
struct Dialect {
  std::string_view name;     ///< "yolov5", "y5", "paper", "v4", "v8"
  kernels::Activation act;   ///< of every Conv whose `act` is true
  ShuffleKind shuffle;       ///< of GSConv
  bool bottleneck_width_e;   ///< GSBottleneck's hidden width is int(c2*e); otherwise c2/2
  bool bottleneck_last_act;  ///< the second GSConv of a GSBottleneck keeps its activations
  bool bottleneck_c_kernel;  ///< GSBottleneckC's shortcut takes its k and s; otherwise it is always 3x3
  /// Inside of VoVGSCSP: n bottlenecks (e=1), one bottleneck, or GSConv + C2f.
  enum class Csp : std::uint8_t { chain, single, c2f } csp;  ///< which of them
  bool gsconve_gelu;      ///< GSConvE is the GELU form of v8; otherwise the three depthwise branches
  bool conv_dilation;     ///< Conv and DWConv take a dilation before `act`
  bool gsconv_full_args;  ///< GSConv takes k s p g d act; otherwise k s g act
};

SLIMNECK_EXPORT const Dialect* find_dialect(std::string_view name) noexcept;
SLIMNECK_EXPORT std::span<const Dialect> all_dialects() noexcept;

/// Argument of a module after YAML resolution.
using Argument = std::variant<std::monostate /*None*/, bool, index_t, double, std::string, std::vector<double>,
                              std::vector<std::vector<double>>>;

/// Widest layer that a model may have.
inline constexpr index_t max_channels = 65536;

/// What a graph may grow to, so that a small hostile file cannot ask for a huge network.
class SLIMNECK_EXPORT GraphBudget {
 public:
  /// Looks at the nodes added since the last call; throws ShapeError when the graph has more than 100000 nodes, more
  /// than 8 GiB of parameters and state as f32, or so much work that 64-bit counts of it could overflow.
  void charge(const Graph& graph);

 private:
  int seen_ = 0;
  index_t numbers_ = 0;
  double work_ = 0;
};

/// Adds modules to a graph under a name prefix ("model.13.gsb.0"). The graph and the budget must outlive it.
class SLIMNECK_EXPORT ModuleBuilder {
 public:
  /// `budget`, where given, is charged for every node.
  ModuleBuilder(Graph& graph, const Dialect& dialect, std::string prefix, GraphBudget* budget = nullptr);

  /// The same builder one name deeper: "<prefix>.<name>".
  [[nodiscard]] ModuleBuilder scope(std::string_view name) const;
  /// "<prefix>.<index>".
  [[nodiscard]] ModuleBuilder scope(index_t index) const { return scope(std::to_string(index)); }
  /// The same names in another graph.
  [[nodiscard]] ModuleBuilder on(Graph& graph) const { return {graph, dialect_, prefix_}; }

  /// Where nodes are added.
  [[nodiscard]] Graph& graph() const noexcept { return graph_; }
  /// Whose modules are built.
  [[nodiscard]] const Dialect& dialect() const noexcept { return dialect_; }
  /// Of all names.
  [[nodiscard]] const std::string& prefix() const noexcept { return prefix_; }
  /// "<prefix>.<last>", or last alone under an empty prefix.
  [[nodiscard]] std::string name(std::string_view last) const;
  /// Of a value of the graph.
  [[nodiscard]] index_t channels(Value x) const { return graph_.shape(x).c; }

  /// Geometry of a convolution, in YOLOv5's letters.
  struct ConvArgs {
    index_t k = 1, s = 1;  ///< extent of the square kernel, stride
    index_t p = -1;        ///< -1: autopad (d*(k-1)+1)/2
    index_t g = 1, d = 1;  ///< groups, dilation
  };
  /// Convolution with its own "<prefix>.weight", and "<prefix>.bias" where bias_init is given. Weights begin uniform
  /// within 1/sqrt(fan in). Throws ShapeError on widths outside 1..65536 and on groups that do not divide the channels.
  [[nodiscard]] Value conv2d(Value x, index_t c2, const ConvArgs& args, const Init* bias_init = nullptr) const;
  /// "<prefix>.weight bias running_mean running_var num_batches_tracked".
  [[nodiscard]] Value batch_norm(Value x) const;
  /// x itself for Act::none.
  [[nodiscard]] Value activation(Value x, const kernels::Activation& act) const;
  /// This dialect's activation, or none.
  [[nodiscard]] kernels::Activation act(bool on) const noexcept { return on ? dialect_.act : kernels::Activation{}; }
  /// Channels one after another. Throws ShapeError where batch, height or width differ.
  [[nodiscard]] Value concat(std::vector<Value> parts) const;
  /// The sum of two maps of one shape.
  [[nodiscard]] Value add(Value a, Value b) const;
  /// The channels of x permuted; throws ShapeError when their number is odd.
  [[nodiscard]] Value shuffle(Value x, ShuffleKind kind) const;
  /// Maximum over a square window.
  [[nodiscard]] Value max_pool(Value x, index_t kernel, index_t stride, index_t pad) const;
  /// Channels first .. first + count - 1.
  [[nodiscard]] Value slice(Value x, index_t first, index_t count) const;

  /// ShapeError "'<prefix>': cause".
  [[noreturn]] void fail(const std::string& cause) const;

 private:
  void charge() const;

  Graph& graph_;
  Dialect dialect_;
  std::string prefix_;
  GraphBudget* budget_;
};

/// A module of a row of a model file. `c2` is the width after scaling; args are those after c1, c2.
struct ModuleCall {
  std::vector<Value> inputs;   ///< one, or several where `from` is a list
  index_t c2 = 0;              ///< width of the output
  index_t repeats = 1;         ///< for modules that take n inside
  std::vector<Argument> args;  ///< those after c1, c2 and n
};

/// A module that rows of model files may name.
struct ModuleDef {
  std::string_view name;        ///< as model files write it
  std::string_view alias = {};  ///< another name of the same; may be empty
  /// Where its output's width comes from.
  enum class Width : std::uint8_t {
    scaled,                     ///< args[0] is the output width, scaled by the width multiple
    inferred                    ///< the module knows its width from its inputs
  } width = Width::scaled;      ///< which of them
  bool many_inputs = false;     ///< `from` may be a list
  bool repeats_inside = false;  ///< takes n as its third argument; otherwise the module is repeated n times in a row
  bool gs = false;              ///< a module of the slim-neck papers: decides the default dialect
  bool head = false;            ///< ends a network: adds the graph's outputs itself and returns the decoded one
  /// Throws ShapeError on arguments that the module does not take.
  Value (*build)(const ModuleBuilder&, const ModuleCall&) = nullptr;
};

SLIMNECK_EXPORT std::span<const ModuleDef* const> all_modules() noexcept;
SLIMNECK_EXPORT const ModuleDef* find_module(std::string_view name) noexcept;

}  // namespace slimneck
