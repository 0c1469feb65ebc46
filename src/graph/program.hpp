// A program: what a plan runs. Buffers, places of values in them, and steps bound to views.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/layout.hpp"
#include "kernels/cuda/host.hpp"
#include "slimneck/plan.hpp"

namespace slimneck::graph {

/// Memory of one or more values that share channels: n x c x h x w physical elements.
struct Buffer {
  Shape physical;
  index_t block = 1;
  bool persistent = false;  ///< an input, output or constant: never shared with others over time
  int first_step = -1, last_step = -1;
  std::size_t offset = 0;  ///< bytes, in the arena or in the persistent memory
  [[nodiscard]] std::size_t bytes(DType type) const {
    return static_cast<std::size_t>(physical.numel()) * size_of(type);
  }
};

/// Where a value lies: physical channels [first, first + channels) of a buffer.
struct Place {
  int buffer = -1;
  index_t first = 0;
  Shape logical;
  Layout layout;
  [[nodiscard]] index_t channels() const {
    return layout.c.empty() ? logical.c : static_cast<index_t>(layout.c.size());
  }
  [[nodiscard]] Shape physical() const {
    return {layout.n.empty() ? logical.n : static_cast<index_t>(layout.n.size()), channels(), logical.h, logical.w};
  }
};

/// A parameter in the order that a kernel reads: gathered over both axes, in blocks of both, or prepared from that.
struct Packed {
  int entry = -1;  ///< of Parameters
  Layout layout;
  Shape physical;
  PrepareWeights prepare = nullptr;
  const void* variant = nullptr;
  index_t elements = 0;  ///< of what the kernel reads

  [[nodiscard]] bool same(const Packed& other) const {
    return entry == other.entry && prepare == other.prepare && variant == other.variant && layout == other.layout;
  }
};

/// One operand of a step.
struct Operand {
  enum class Kind : std::uint8_t { none, place, packed, entry } kind = Kind::none;
  int index = -1;
};

struct Step {
  enum class Kind : std::uint8_t {
    kernel,      ///< run(call)
    gather,      ///< out channel p = in channel list[p]
    pack,        ///< out, a packed form, = the entry that it is of
    accumulate,  ///< gradient of entry += in
    assign       ///< value of entry = in
  } kind = Kind::kernel;
  int node = -1;
  std::string name;
  std::string_view kernel;
  std::string_view moves;  ///< key of PlanStats::bytes_moved of a gather
  std::string why;         ///< of a gather
  std::vector<Operand> in, out;
  int entry = -1;
  bool completes = false;  ///< an accumulate, the last one of its entry
  KernelFunction run = nullptr;
  KernelFunction prepare_kept = nullptr;  ///< as Lowering has it, for `kept` elements
  index_t kept = 0;
  std::vector<index_t> list;

  // Bound when the memory exists.
  std::vector<AnyView> in_views, out_views;
  KernelCall call;
};

struct Program {
  Target target;
  std::shared_ptr<const kernels::cuda::Context> device;  ///< of a plan for one; null on the CPU
  Graph graph;                                           ///< after rewrites and differentiation
  std::vector<std::string> rewrites;
  std::string order = "as given";
  /// What the backward computes again, in logical elements, and how many the forward keeps for it.
  std::vector<std::pair<std::string, std::size_t>> recomputed;
  std::size_t kept = 0;
  std::vector<Buffer> buffers;
  std::vector<Place> places;
  std::vector<Packed> packed;
  std::vector<Step> refresh;  ///< in inference: what depends on parameters alone, computed when they change
  std::vector<Step> forward, backward;
  std::size_t arena_bytes = 0, persistent_bytes = 0, packed_bytes = 0, workspace_bytes = 0;
  std::size_t refresh_workspace_bytes = 0;  ///< of the refresh, which runs on the host in every plan

  struct Port {
    std::string name;
    int place = -1;
  };
  std::vector<Port> inputs, outputs, output_gradients, input_gradients;
};

/// Compiles: rewrites, differentiation, layouts, places, steps, arena. Throws ShapeError, DeviceError or Error.
Program compile(const Graph& graph, const Parameters& parameters, const PlanOptions& options);

/// Places for values and steps for nodes; the first `forward_nodes` nodes are the forward part.
void lower(Program& program, const Parameters& parameters, const PlanOptions& options, int forward_nodes);

/// Gives every buffer its offset; buffers whose step intervals overlap do not overlap in memory.
void assign_offsets(Program& program, DType type);

}  // namespace slimneck::graph
