// Modules without a convolution: Concat, Upsample, BatchNorm2d, Shuffle.
#include "layers/modules/arguments.hpp"
#include "layers/modules/modules.hpp"

namespace slimneck::modules {

namespace {

Value build_concat(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  static_cast<void>(a.integer("dimension", 1, 1, 1));
  a.end();
  return b.concat(call.inputs);
}

/// (size=None, scale_factor, mode='nearest'), PyTorch's order.
Value build_upsample(const ModuleBuilder& b, const ModuleCall& call) {
  const auto& args = call.args;
  const auto is_nearest = [](const Argument& a) {
    const auto* mode = std::get_if<std::string>(&a);
    return mode != nullptr && *mode == "nearest";
  };
  if (args.size() < 2 || args.size() > 3 || !std::holds_alternative<std::monostate>(args[0]) ||
      (args.size() == 3 && !is_nearest(args[2])))
    b.fail("arguments must be [None, factor, 'nearest']");
  ModuleCall rest{.inputs = {}, .args = {args[1]}};
  if (const auto* real = std::get_if<double>(&args[1]); real != nullptr && *real == 2.0) rest.args = {index_t{2}};
  const index_t factor = Arguments(b, rest).integer("scale_factor", 2, 1, 64);
  return b.graph().add(ops::upsample, {call.inputs[0]}, {{"factor", factor}}, b.prefix());
}

Value build_batch_norm(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments(b, call).end();
  return b.batch_norm(call.inputs[0]);
}

Value build_shuffle(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments(b, call).end();
  return b.shuffle(call.inputs[0], b.dialect().shuffle);
}

}  // namespace

const ModuleDef concat_module{
    .name = "Concat", .width = ModuleDef::Width::inferred, .many_inputs = true, .build = build_concat};
const ModuleDef upsample_module{
    .name = "nn.Upsample", .alias = "Upsample", .width = ModuleDef::Width::inferred, .build = build_upsample};
const ModuleDef batch_norm_module{
    .name = "nn.BatchNorm2d", .alias = "BatchNorm2d", .width = ModuleDef::Width::inferred, .build = build_batch_norm};
const ModuleDef shuffle_module{.name = "Shuffle", .width = ModuleDef::Width::inferred, .build = build_shuffle};

}  // namespace slimneck::modules
