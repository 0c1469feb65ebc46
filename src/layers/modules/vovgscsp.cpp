// GSBottleneck, and VoVGSCSP around it: y = cv3(cat(cv2 x, gsb(cv1 x))), the skip branch first.
#include "layers/modules/arguments.hpp"
#include "layers/modules/modules.hpp"

namespace slimneck::modules {

namespace {

/// The two GSConvs of a bottleneck.
Value conv_lighting(const ModuleBuilder& b, Value x, index_t c2, double e) {
  const ModuleBuilder main = b.scope("conv_lighting");
  const index_t hidden = b.dialect().bottleneck_width_e ? hidden_width(b, c2, e) : c2 / 2;
  const Value y = gsconv(main.scope("0"), x, hidden, {}, b.act(true));
  return gsconv(main.scope("1"), y, c2, {.k = 3}, b.act(b.dialect().bottleneck_last_act));
}

/// Declares the parameters and state of a module that the published code constructs and never calls: they are part of
/// its weight files, but nothing reads them.
template <class Build>
void declare_unused(const ModuleBuilder& b, const Shape& input, Build build) {
  Graph aside;
  build(b.on(aside), aside.input("x", input));
  for (const Node& node : aside.nodes()) {
    if (node.role == Role::parameter) b.graph().parameter(node.name, node.dims, node.init);
    if (node.role == Role::state) b.graph().state(node.name, node.dims, node.init);
  }
}

/// `res`: 3x3 without activation.
Value res(const ModuleBuilder& b, Value x, index_t c2) { return conv(b.scope("res"), x, c2, {.k = 3}, b.act(false)); }

void unused_res(const ModuleBuilder& b, Value x) {
  const Shape& shape = b.graph().shape(x);
  declare_unused(b, shape, [&](const ModuleBuilder& aside, Value in) { return res(aside, in, shape.c); });
}

/// The bottlenecks inside VoVGSCSP.
Value gsb(const ModuleBuilder& b, Value x, index_t n) {
  const index_t c = b.channels(x);
  if (b.dialect().csp != Dialect::Csp::chain) return gsbottleneck(b.scope("gsb"), x, c);
  for (index_t i = 0; i < n; ++i) x = gsbottleneck(b.scope("gsb").scope(i), x, c, 1.0);
  return x;
}

/// v8's inside of VoVGSCSP: a GSConv for the skip branch, a C2f for the deep one.
Value gsconv_c2f(const ModuleBuilder& b, Value x, index_t c2, index_t c, bool with_unused_gsb) {
  const Value a = conv(b.scope("cv1"), x, c, {}, b.act(true));
  if (with_unused_gsb)
    declare_unused(b, b.graph().shape(a),
                   [&](const ModuleBuilder& aside, Value in) { return gsbottleneckc(aside.scope("gsb"), in, c); });
  const Value skip = gsconv(b.scope("gc2"), x, c, {.k = 3}, b.act(true));
  return conv(b.scope("cv3"), b.concat({skip, c2f(b.scope("m"), a, c, 1, true)}), c2, {}, b.act(true));
}

}  // namespace

Value gsbottleneck(const ModuleBuilder& b, Value x, index_t c2, double e) {
  return b.add(conv_lighting(b, x, c2, e), conv(b.scope("shortcut"), x, c2, {}, b.act(false)));
}

Value gsbottleneckc(const ModuleBuilder& b, Value x, index_t c2, index_t k, index_t s) {
  const ConvArgs args = b.dialect().bottleneck_c_kernel ? ConvArgs{.k = k, .s = s} : ConvArgs{.k = 3};
  return b.add(conv_lighting(b, x, c2, 0.5), dwconv(b.scope("shortcut"), x, c2, args, b.act(false)));
}

Value vovgscsp(const ModuleBuilder& b, Value x, index_t c2, index_t n, double e, CspDesign design) {
  const index_t c = hidden_width(b, c2, e);
  if (design == CspDesign::b && b.dialect().csp == Dialect::Csp::c2f) return gsconv_c2f(b, x, c2, c, false);
  if (design == CspDesign::d && c2 != 2 * c)
    b.fail("width " + std::to_string(c2) + " is not twice the hidden width " + std::to_string(c) +
           ", so res cannot be added");
  const Value a = conv(b.scope("cv1"), x, c, {}, b.act(true));
  const Value skip = conv(b.scope("cv2"), x, c, {}, b.act(true));
  const Value deep = gsb(b, a, n);
  std::vector<Value> parts{skip, deep};
  if (design == CspDesign::b) unused_res(b, a);
  if (design == CspDesign::c) parts.push_back(res(b, deep, c));
  const Value y = conv(b.scope("cv3"), b.concat(std::move(parts)), c2, {}, b.act(true));
  return design == CspDesign::d ? b.add(y, res(b, a, 2 * c)) : y;
}

Value vovgscspc(const ModuleBuilder& b, Value x, index_t c2) {
  const index_t c = hidden_width(b, c2, 0.5);
  if (b.dialect().csp == Dialect::Csp::c2f) return gsconv_c2f(b, x, c2, c, true);
  const Value a = conv(b.scope("cv1"), x, c, {}, b.act(true));
  const Value skip = conv(b.scope("cv2"), x, c, {}, b.act(true));
  const Value deep = gsbottleneckc(b.scope("gsb"), a, c, 1, 1);
  unused_res(b, a);
  return conv(b.scope("cv3"), b.concat({skip, deep}), c2, {}, b.act(true));
}

namespace {

Value build_gsbottleneck(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  a.ignored();  // k
  a.ignored();  // s
  const double e = b.dialect().bottleneck_width_e ? a.real("e", 0.5, 0, 8) : 0.5;
  a.end();
  return gsbottleneck(b, call.inputs[0], call.c2, e);
}

Value build_gsbottleneckc(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  const index_t k = a.integer("k", 3), s = a.integer("s", 1);
  a.end();
  return gsbottleneckc(b, call.inputs[0], call.c2, k, s);
}

template <CspDesign design>
Value build_vovgscsp(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  a.ignored();  // shortcut
  a.ignored();  // g
  const double e = a.real("e", 0.5, 0, 8);
  a.end();
  return vovgscsp(b, call.inputs[0], call.c2, call.repeats, e, design);
}

Value build_vovgscspc(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  a.ignored();  // shortcut
  a.ignored();  // g
  const double e = a.real("e", 0.5, 0, 8);
  a.end();
  if (b.dialect().csp != Dialect::Csp::chain && e != 0.5)
    b.fail("e must be 0.5: the published code of dialect " + std::string(b.dialect().name) + " fails with any other");
  return vovgscspc(b, call.inputs[0], call.c2);
}

}  // namespace

const ModuleDef gsbottleneck_module{.name = "GSBottleneck", .gs = true, .build = build_gsbottleneck};
const ModuleDef gsbottleneckc_module{.name = "GSBottleneckC", .gs = true, .build = build_gsbottleneckc};
const ModuleDef vovgscsp_module{.name = "VoVGSCSP",
                                .alias = "VoVGSCSP1",
                                .repeats_inside = true,
                                .gs = true,
                                .build = build_vovgscsp<CspDesign::b>};
const ModuleDef vovgscsp2_module{
    .name = "VoVGSCSP2", .repeats_inside = true, .gs = true, .build = build_vovgscsp<CspDesign::c>};
const ModuleDef vovgscsp3_module{
    .name = "VoVGSCSP3", .repeats_inside = true, .gs = true, .build = build_vovgscsp<CspDesign::d>};
const ModuleDef vovgscspc_module{.name = "VoVGSCSPC", .repeats_inside = true, .gs = true, .build = build_vovgscspc};

}  // namespace slimneck::modules
