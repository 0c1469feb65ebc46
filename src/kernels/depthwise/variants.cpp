#include "kernels/depthwise/variants.hpp"

#include <algorithm>

namespace slimneck::kernels {

namespace {

template <class Args>
bool anything(const Args&) {
  return true;
}

/// Tasks of about 3200 pixels: enough of them for several threads on large maps, and short chains where the moments of
/// each strip are summed in float.
index_t strip_rows(const DepthwiseArgs& a, index_t) {
  return std::clamp<index_t>(3200 / std::max<index_t>(a.ow, 1), 4, std::max<index_t>(a.oh, 4));
}

index_t workspace_any(const DepthwiseGradArgs& a, index_t lanes) { return a.n * a.blocks * a.kh * a.kw * lanes; }

constexpr DepthwiseVariant fwd[] = {
    {"any", &Kernels::depthwise_any, anything<DepthwiseArgs>, strip_rows},
};
constexpr DepthwiseVariant bwd_x[] = {
    {"any", &Kernels::depthwise_bwd_x_any, anything<DepthwiseArgs>, strip_rows},
};
constexpr DepthwiseGradVariant bwd_w[] = {
    {"any", &Kernels::depthwise_bwd_w_any, anything<DepthwiseGradArgs>, workspace_any},
};

template <class Variant, class Args>
const Variant& first_that_suits(std::span<const Variant> variants, const Args& args) {
  for (const Variant& v : variants)
    if (v.suits(args)) return v;
  return variants.back();
}

}  // namespace

std::span<const DepthwiseVariant> depthwise_fwd_variants() noexcept { return fwd; }
std::span<const DepthwiseVariant> depthwise_bwd_x_variants() noexcept { return bwd_x; }
std::span<const DepthwiseGradVariant> depthwise_bwd_w_variants() noexcept { return bwd_w; }

const DepthwiseVariant& choose_depthwise_fwd(const DepthwiseArgs& args) noexcept {
  return first_that_suits(depthwise_fwd_variants(), args);
}
const DepthwiseVariant& choose_depthwise_bwd_x(const DepthwiseArgs& args) noexcept {
  return first_that_suits(depthwise_bwd_x_variants(), args);
}
const DepthwiseGradVariant& choose_depthwise_bwd_w(const DepthwiseGradArgs& args) noexcept {
  return first_that_suits(depthwise_bwd_w_variants(), args);
}

}  // namespace slimneck::kernels
