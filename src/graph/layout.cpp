#include "graph/layout.hpp"

#include <algorithm>
#include <map>
#include <numeric>

namespace slimneck::graph {

namespace {

std::size_t at(index_t i) { return static_cast<std::size_t>(i); }

/// Solves the maps; lives only inside the constructor of Layouts.
class Solver {
 public:
  Solver(const Graph& graph, const std::vector<Signature>& signatures, const std::vector<char>& live, int forward,
         index_t block, bool ordered)
      : graph_(graph), signatures_(signatures), live_(live), forward_(forward), block_(block), ordered_(ordered) {
    for (int i = 0; i < graph.size(); ++i) {
      first_.push_back(static_cast<int>(parent_.size()));
      for (std::size_t k = 0; k < graph.node(i).shapes.size(); ++k) parent_.push_back(static_cast<int>(parent_.size()));
    }
    join();
    classes_.resize(parent_.size());
    mark();
  }

  /// Map of the class of a computed value; empty for "plain".
  const ChannelMap& map_of(Value v) {
    const int c = find(id(v));
    if (classes_[at(c)].state != Class::State::solved) static_cast<void>(solve(c, graph_.shape(v).c));
    return classes_[at(c)].map;
  }
  bool plain(Value v) { return classes_[at(find(id(v)))].plain; }

 private:
  struct Class {
    enum class State : std::uint8_t { open, busy, solved } state = State::open;
    std::vector<int> definers;  ///< forward concat and gather nodes whose output is in the class
    bool plain = false;
    bool ordered = false;  ///< logical order, whatever the definers give
    int members = 0;
    ChannelMap map;
  };

  [[nodiscard]] int id(Value v) const { return first_[at(v.node)] + v.index; }
  [[nodiscard]] bool computed(Value v) const { return v.valid() && graph_.node(v).role == Role::computed; }
  [[nodiscard]] bool live(int node) const { return live_[at(node)] != 0 && graph_.node(node).role == Role::computed; }

  int find(int i) {
    while (parent_[at(i)] != i) i = parent_[at(i)] = parent_[at(parent_[at(i)])];
    return i;
  }
  void unite(Value a, Value b) { parent_[at(find(id(b)))] = find(id(a)); }

  [[nodiscard]] const Signature& signature(int i) const { return signatures_[at(i)]; }

  void join() {
    for (int i = 0; i < graph_.size(); ++i) {
      if (!live(i)) continue;
      const Signature& s = signature(i);
      std::map<char, Value> letters;
      const auto tie = [&](Value v, char letter) {
        if (letter == '-' || !computed(v)) return;
        const auto [seen, fresh] = letters.try_emplace(letter, v);
        if (!fresh) unite(seen->second, v);
      };
      for (std::size_t k = 0; k < s.inputs.size(); ++k) tie(graph_.node(i).inputs[k], s.inputs[k].c);
      for (std::size_t k = 0; k < s.outputs.size(); ++k) tie({i, static_cast<int>(k)}, s.outputs[k].c);
    }
    for (const Gradient& a : graph_.adjoints())
      if (computed(a.of) && computed(a.gradient)) unite(a.of, a.gradient);
  }

  /// Fast kernels want blocks, and a reorder costs little beside them: without one, classes that touch an op which
  /// needs plain NCHW, that are tied to a graph input, or that are an output and nothing else, stay plain.
  void mark() {
    for (int i = 0; i < graph_.size(); ++i) {
      if (!live(i)) continue;
      const Node& n = graph_.node(i);
      const bool opaque = n.op->kind == OpKind::compute && signature(i).outputs.empty();
      const bool fast = block_ > 1 && n.op->lower;
      for (int k = 0; k < static_cast<int>(n.shapes.size()); ++k) {
        Class& c = classes_[at(find(id({i, k})))];
        ++c.members;
        if (n.op->kind != OpKind::compute && i < forward_) c.definers.push_back(i);
        if (opaque) c.plain = true;
      }
      if (opaque)
        for (const Value& v : n.inputs)
          if (computed(v) && !made_fast(v)) classes_[at(find(id(v)))].plain = true;
      if (!fast) mark_tied_to_inputs(i);
      mark_ordered(i);
    }
    for (const Output& o : graph_.outputs())
      if (computed(o.value) && !made_fast(o.value))
        if (Class& c = classes_[at(find(id(o.value)))]; c.members == 1) c.plain = true;
    for (Class& c : classes_)
      if (!c.definers.empty()) c.plain = false;
  }

  [[nodiscard]] bool made_fast(Value v) const { return block_ > 1 && graph_.node(v).op->lower; }

  /// Operands with a capital letter need their channels in logical order.
  void mark_ordered(int node) {
    const Signature& s = signature(node);
    const Node& n = graph_.node(node);
    const auto mark = [&](Value v, const Axes& axes) {
      if (axes.c >= 'A' && axes.c <= 'Z' && computed(v)) classes_[at(find(id(v)))].ordered = true;
    };
    for (std::size_t k = 0; k < s.inputs.size(); ++k) mark(n.inputs[k], s.inputs[k]);
    for (std::size_t k = 0; k < s.outputs.size(); ++k) mark({node, static_cast<int>(k)}, s.outputs[k]);
  }

  void mark_tied_to_inputs(int node) {
    const Signature& s = signature(node);
    const Node& n = graph_.node(node);
    for (std::size_t k = 0; k < s.inputs.size(); ++k) {
      const Value v = n.inputs[k];
      if (!v.valid() || (graph_.node(v).role != Role::input && graph_.node(v).role != Role::gradient)) continue;
      for (std::size_t o = 0; o < s.outputs.size(); ++o)
        if (s.outputs[o].n == '-' && s.outputs[o].c == s.inputs[k].c)
          classes_[at(find(id({node, static_cast<int>(o)})))].plain = true;
    }
  }

  /// False when the class is being solved further up: then the caller tries its next definer.
  bool solve(int index, index_t channels) {
    Class& c = classes_[at(index)];
    if (c.state == Class::State::busy) return false;
    if (c.state == Class::State::solved) return true;
    c.state = Class::State::busy;
    for (const int definer : c.ordered || ordered_ ? std::vector<int>{} : c.definers)
      if (ChannelMap map = define(definer); !map.empty()) {
        classes_[at(index)].map = std::move(map);
        break;
      }
    Class& done = classes_[at(index)];
    if (done.map.empty() && !done.plain) done.map = padded_identity(channels, block_);
    done.state = Class::State::solved;
    return true;
  }

  /// The map that a concat or gather gives to its output; empty when the input does not allow one without moving data.
  /// An input of a concat that cannot lie in place is copied into its part.
  ChannelMap define(int node) {
    const Node& n = graph_.node(node);
    ChannelMap result;
    if (n.op->kind == OpKind::concat) {
      std::vector<ChannelMap> parts;
      for (const Value& v : n.inputs) {
        const ChannelMap& map = input_map(v);
        const bool whole_blocks = !map.empty() && map.size() % at(block_) == 0;
        parts.push_back(whole_blocks ? map : padded_identity(graph_.shape(v).c, block_));
      }
      return joined(parts);
    }
    const Shape shape = graph_.shape(n.inputs[0]);
    const std::vector<index_t> source = n.op->source(n.attributes, {&shape, 1});
    const ChannelMap& x = input_map(n.inputs[0]);
    if (static_cast<index_t>(source.size()) == shape.c) return permuted(x, source);
    return part_of(x, source, block_).map;
  }

  const ChannelMap& input_map(Value v) {
    static const ChannelMap none;
    if (!computed(v)) return none;
    const int c = find(id(v));
    return solve(c, graph_.shape(v).c) ? classes_[at(c)].map : none;
  }

  const Graph& graph_;
  const std::vector<Signature>& signatures_;
  const std::vector<char>& live_;
  int forward_;
  index_t block_;
  bool ordered_;
  std::vector<int> first_, parent_;
  std::vector<Class> classes_;
};

/// Flags of the values that are computed with, as node inputs or as gradients of something other than parameters.
std::vector<std::vector<char>> computed_with(const Graph& graph) {
  std::vector<std::vector<char>> flags(at(graph.size()));
  for (int i = 0; i < graph.size(); ++i) flags[at(i)].assign(graph.node(i).shapes.size(), 0);
  const auto flag = [&](Value v) {
    if (v.valid()) flags[at(v.node)][at(v.index)] = 1;
  };
  for (const Node& n : graph.nodes()) std::for_each(n.inputs.begin(), n.inputs.end(), flag);
  for (const Gradient& g : graph.gradients())
    if (graph.node(g.of).role != Role::parameter) flag(g.gradient);
  return flags;
}

/// Only parameters are packed along two axes, and only their gradients scattered back: does a node have other weights,
/// or a weight gradient that is computed with? `used`: computed_with() of the node's outputs.
bool weights_are_values(const Graph& graph, const Node& n, const Signature& s, const std::vector<char>& used) {
  for (std::size_t k = 0; k < s.inputs.size(); ++k)
    if (const Role role = n.inputs[k].valid() ? graph.node(n.inputs[k]).role : Role::parameter;
        s.inputs[k].n != '-' && role != Role::parameter && role != Role::state)
      return true;
  for (std::size_t k = 0; k < s.outputs.size(); ++k)
    if (s.outputs[k].n != '-' && used[k]) return true;
  return false;
}

}  // namespace

std::string describe(const Layout& layout) {
  std::string text = layout.block == 1 ? "nchw" : "nChw" + std::to_string(layout.block) + "c";
  index_t holes = 0, next = 0;
  bool moved = false;
  for (const index_t c : layout.c) {
    if (c < 0)
      ++holes;
    else
      moved = moved || c != next++;
  }
  if (moved) text += " permuted";
  if (holes > 0) text += " +" + std::to_string(holes) + " holes";
  return text;
}

ChannelMap padded_identity(index_t channels, index_t block) {
  ChannelMap map(at((channels + block - 1) / block * block), -1);
  std::iota(map.begin(), map.begin() + channels, index_t{0});
  return map;
}

ChannelMap joined(const std::vector<ChannelMap>& parts) {
  ChannelMap result;
  index_t logical = 0;
  for (const ChannelMap& part : parts) {
    index_t channels = 0;
    for (const index_t channel : part) {
      result.push_back(channel < 0 ? -1 : channel + logical);
      channels += channel >= 0;
    }
    logical += channels;
  }
  return result;
}

ChannelMap permuted(const ChannelMap& x, const std::vector<index_t>& source) {
  if (x.empty()) return {};
  ChannelMap inverse(source.size(), -1);
  for (std::size_t j = 0; j < source.size(); ++j) {
    const bool inside = source[j] >= 0 && at(source[j]) < inverse.size();
    if (!inside || inverse[at(source[j])] >= 0) return {};
    inverse[at(source[j])] = static_cast<index_t>(j);
  }
  ChannelMap y(x.size());
  std::transform(x.begin(), x.end(), y.begin(), [&](index_t i) { return i < 0 ? -1 : inverse[at(i)]; });
  return y;
}

Part part_of(const ChannelMap& x, const std::vector<index_t>& source, index_t block) {
  if (x.empty() || source.empty()) return {};
  std::map<index_t, index_t> wanted;  // channel of x -> channel of the part
  for (std::size_t j = 0; j < source.size(); ++j) wanted[source[j]] = static_cast<index_t>(j);
  index_t first = -1, last = -1;
  for (std::size_t p = 0; p < x.size(); ++p)
    if (wanted.count(x[p])) {
      if (first < 0) first = static_cast<index_t>(p);
      last = static_cast<index_t>(p);
    }
  if (first < 0) return {};
  first = first / block * block;
  last = (last / block + 1) * block;
  Part part{first, {}};
  std::size_t found = 0;
  for (index_t p = first; p < last; ++p) {
    const auto channel = x[at(p)] < 0 ? wanted.end() : wanted.find(x[at(p)]);
    if (x[at(p)] >= 0 && channel == wanted.end()) return {};
    part.map.push_back(channel == wanted.end() ? -1 : channel->second);
    found += channel != wanted.end();
  }
  return found == source.size() ? part : Part{};
}

std::vector<index_t> gather_list(const ChannelMap& from, index_t from_channels, const ChannelMap& to,
                                 index_t to_channels, const std::vector<index_t>* source) {
  std::vector<index_t> position(at(from_channels), -1);  // logical channel of the origin -> physical position
  const index_t physical = from.empty() ? from_channels : static_cast<index_t>(from.size());
  for (index_t p = 0; p < physical; ++p)
    if (const index_t channel = from.empty() ? p : from[at(p)]; channel >= 0) position[at(channel)] = p;
  std::vector<index_t> list(to.empty() ? at(to_channels) : to.size(), -1);
  for (std::size_t p = 0; p < list.size(); ++p) {
    const index_t wanted = to.empty() ? static_cast<index_t>(p) : to[p];
    const index_t channel = wanted < 0 || !source ? wanted : (*source)[at(wanted)];
    if (channel >= 0) list[p] = position[at(channel)];
  }
  return list;
}

Signature parse_signature(std::string_view text) {
  Signature s;
  std::vector<Axes>* side = &s.inputs;
  for (std::size_t i = 0; i + 1 < text.size(); i += 3) {
    side->push_back({text[i], text[i + 1]});
    if (i + 2 < text.size() && text[i + 2] == '>') side = &s.outputs;
  }
  return s;
}

std::vector<Signature> signatures_of(const Graph& graph) {
  const std::vector<std::vector<char>> used = computed_with(graph);
  std::vector<Signature> signatures(at(graph.size()));
  for (int i = 0; i < graph.size(); ++i) {
    const Node& n = graph.node(i);
    if (n.op->kind != OpKind::compute || !n.op->maps) continue;
    Signature s = parse_signature(n.op->maps(n.attributes, input_shapes(graph, n)));
    if (!weights_are_values(graph, n, s, used[at(i)])) signatures[at(i)] = std::move(s);
  }
  return signatures;
}

std::vector<Shape> input_shapes(const Graph& graph, const Node& node) {
  std::vector<Shape> shapes;
  for (const Value& v : node.inputs) shapes.push_back(v.valid() ? graph.shape(v) : Shape{0, 0, 0, 0});
  return shapes;
}

Layouts::Layouts(const Graph& graph, const std::vector<Signature>& signatures, const std::vector<char>& live,
                 int forward, index_t block, bool reference, bool ordered) {
  layouts_.resize(at(graph.size()));
  for (int i = 0; i < graph.size(); ++i) layouts_[at(i)].resize(graph.node(i).shapes.size());
  if (reference) return;
  Solver solver(graph, signatures, live, forward, block, ordered);
  for (int i = 0; i < graph.size(); ++i) {
    const Node& n = graph.node(i);
    if (!live[at(i)] || n.role != Role::computed) continue;
    const Signature& s = signatures[at(i)];
    for (int k = 0; k < static_cast<int>(n.shapes.size()); ++k) {
      Layout& layout = layouts_[at(i)][at(k)];
      // Weight gradients are laid out by the plan; an output without channels has nothing to lay out.
      if (!s.outputs.empty() && (s.outputs[at(k)].n != '-' || s.outputs[at(k)].c == '-')) continue;
      if (solver.plain({i, k})) continue;
      layout.c = solver.map_of({i, k});
      layout.block = block;
      if (block == 1 && layout.c == padded_identity(n.shapes[at(k)].c, 1)) layout.c.clear();
    }
  }
}

}  // namespace slimneck::graph
