// Inference: a sum with the output of a conv_bn_act that nobody else reads goes into its end. Before: y =
// conv_bn_act(x), s = add(r, y). After: s = conv_bn_act(x, r), where the sum stood.
#include "layers/rewrites/rewrites.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::rewrites {

namespace {

/// Can `v`, which must have one reader, take the other summand in? Of several such the one that is computed last
/// should: what it reads need not be kept any longer.
bool takes_summand(const Graph& g, const graph::Readers& readers, Value v, Value other) {
  const Node& n = g.node(v);
  const Role role = g.node(other).role;
  return n.op == &ops::conv_bn_act && n.attributes.integer("train") == 0 && n.inputs.size() == 4 &&
         readers.of(v).size() == 1 && role != Role::parameter && role != Role::state;
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

Graph apply(const Graph& old, Mode mode) {
  if (mode != Mode::infer) return old;
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
    fresh.set({i, 0}, fresh.add(ops::conv_bn_act, std::move(in), conv.attributes, conv.name));
  }
  return fresh.finish();
}

}  // namespace

const graph::Rewrite fuse_residual{"fuse_residual", false, apply};

}  // namespace slimneck::rewrites
