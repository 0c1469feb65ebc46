// GSConv and its relatives: y = shuffle(cat(a, depthwise5x5(a))), a = conv(x) with half of the channels.
#include "layers/modules/arguments.hpp"
#include "layers/modules/modules.hpp"

namespace slimneck::modules {

namespace {

/// c2 / parts. The published code rounds down without a word, and its output has fewer channels than was asked.
index_t part_width(const ModuleBuilder& b, index_t c2, index_t parts) {
  if (c2 < parts || c2 % parts != 0)
    b.fail("width " + std::to_string(c2) + " is no multiple of " + std::to_string(parts) +
           "; the published code would silently give " + std::to_string(c2 / parts * parts) + " channels");
  return c2 / parts;
}

/// cat(a, depthwise 5x5 of a), as GSConv and GhostConv have it.
Value pair(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act) {
  const index_t half = part_width(b, c2, 2);
  const Value a = conv(b.scope("cv1"), x, half, args, act);
  const Value d = conv(b.scope("cv2"), a, half, {.k = 5, .s = 1, .p = 2, .g = half}, act);
  return b.concat({a, d});
}

}  // namespace

Value gsconv(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act) {
  return b.shuffle(pair(b, x, c2, args, act), b.dialect().shuffle);
}

Value gsconvns(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act) {
  return b.activation(b.scope("shuf").conv2d(pair(b, x, c2, args, act), c2, {}), {kernels::Act::relu});
}

Value gsconve_branches(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act) {
  const index_t quarter = part_width(b, c2, 4);
  const Value a = conv(b.scope("cv1"), x, quarter, args, act);
  std::vector<Value> parts{a};
  for (const auto& [name, k] : {std::pair{"cv2", 9}, {"cv3", 13}, {"cv4", 17}})
    parts.push_back(conv(b.scope(name), a, quarter, {.k = k, .g = quarter}, act));
  return b.shuffle(b.concat(std::move(parts)), ShuffleKind::interleave);
}

Value gsconve_gelu(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act) {
  const index_t half = part_width(b, c2, 2);
  const Value a = conv(b.scope("cv1"), x, half, args, act);
  const ModuleBuilder cv2 = b.scope("cv2");
  const Value dense = cv2.scope("0").conv2d(a, half, {.k = 3});
  const Value d = cv2.activation(cv2.scope("1").conv2d(dense, half, {.k = 3, .g = half}), {kernels::Act::gelu});
  return b.shuffle(b.concat({a, d}), ShuffleKind::interleave);
}

Value ghostconv(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act) {
  return pair(b, x, c2, args, act);
}

Value ghostbottleneck(const ModuleBuilder& b, Value x, index_t c2, index_t k, index_t s) {
  const index_t c = part_width(b, c2, 2);
  const ModuleBuilder main = b.scope("conv"), side = b.scope("shortcut");
  Value y = ghostconv(main.scope("0"), x, c, {}, b.act(true));
  if (s == 2) y = dwconv(main.scope("1"), y, c, {.k = k, .s = s}, b.act(false));
  y = ghostconv(main.scope("2"), y, c2, {}, b.act(false));
  if (s == 2)
    x = conv(side.scope("1"), dwconv(side.scope("0"), x, b.channels(x), {.k = k, .s = s}, b.act(false)), c2, {},
             b.act(false));
  return b.add(y, x);
}

namespace {

using Build = Value (*)(const ModuleBuilder&, Value, index_t, const ConvArgs&, const Activation&);

/// (k, s, g, act), or (k, s, p, g, d, act) in the dialects that have the full list.
template <Build build>
Value build_with_args(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  ConvArgs args;
  const bool full = b.dialect().gsconv_full_args;
  args.k = a.integer("k", 1);
  args.s = a.integer("s", 1);
  if (full) args.p = a.padding();
  args.g = a.integer("g", 1, 1, max_channels);
  if (full) args.d = a.integer("d (dilation)", 1);
  const Activation act = a.act();
  a.end();
  return build(b, call.inputs[0], call.c2, args, act);
}

/// (k, s, g, act) in every dialect.
template <Build build>
Value build_short(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  ConvArgs args;
  args.k = a.integer("k", 1);
  args.s = a.integer("s", 1);
  args.g = a.integer("g", 1, 1, max_channels);
  const Activation act = a.act();
  a.end();
  return build(b, call.inputs[0], call.c2, args, act);
}

Value build_gsconve(const ModuleBuilder& b, const ModuleCall& call) {
  return b.dialect().gsconve_gelu ? build_short<gsconve_gelu>(b, call) : build_short<gsconve_branches>(b, call);
}

Value build_ghostbottleneck(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  const index_t k = a.integer("k", 3), s = a.integer("s", 1, 1, 2);
  a.end();
  return ghostbottleneck(b, call.inputs[0], call.c2, k, s);
}

}  // namespace

const ModuleDef gsconv_module{.name = "GSConv", .gs = true, .build = build_with_args<gsconv>};
const ModuleDef gsconvns_module{.name = "GSConvns", .gs = true, .build = build_with_args<gsconvns>};
const ModuleDef gsconve_module{.name = "GSConvE", .gs = true, .build = build_gsconve};
const ModuleDef gsconve2_module{.name = "GSConvE2", .gs = true, .build = build_short<gsconve_branches>};
const ModuleDef ghostconv_module{.name = "GhostConv", .build = build_short<ghostconv>};
const ModuleDef ghostbottleneck_module{.name = "GhostBottleneck", .build = build_ghostbottleneck};

}  // namespace slimneck::modules
