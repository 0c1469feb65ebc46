// Training on a part of a batch: batch norms share their statistics with the other parts. After expand_batch_norm.
// Before: m, v = bn_stats(x); y = bn_apply(x, m, v, ..); .. <- bn_running(m, v, ..).
// After: m', v' = bn_merge(bn_stats(x)); y = bn_apply(x, m', v', ..), whose gradient shares its sums too;
// .. <- bn_running(m', v', ..) of the elements of all parts.
#include "layers/rewrites/rewrites.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::rewrites {

namespace {

Graph share(const Graph& old, index_t parts) {
  graph::Rebuild fresh(old);
  for (int i = 0; i < old.size(); ++i) {
    const Node& n = old.node(i);
    const bool apply = n.op == &ops::bn_apply, running = n.op == &ops::bn_running;
    if (n.op == &ops::bn_stats) {
      const Value own = fresh.add(ops::bn_stats, {fresh(n.inputs[0])}, n.attributes, n.name);
      const Value common = fresh.add(ops::bn_merge, {own, {own.node, 1}}, {{"parts", parts}}, n.name + ".merge");
      for (int k = 0; k < 2; ++k) fresh.set({i, k}, {common.node, k});
    } else if (apply || running) {
      std::vector<Value> inputs;
      for (const Value& v : n.inputs) inputs.push_back(fresh(v));
      Attributes attributes = n.attributes;
      if (apply)
        attributes.set("parts", parts);
      else
        attributes.set("count", n.attributes.integer("count") * parts);
      const Value result = fresh.add(*n.op, std::move(inputs), attributes, n.name);
      for (int k = 0; k < static_cast<int>(n.shapes.size()); ++k) fresh.set({i, k}, {result.node, k});
    } else {
      fresh.copy(i);
    }
  }
  return fresh.finish();
}

}  // namespace

const graph::Rewrite share_batch_norm{.name = "share_batch_norm", .always = true, .share = share};

}  // namespace slimneck::rewrites
