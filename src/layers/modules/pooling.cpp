// SPP, SPPF and plain max pooling.
#include <algorithm>

#include "layers/modules/arguments.hpp"
#include "layers/modules/modules.hpp"

namespace slimneck::modules {

namespace {

constexpr index_t max_window = 64;

Value same_size_pool(const ModuleBuilder& b, Value x, index_t k) { return b.max_pool(x, k, 1, k / 2); }

}  // namespace

Value spp(const ModuleBuilder& b, Value x, index_t c2, const std::vector<index_t>& kernels) {
  std::vector<Value> parts{conv(b.scope("cv1"), x, b.channels(x) / 2, {}, b.act(true))};
  for (const index_t k : kernels) parts.push_back(same_size_pool(b, parts.front(), k));
  return conv(b.scope("cv2"), b.concat(std::move(parts)), c2, {}, b.act(true));
}

Value sppf(const ModuleBuilder& b, Value x, index_t c2, index_t k) {
  std::vector<Value> parts{conv(b.scope("cv1"), x, b.channels(x) / 2, {}, b.act(true))};
  for (int i = 0; i < 3; ++i) parts.push_back(same_size_pool(b, parts.back(), k));
  return conv(b.scope("cv2"), b.concat(std::move(parts)), c2, {}, b.act(true));
}

namespace {

Value build_spp(const ModuleBuilder& b, const ModuleCall& call) {
  std::vector<index_t> kernels;
  if (call.args.empty()) {
    kernels = {5, 9, 13};
  } else if (const auto* list = std::get_if<std::vector<double>>(&call.args[0]);
             list != nullptr && call.args.size() == 1) {
    for (const double k : *list) kernels.push_back(k >= 1 && k <= max_window ? static_cast<index_t>(k) : 0);
  }
  if (kernels.empty() || kernels.size() > 16 ||
      std::any_of(kernels.begin(), kernels.end(), [](index_t k) { return k % 2 == 0; }))
    b.fail("its argument is a list of odd windows below " + std::to_string(max_window) + ", as [5, 9, 13]");
  return spp(b, call.inputs[0], call.c2, kernels);
}

Value build_sppf(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  const index_t k = a.integer("k", 5, 1, max_window);
  a.end();
  if (k % 2 == 0) b.fail("a window of " + std::to_string(k) + " does not keep the size; wanted an odd one");
  return sppf(b, call.inputs[0], call.c2, k);
}

Value build_max_pool(const ModuleBuilder& b, const ModuleCall& call) {
  Arguments a(b, call);
  const index_t k = a.integer("kernel", 2, 1, max_window);
  const index_t s = a.integer("stride", k, 1, max_window);
  const index_t p = a.integer("padding", 0, 0, k / 2);
  a.end();
  return b.max_pool(call.inputs[0], k, s, p);
}

}  // namespace

const ModuleDef spp_module{.name = "SPP", .build = build_spp};
const ModuleDef sppf_module{.name = "SPPF", .build = build_sppf};
const ModuleDef max_pool_module{
    .name = "nn.MaxPool2d", .alias = "MaxPool2d", .width = ModuleDef::Width::inferred, .build = build_max_pool};

}  // namespace slimneck::modules
