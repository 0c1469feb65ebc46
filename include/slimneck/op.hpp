// Ops as data: what one operation is. The engine reads these tables and names no particular op.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "slimneck/exec.hpp"
#include "slimneck/kernels.hpp"
#include "slimneck/tensor.hpp"

namespace slimneck {

namespace kernels::cuda {
struct Entries;
class Stream;
}  // namespace kernels::cuda

class BatchPart;
class GradientContext;
struct Node;
struct Recipe;

/// Value of an attribute: an integer (also flags), a real, or a list of integers.
using AttributeValue = std::variant<index_t, double, std::vector<index_t>>;

/// Attributes of a node by name, e.g. {{"stride", 2}, {"pad_h", 1}}.
class SLIMNECK_EXPORT Attributes {
 public:
  using Item = std::pair<std::string, AttributeValue>;  ///< name and value

  Attributes() = default;
  /// As they are listed.
  Attributes(std::initializer_list<Item> items) : items_(items) {}

  /// Replaces or appends.
  Attributes& set(std::string_view name, AttributeValue value);
  /// Null when it is missing.
  [[nodiscard]] const AttributeValue* find(std::string_view name) const noexcept;
  /// Throw ShapeError when the attribute is missing or of another kind.
  [[nodiscard]] index_t integer(std::string_view name) const;
  /// As integer, for a real attribute.
  [[nodiscard]] double real(std::string_view name) const;
  /// As integer, for a list.
  [[nodiscard]] const std::vector<index_t>& list(std::string_view name) const;
  /// In the order in which they were set.
  [[nodiscard]] const std::vector<Item>& items() const noexcept { return items_; }

 private:
  [[nodiscard]] const AttributeValue& at(std::string_view name) const;
  std::vector<Item> items_;
};

/// One attribute that an op knows. An attribute without a default must be given.
struct AttributeSpec {
  /// What kind of value it has.
  enum class Kind : std::uint8_t { integer, real, list };
  std::string_view name = {};  ///< of the attribute
  Kind kind = Kind::integer;   ///< what graphs check
  bool required = false;       ///< no default
  double fallback = 0;         ///< default of an integer or real
};

/// Work of one node for one run. A multiply-add is 1 MAC = 2 FLOPs.
struct Cost {
  index_t macs = 0;               ///< multiply-adds of convolutions
  index_t bias_adds = 0;          ///< additions of a convolution's own bias
  index_t norm_elements = 0;      ///< outputs of batch normalisation
  index_t act_elements = 0;       ///< outputs of activations
  index_t upsample_elements = 0;  ///< outputs of upsampling
  index_t other_flops = 0;        ///< additions, comparisons and sigmoids of everything else
  index_t bytes_read = 0;         ///< inputs and parameters, each once, 4 bytes per element
  index_t bytes_written = 0;      ///< outputs, each once

  /// All arithmetic as operations: 2 per multiply-add and per normalised output, 1 per addition, activation and output
  /// of an upsampling. The conventions in use count less; ModelStats has them by name.
  [[nodiscard]] SLIMNECK_EXPORT index_t flops() const noexcept;
  /// Adds every count.
  SLIMNECK_EXPORT Cost& operator+=(const Cost& other) noexcept;
};

/// A view whose element type is known at run time (f32 or f64). data is null for an operand that is left out.
struct AnyView {
  void* data = nullptr;                               ///< first element
  DType type = DType::f32;                            ///< of the elements
  Shape shape;                                        ///< physical within plans
  index_t sn = 0, sc = 0, sh = 0, sw = 0, block = 1;  ///< as View's

  AnyView() = default;
  /// Forgets the element type.
  template <class T>
  AnyView(const View<T>& v)  // NOLINT(google-explicit-constructor): an erased view of the same memory
      : data(const_cast<std::remove_const_t<T>*>(v.data)),
        type(dtype_of<std::remove_const_t<T>>),
        shape(v.shape),
        sn(v.sn),
        sc(v.sc),
        sh(v.sh),
        sw(v.sw),
        block(v.block) {}

  /// T must be the element type.
  template <class T>
  [[nodiscard]] View<T> as() const noexcept {
    View<T> v;
    v.data = static_cast<T*>(data);
    v.shape = shape;
    v.sn = sn;
    v.sc = sc;
    v.sh = sh;
    v.sw = sw;
    v.block = block;
    return v;
  }
};

/// What a plan was compiled for.
struct Target {
  Isa isa = Isa::scalar;  ///< whose kernels
  index_t block = 1;      ///< the plan's block of channels
  int threads = 1;        ///< that its kernels run with
  bool direct = false;    ///< no Winograd
  bool train = false;     ///< weights are prepared after every move of the parameters
  /// Of a step: the kernel that was chosen for it, by name. Empty, or a name that does not suit: the op's own choice.
  std::string_view kernel = {};
  BatchPart* part = nullptr;                     ///< of a plan for a part of a batch
  const kernels::cuda::Entries* cuda = nullptr;  ///< its kernels, of a plan for a CUDA device; null on the CPU
};

/// What a kernel is called with. Channels are physical: under a channel map with holes there are more of them than the
/// logical shape has, and the extra ones hold zeros or values that nobody reads.
struct KernelCall {
  const Attributes* attributes = nullptr;   ///< of the node
  std::span<const AnyView> inputs;          ///< operands; no data where one is left out
  std::span<const AnyView> outputs;         ///< results, never overlapping operands
  void* workspace = nullptr;                ///< as many elements as the op or its lowering asked for
  Target target;                            ///< what the plan was compiled for
  void* kept = nullptr;                     ///< Lowering::kept elements
  kernels::cuda::Stream* stream = nullptr;  ///< where the work is queued on a CUDA device; data is in its memory

  /// Operand i; T is the element type.
  template <class T>
  [[nodiscard]] View<const T> in(std::size_t i) const noexcept {
    return inputs[i].as<const T>();
  }
  /// Result i.
  template <class T>
  [[nodiscard]] View<T> out(std::size_t i) const noexcept {
    return outputs[i].as<T>();
  }
};

using KernelFunction = void (*)(const KernelCall&);

/// One function for both precisions, made from a generic lambda of a type and a KernelCall: see any op.
/// }).
struct Reference {
  KernelFunction f32 = nullptr;  ///< for float
  KernelFunction f64 = nullptr;  ///< for double

  /// Both from one generic function.
  template <class Generic>
  static constexpr Reference of(Generic) {
    return {[](const KernelCall& call) { Generic{}.template operator()<float>(call); },
            [](const KernelCall& call) { Generic{}.template operator()<double>(call); }};
  }
};

/// Turns weights packed in an order of WeightOrder into what a kernel (`variant` of it) reads, for o and c physical
/// channels.
using PrepareWeights = void (*)(const Target&, const void* variant, const float* packed, float* prepared, index_t o,
                                index_t c, index_t kh, index_t kw);

/// A kernel that replaces the reference for particular layouts; see OpDef::lower.
struct Lowering {
  std::string_view kernel = {};  ///< name that explain() shows
  KernelFunction run = nullptr;  ///< for the element type that was asked for
  /// How the operands and results that are weights (maps on both axes, or on the first alone) lie.
  kernels::WeightOrder weights = kernels::WeightOrder::plain;
  PrepareWeights prepare = nullptr;  ///< of dense weights, from that order
  const void* variant = nullptr;     ///< what prepare is given
  index_t prepared = 0;              ///< elements of prepared weights
  index_t workspace = 0;             ///< elements of scratch memory, instead of OpDef::workspace
  /// CUDA, inference: elements that belong to the step from run to run, and what fills them whenever parameters change,
  /// from those of the operands that are parameters.
  index_t kept = 0;
  KernelFunction prepare_kept = nullptr;  ///< see kept
  /// The kernels, by name, that compute the same; Target::kernel asks for one. Empty: there is no choice.
  std::vector<std::string_view> alternatives = {};
};

/// Shapes, attributes and layouts from which an op chooses a kernel.
struct LowerContext {
  const Attributes* attributes = nullptr;    ///< of the node
  DType type = DType::f32;                   ///< of every operand
  Target target;                             ///< what the plan is compiled for
  std::span<const AnyView> inputs, outputs;  ///< physical shapes and blocks; no data yet
  std::span<const char> fixed = {};          ///< CUDA: which of the inputs depend on parameters alone, in inference
};

/// Example of an op, for tests (small) and benchmarks (real): inputs are filled with numbers in -1..1.
struct OpCase {
  std::string name;           ///< unique among the cases of an op
  std::vector<Shape> inputs;  ///< logical
  Attributes attributes;      ///< those without a fitting default
  int results = 1;            ///< how many of the outputs, from the first, carry gradients
  bool real = false;          ///< a shape of a real network: for benchmarks, too slow for finite differences
};

/// Special roles that the planner handles without a kernel where it can.
enum class OpKind : std::uint8_t {
  compute,
  source,  ///< inputs, parameters, state: no inputs of their own
  concat,  ///< output channels are those of the inputs, one after another
  gather,  ///< output channel j is input channel source[j], or zero where that is negative: shuffle, slice, pad
};

/// The definition of an op. All functions are pure; shapes are logical NCHW.
struct OpDef {
  std::string_view name = {};                      ///< as model files, explain() and tests show it
  std::span<const AttributeSpec> attributes = {};  ///< that nodes may give
  OpKind kind = OpKind::compute;                   ///< special roles
  std::string_view stands_for = {};                ///< of a composite: the ops in it
  bool rearranges = false;                         ///< its outputs hold numbers of its inputs, in other places
  bool apart_on_cuda = false;                      ///< in_place is not for its kernels on a CUDA device
  /// Inputs, in order of preference, that output 0 may be written over: element (n,c,h,w) of them is read for the same
  /// element of the output alone, and before it is written; by every kernel and by the reference.
  std::span<const std::size_t> in_place = {};

  /// Shapes of the outputs; throws ShapeError (the graph adds the node's name).
  std::vector<Shape> (*infer)(const Attributes&, std::span<const Shape> inputs) = nullptr;

  /// Which channel maps the op can work under: for each input, then after '>' each output, two letters for its n and c
  /// axis. Operands with the same letter share one map; '-' is an axis without channels. "-a,ba,-b>-b" is a dense
  /// convolution (weights n follow the output, c the input); "-a>-a" is elementwise. A capital letter: the channels are
  /// in logical order, holes at the end only. Empty: the op needs plain NCHW.
  std::string_view (*maps)(const Attributes&, std::span<const Shape> inputs) = nullptr;

  /// For OpKind::gather.
  std::vector<index_t> (*source)(const Attributes&, std::span<const Shape> inputs) = nullptr;

  /// Work of one run; absent: only bytes. Graph::cost adds the bytes.
  Cost (*cost)(const Attributes&, std::span<const Shape> inputs, std::span<const Shape> outputs) = nullptr;

  /// The scalar specification.
  Reference reference = {};
  /// Elements of scratch memory that the kernel is given, for physical shapes.
  index_t (*workspace)(const Attributes&, std::span<const Shape> inputs) = nullptr;

  /// Appends the nodes of the gradient; absent when the op has none (it then passes none on).
  void (*gradient)(GradientContext&) = nullptr;

  /// How output k of node `self` is computed again in the backward of a training plan, bit by bit the same, at the
  /// price of a pass over memory; absent, or a recipe without an op, where it always has to be kept.
  Recipe (*recompute)(const Node& node, int self, int output) = nullptr;

  /// A faster kernel for these layouts, or one without `run` for "use the reference".
  Lowering (*lower)(const LowerContext&) = nullptr;

  /// The same on a CUDA device, for plain views of f32, where nothing replaces a missing one: plans are refused.
  Lowering (*lower_cuda)(const LowerContext&) = nullptr;

  /// Examples for tests and benchmarks; absent: none.
  std::vector<OpCase> (*cases)() = nullptr;
};

}  // namespace slimneck
