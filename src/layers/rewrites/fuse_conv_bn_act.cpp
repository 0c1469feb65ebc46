// conv2d -> batch_norm [-> activation] becomes conv_bn_act when nobody else reads what is between them. In inference
// batch norm is folded into a scale and a bias, made by bn_fold; in training the running statistics are updated from
// the composite's batch statistics.
#include "layers/rewrites/rewrites.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::rewrites {

namespace {

struct Match {
  int norm = -1;
  int act = -1;  ///< -1: no activation
};

Match match(const Graph& g, const graph::Readers& readers, int conv) {
  const Node& n = g.node(conv);
  if (n.op != &ops::conv2d || n.inputs.size() != 2) return {};
  const int norm = readers.only({conv, 0});
  if (norm < 0 || g.node(norm).op != &ops::batch_norm || !(g.node(norm).inputs[0] == Value{conv, 0})) return {};
  const Node& bn = g.node(norm);
  for (const Value& v : {n.inputs[1], bn.inputs[1], bn.inputs[2]})
    if (g.node(v).role != Role::parameter) return {};
  if (!has_memory(g, bn)) return {};
  const int act = readers.only({norm, 0});
  return {norm, act >= 0 && act_of(g.node(act).op) != kernels::Act::none ? act : -1};
}

void emit(const Graph& old, graph::Rebuild& fresh, int conv, const Match& m, Mode mode) {
  const Node &c = old.node(conv), &bn = old.node(m.norm);
  Attributes a = c.attributes;
  a.set("eps", bn.attributes.real("eps")).set("train", index_t{mode == Mode::train});
  if (m.act >= 0) {
    const Node& act = old.node(m.act);
    a.set("act", static_cast<index_t>(act_of(act.op)));
    if (act.attributes.find("slope")) a.set("slope", act.attributes.real("slope"));
  }
  Value scale = fresh(bn.inputs[1]), bias = fresh(bn.inputs[2]);
  if (mode == Mode::infer) {
    scale = fresh.add(ops::bn_fold, {scale, bias, fresh(bn.inputs[3]), fresh(bn.inputs[4])},
                      {{"eps", bn.attributes.real("eps")}}, bn.name + ".fold");
    bias = {scale.node, 1};
  }
  const Value y = fresh.add(ops::conv_bn_act, {fresh(c.inputs[0]), fresh(c.inputs[1]), scale, bias}, a, c.name);
  fresh.set({m.act >= 0 ? m.act : m.norm, 0}, y);
  if (mode == Mode::infer) return;
  const Shape& s = old.shape({conv, 0});
  const Value running = fresh.add(
      ops::bn_running, {{y.node, 2}, {y.node, 3}, fresh(bn.inputs[3]), fresh(bn.inputs[4]), fresh(bn.inputs[5])},
      {{"momentum", bn.attributes.real("momentum")}, {"count", s.n * s.h * s.w}}, bn.name + ".running");
  for (int k = 0; k < 3; ++k) fresh.update(fresh(bn.inputs[static_cast<std::size_t>(k) + 3]), {running.node, k});
}

Graph apply(const Graph& old, Mode mode) {
  const graph::Readers readers(old);
  graph::Rebuild fresh(old);
  std::vector<char> done(static_cast<std::size_t>(old.size()), 0);
  for (int i = 0; i < old.size(); ++i) {
    if (done[static_cast<std::size_t>(i)]) continue;
    const Match m = match(old, readers, i);
    if (m.norm < 0) {
      fresh.copy(i);
      continue;
    }
    emit(old, fresh, i, m, mode);
    done[static_cast<std::size_t>(m.norm)] = 1;
    if (m.act >= 0) done[static_cast<std::size_t>(m.act)] = 1;
  }
  return fresh.finish();
}

}  // namespace

const graph::Rewrite fuse_conv_bn_act{.name = "fuse_conv_bn_act", .hides_statistics = true, .apply = apply};

}  // namespace slimneck::rewrites
