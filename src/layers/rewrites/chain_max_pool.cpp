// Inference: max pools of one map with growing windows become a chain, since the maximum over a window of maxima is the
// maximum over the sum of both reaches: pool9(x) = pool5(pool5(x)), pool13(x) = pool5(pool9(x)). What SPP computes then
// costs what SPPF does. Not in training, where equal maxima would pass their gradient to other places.
#include "layers/rewrites/rewrites.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::rewrites {

namespace {

/// The window of a pool that keeps the extent of its map; 0 for every other node.
index_t window(const Node& n) {
  if (n.op != &ops::max_pool) return 0;
  const index_t k = n.attributes.integer("kernel");
  return n.attributes.integer("stride") == 1 && k % 2 == 1 && n.attributes.integer("pad") == k / 2 ? k : 0;
}

/// The earlier pool of the same map with the largest window below this one's, -1 for none.
int base(const Graph& g, int node) {
  int best = -1;
  const index_t k = window(g.node(node));
  for (int i = 0; k > 0 && i < node; ++i) {
    const index_t w = window(g.node(i));
    if (w > 1 && w < k && g.node(i).inputs[0] == g.node(node).inputs[0] && (best < 0 || w > window(g.node(best))))
      best = i;
  }
  return best;
}

Graph apply(const Graph& old, Mode mode) {
  if (mode != Mode::infer) return old;
  graph::Rebuild fresh(old);
  for (int i = 0; i < old.size(); ++i) {
    const int from = base(old, i);
    if (from < 0) {
      fresh.copy(i);
      continue;
    }
    const index_t k = window(old.node(i)) - window(old.node(from)) + 1;
    fresh.set({i, 0}, fresh.add(ops::max_pool, {fresh({from, 0})},
                                {{"kernel", k}, {"stride", index_t{1}}, {"pad", k / 2}}, old.node(i).name));
  }
  return fresh.finish();
}

}  // namespace

const graph::Rewrite chain_max_pool{.name = "chain_max_pool", .apply = apply};

}  // namespace slimneck::rewrites
