// GSConv's two halves become one node. Before: a = conv_bn_act(x), b = depthwise conv_bn_act(a), concat(..., a, b,
// ...). After: a, b = gs_pair(x), with the same concat.
#include <algorithm>

#include "layers/rewrites/rewrites.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::rewrites {

namespace {

bool same_act(const Attributes& a, const Attributes& b) {
  return a.integer("train") == b.integer("train") && a.integer("act") == b.integer("act") &&
         a.real("slope") == b.real("slope") && a.real("eps") == b.real("eps");
}

/// A depthwise convolution with an odd square kernel that keeps the map's extent.
bool keeps_map(const Graph& g, const Node& n) {
  const Shape &x = g.shape(n.inputs[0]), &w = g.shape(n.inputs[1]);
  const Attributes& a = n.attributes;
  return a.integer("groups") == x.c && w.n == x.c && w.h % 2 == 1 && w.w == w.h && a.integer("stride") == 1 &&
         a.integer("dilation") == 1 && a.integer("pad_h") == w.h / 2 && a.integer("pad_w") == w.w / 2;
}

/// a and b stand side by side in some concat.
bool concatenated(const Graph& g, const graph::Readers& readers, Value a, Value b) {
  return std::any_of(readers.of(a).begin(), readers.of(a).end(), [&](int reader) {
    if (reader < 0 || g.node(reader).op != &ops::concat) return false;
    const std::vector<Value>& in = g.node(reader).inputs;
    const std::array<Value, 2> pair{a, b};
    return std::search(in.begin(), in.end(), pair.begin(), pair.end()) != in.end();
  });
}

/// In inference scale and bias of the second half must be there where the first one stands: they depend on parameters
/// alone.
void copy_constants(const Graph& old, graph::Rebuild& fresh, int second) {
  for (const Value& v : old.node(second).inputs)
    if (old.node(v).op == &ops::bn_fold && !fresh(v).valid()) fresh.copy(v.node);
}

/// Can the node be computed as soon as its first input is there?
bool waits_for_one(const Graph& g, const Node& n) {
  const auto source = [&](const Value& v) { return g.node(v).role != Role::computed; };
  return n.inputs.size() == 4 && std::all_of(n.inputs.begin() + 1, n.inputs.end(), [&](const Value& v) {
           const Node& from = g.node(v);
           return source(v) ||
                  (from.op == &ops::bn_fold && std::all_of(from.inputs.begin(), from.inputs.end(), source));
         });
}

/// The depthwise partner of node `first`, -1 when it has none.
int partner(const Graph& g, const graph::Readers& readers, int first) {
  const Node& n = g.node(first);
  if (n.op != &ops::conv_bn_act || n.attributes.integer("groups") != 1 || n.inputs.size() != 4) return -1;
  for (const int reader : readers.of({first, 0})) {
    if (reader < 0) continue;
    const Node& r = g.node(reader);
    if (r.op == &ops::conv_bn_act && r.inputs[0] == Value{first, 0} && waits_for_one(g, r) && keeps_map(g, r) &&
        same_act(n.attributes, r.attributes) && concatenated(g, readers, {first, 0}, {reader, 0}))
      return reader;
  }
  return -1;
}

void emit(const Graph& old, graph::Rebuild& fresh, int first, int second) {
  copy_constants(old, fresh, second);
  std::vector<Value> in;
  for (const int node : {first, second})
    for (std::size_t i = node == first ? 0 : 1; i < old.node(node).inputs.size(); ++i)
      in.push_back(fresh(old.node(node).inputs[i]));
  const Value pair = fresh.add(ops::gs_pair, in, old.node(first).attributes, old.node(first).name);
  fresh.set({first, 0}, pair);
  fresh.set({second, 0}, {pair.node, 1});
  if (old.node(first).shapes.size() == 1) return;  // inference
  for (int k = 1; k < 4; ++k) {
    fresh.set({first, k}, {pair.node, k + 1});
    fresh.set({second, k}, {pair.node, k + 4});
  }
}

Graph apply(const Graph& old, Mode) {
  const graph::Readers readers(old);
  graph::Rebuild fresh(old);
  std::vector<char> done(static_cast<std::size_t>(old.size()), 0);
  for (int i = 0; i < old.size(); ++i) {
    if (done[static_cast<std::size_t>(i)] || fresh.has(i)) continue;
    const int second = partner(old, readers, i);
    if (second < 0) {
      fresh.copy(i);
      continue;
    }
    emit(old, fresh, i, second);
    done[static_cast<std::size_t>(second)] = 1;
  }
  return fresh.finish();
}

}  // namespace

const graph::Rewrite fuse_gs_pair{
    .name = "fuse_gs_pair", .hides_statistics = true, .cuda_infers_without = true, .apply = apply};

}  // namespace slimneck::rewrites
