// Bottleneck, and the blocks that chain it: C3, C2f, C3Ghost.
#include "layers/modules/arguments.hpp"
#include "layers/modules/modules.hpp"

namespace slimneck::modules {

namespace {

/// cv3(cat(chain(cv1 x), cv2 x)): the deep branch first.
template <class Chain>
Value csp(const ModuleBuilder& b, Value x, index_t c2, index_t hidden, Chain chain) {
  const Value deep = chain(conv(b.scope("cv1"), x, hidden, {}, b.act(true)));
  const Value skip = conv(b.scope("cv2"), x, hidden, {}, b.act(true));
  return conv(b.scope("cv3"), b.concat({deep, skip}), c2, {}, b.act(true));
}

}  // namespace

Value bottleneck(const ModuleBuilder& b, Value x, index_t c2, bool shortcut, index_t g, double e, index_t k1) {
  const Value hidden = conv(b.scope("cv1"), x, hidden_width(b, c2, e), {.k = k1}, b.act(true));
  const Value y = conv(b.scope("cv2"), hidden, c2, {.k = 3, .g = g}, b.act(true));
  return shortcut && b.channels(x) == c2 ? b.add(x, y) : y;
}

Value c3(const ModuleBuilder& b, Value x, index_t c2, index_t n, bool shortcut, index_t g, double e) {
  const index_t c = hidden_width(b, c2, e);
  return csp(b, x, c2, c, [&](Value y) {
    for (index_t i = 0; i < n; ++i) y = bottleneck(b.scope("m").scope(i), y, c, shortcut, g, 1.0);
    return y;
  });
}

Value c2f(const ModuleBuilder& b, Value x, index_t c2, index_t n, bool shortcut, index_t g, double e) {
  const index_t c = hidden_width(b, c2, e);
  const Value both = conv(b.scope("cv1"), x, 2 * c, {}, b.act(true));
  std::vector<Value> parts{both};
  Value y = b.slice(both, c, c);
  for (index_t i = 0; i < n; ++i) parts.push_back(y = bottleneck(b.scope("m").scope(i), y, c, shortcut, g, 1.0, 3));
  return conv(b.scope("cv2"), b.concat(std::move(parts)), c2, {}, b.act(true));
}

namespace {

struct BlockArgs {
  bool shortcut;
  index_t g;
  double e;
};

BlockArgs block_args(const ModuleBuilder& b, const ModuleCall& call, bool shortcut) {
  Arguments a(b, call);
  BlockArgs args{};
  args.shortcut = a.flag("shortcut", shortcut);
  args.g = a.integer("g", 1, 1, max_channels);
  args.e = a.real("e", 0.5, 0, 8);
  a.end();
  return args;
}

Value build_bottleneck(const ModuleBuilder& b, const ModuleCall& call) {
  const BlockArgs a = block_args(b, call, true);
  return bottleneck(b, call.inputs[0], call.c2, a.shortcut, a.g, a.e);
}

Value build_c3(const ModuleBuilder& b, const ModuleCall& call) {
  const BlockArgs a = block_args(b, call, true);
  return c3(b, call.inputs[0], call.c2, call.repeats, a.shortcut, a.g, a.e);
}

Value build_c2f(const ModuleBuilder& b, const ModuleCall& call) {
  const BlockArgs a = block_args(b, call, false);
  return c2f(b, call.inputs[0], call.c2, call.repeats, a.shortcut, a.g, a.e);
}

/// C3 with GhostBottlenecks, which have neither shortcut nor groups to choose.
Value build_c3ghost(const ModuleBuilder& b, const ModuleCall& call) {
  const index_t c = hidden_width(b, call.c2, block_args(b, call, true).e);
  return csp(b, call.inputs[0], call.c2, c, [&](Value y) {
    for (index_t i = 0; i < call.repeats; ++i) y = ghostbottleneck(b.scope("m").scope(i), y, c);
    return y;
  });
}

}  // namespace

const ModuleDef bottleneck_module{.name = "Bottleneck", .build = build_bottleneck};
const ModuleDef c3_module{.name = "C3", .repeats_inside = true, .build = build_c3};
const ModuleDef c3ghost_module{.name = "C3Ghost", .repeats_inside = true, .build = build_c3ghost};
const ModuleDef c2f_module{.name = "C2f", .repeats_inside = true, .build = build_c2f};

}  // namespace slimneck::modules
