// Training: batch_norm becomes bn_stats, bn_apply and bn_running. Before: y = batch_norm(x, gamma, beta, mean, var, t).
// After: m, v = bn_stats(x); y = bn_apply(x, m, v, gamma, beta); mean, var, t <- bn_running(m, v, mean, var, t).
#include "layers/rewrites/rewrites.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::rewrites {

namespace {

Graph apply(const Graph& old, Mode mode) {
  if (mode == Mode::infer) return old;
  graph::Rebuild fresh(old);
  for (int i = 0; i < old.size(); ++i) {
    const Node& n = old.node(i);
    if (n.op != &ops::batch_norm) {
      fresh.copy(i);
      continue;
    }
    const Value x = fresh(n.inputs[0]);
    const Shape& s = old.shape(n.inputs[0]);
    const Value mean = fresh.add(ops::bn_stats, {x}, {}, n.name + ".stats"), var{mean.node, 1};
    fresh.set({i, 0}, fresh.add(ops::bn_apply, {x, mean, var, fresh(n.inputs[1]), fresh(n.inputs[2])},
                                {{"eps", n.attributes.real("eps")}}, n.name));
    const Value running =
        fresh.add(ops::bn_running, {mean, var, fresh(n.inputs[3]), fresh(n.inputs[4]), fresh(n.inputs[5])},
                  {{"momentum", n.attributes.real("momentum")}, {"count", s.n * s.h * s.w}}, n.name + ".running");
    if (!has_memory(old, n)) continue;
    for (int k = 0; k < 3; ++k) fresh.update(fresh(n.inputs[static_cast<std::size_t>(k) + 3]), {running.node, k});
  }
  return fresh.finish();
}

}  // namespace

const graph::Rewrite expand_batch_norm{.name = "expand_batch_norm", .always = true, .apply = apply};

}  // namespace slimneck::rewrites
