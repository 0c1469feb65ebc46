// A sum goes into the end of the convolution that computes one of its summands, when nobody else reads that. Before:
// y = conv(x), s = add(r, y). After: s = conv(x, r), where the sum stood. In inference that is a bottleneck's
// shortcut, in training the gradient of a value that several nodes read: the later writers add to what the first wrote.
#include "layers/rewrites/rewrites.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::rewrites {

namespace {

/// Has this convolution's op, in this form, an operand for a summand, and is it still free?
bool takes_summand(const Node& n) {
  if (n.op == &ops::conv_bn_act) return n.attributes.integer("train") == 0 && n.inputs.size() == 4;
  return n.op == &ops::conv2d_bwd_x && n.inputs.size() == 2;
}

/// Can `v`, which must have one reader, take the other summand in? Of two that can the later one should: what it reads
/// need not be kept any longer.
bool takes_summand(const Graph& g, const graph::Readers& readers, Value v, Value other) {
  const Role role = g.node(other).role;
  return takes_summand(g.node(v)) && readers.of(v).size() == 1 && role != Role::parameter && role != Role::state;
}

/// The input of an add that takes the other one in, -1 for none.
int taker(const Graph& g, const graph::Readers& readers, const Node& n) {
  if (n.op != &ops::add || n.inputs[0] == n.inputs[1]) return -1;
  const int later = n.inputs[1].node > n.inputs[0].node ? 1 : 0;
  for (const int i : {later, 1 - later})
    if (takes_summand(g, readers, n.inputs[static_cast<std::size_t>(i)], n.inputs[static_cast<std::size_t>(1 - i)]))
      return i;
  return -1;
}

Graph apply(const Graph& old, Mode /*mode*/) {
  const graph::Readers readers(old);
  std::vector<char> taken(static_cast<std::size_t>(old.size()), 0);
  for (const Node& n : old.nodes())
    if (const int i = taker(old, readers, n); i >= 0)
      taken[static_cast<std::size_t>(n.inputs[static_cast<std::size_t>(i)].node)] = 1;
  graph::Rebuild fresh(old);
  for (int i = 0; i < old.size(); ++i) {
    const Node& n = old.node(i);
    const int which = taker(old, readers, n);
    if (which < 0) {
      if (!taken[static_cast<std::size_t>(i)]) fresh.copy(i);
      continue;
    }
    const Node& conv = old.node(n.inputs[static_cast<std::size_t>(which)]);
    std::vector<Value> in;
    for (const Value& v : conv.inputs) in.push_back(fresh(v));
    in.push_back(fresh(n.inputs[static_cast<std::size_t>(1 - which)]));
    fresh.set({i, 0}, fresh.add(*conv.op, std::move(in), conv.attributes, conv.name));
  }
  return fresh.finish();
}

}  // namespace

const graph::Rewrite fuse_residual{.name = "fuse_residual", .late = true, .apply = apply};

}  // namespace slimneck::rewrites
