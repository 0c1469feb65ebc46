// Layouts: how the channels of a value lie in memory, and their solution for a whole graph.
//
// A channel map says for each physical position which logical channel lies there (-1: a hole, which holds zero). A
// channel shuffle then needs no data movement: its output is its input under another map. Ops that need input and
// output to agree (elementwise, depthwise, batch norm, ...) join values into classes; a class takes the map that its
// concat or shuffle gives it, and dense convolutions, which read and write any map, separate the classes.
#pragma once

#include <string>
#include <vector>

#include "slimneck/graph.hpp"

namespace slimneck::graph {

using ChannelMap = std::vector<index_t>;

struct Layout {
  index_t block = 1;
  ChannelMap c;                                              ///< empty: logical order without holes
  ChannelMap n;                                              ///< of the n axis, for weights; empty likewise
  kernels::WeightOrder order = kernels::WeightOrder::plain;  ///< of weights; in blocks of the plan's ISA

  friend bool operator==(const Layout&, const Layout&) = default;
  [[nodiscard]] bool plain() const noexcept {
    return block == 1 && c.empty() && n.empty() && order == kernels::WeightOrder::plain;
  }
};

/// "nChw16c", with whether the channels are in another order and the number of holes.
std::string describe(const Layout& layout);

/// Logical order, rounded up to whole blocks.
ChannelMap padded_identity(index_t channels, index_t block);
/// The map of a concat whose inputs have these maps.
ChannelMap joined(const std::vector<ChannelMap>& parts);
/// The map of y where y[j] = x[source[j]] and both are the same memory; empty when x lacks a channel or keeps extra
/// ones.
ChannelMap permuted(const ChannelMap& x, const std::vector<index_t>& source);
/// First physical position and map of a part of x that holds just the logical channels of `source`, which must be a
/// contiguous range in whole blocks; an empty map when there is none.
struct Part {
  index_t first = 0;
  ChannelMap map;
};
Part part_of(const ChannelMap& x, const std::vector<index_t>& source, index_t block);
/// For every physical position of `to` the physical position of `from` that it takes its channel from, or -1, when
/// logical channel j of the target is channel source[j] of the origin (no source: the same channel).
std::vector<index_t> gather_list(const ChannelMap& from, index_t from_channels, const ChannelMap& to,
                                 index_t to_channels, const std::vector<index_t>* source);

/// Parsed form of OpDef::maps: two letters per operand.
struct Axes {
  char n = '-', c = '-';
};
struct Signature {
  std::vector<Axes> inputs, outputs;
};
Signature parse_signature(std::string_view text);
/// That of every node; empty when its op needs plain NCHW, or when its weights are no parameters.
std::vector<Signature> signatures_of(const Graph& graph);
/// Logical shapes of a node's inputs; 0x0x0x0 for one that is left out.
std::vector<Shape> input_shapes(const Graph& graph, const Node& node);

/// One layout for every output of every node.
class Layouts {
 public:
  /// `live` flags the nodes that will run; `forward` counts the nodes before the backward. block 1 keeps everything
  /// plain except for channel maps; `reference` keeps everything plain, `ordered` all channels in logical order.
  Layouts(const Graph& graph, const std::vector<Signature>& signatures, const std::vector<char>& live, int forward,
          index_t block, bool reference, bool ordered = false);

  [[nodiscard]] const Layout& of(Value v) const {
    return layouts_[static_cast<std::size_t>(v.node)][static_cast<std::size_t>(v.index)];
  }

 private:
  std::vector<std::vector<Layout>> layouts_;
};

}  // namespace slimneck::graph
