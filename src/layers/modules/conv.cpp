// Conv, DWConv and DSConv.
#include <numeric>

#include "layers/modules/arguments.hpp"
#include "layers/modules/modules.hpp"

namespace slimneck::modules {

index_t hidden_width(const ModuleBuilder& b, index_t c2, double e) {
  const double width = static_cast<double>(c2) * e;
  if (!(width >= 1 && width <= static_cast<double>(max_channels)))
    b.fail("width " + std::to_string(c2) + " with e=" + std::to_string(e) + " leaves no hidden width in 1.." +
           std::to_string(max_channels));
  return static_cast<index_t>(width);
}

Value conv(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act) {
  return b.activation(b.scope("bn").batch_norm(b.scope("conv").conv2d(x, c2, args)), act);
}

Value dwconv(const ModuleBuilder& b, Value x, index_t c2, ConvArgs args, const Activation& act) {
  args.g = std::gcd(b.channels(x), c2);
  return conv(b, x, c2, args, act);
}

Value dsconv(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act) {
  return conv(b.scope("pw"), dwconv(b.scope("dw"), x, b.channels(x), args, act), c2, {}, act);
}

namespace {

Value build_conv(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  ConvArgs args;
  args.k = a.integer("k", 1);
  args.s = a.integer("s", 1);
  args.p = a.padding();
  args.g = a.integer("g", 1, 1, max_channels);
  if (b.dialect().conv_dilation) args.d = a.integer("d (dilation)", 1);
  const Activation act = a.act();
  a.end();
  return conv(b, call.inputs[0], call.c2, args, act);
}

Value build_dwconv(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  ConvArgs args;
  args.k = a.integer("k", 1);
  args.s = a.integer("s", 1);
  if (b.dialect().conv_dilation) args.d = a.integer("d (dilation)", 1);
  const Activation act = a.act();
  a.end();
  return dwconv(b, call.inputs[0], call.c2, args, act);
}

Value build_dsconv(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  ConvArgs args;
  args.k = a.integer("k", 3);
  args.s = a.integer("s", 1);
  const Activation act = a.act();
  a.end();
  return dsconv(b, call.inputs[0], call.c2, args, act);
}

}  // namespace

const ModuleDef conv_module{.name = "Conv", .build = build_conv};
const ModuleDef dwconv_module{.name = "DWConv", .build = build_dwconv};
const ModuleDef dsconv_module{.name = "DSConv", .build = build_dsconv};

}  // namespace slimneck::modules
