#include "kernels/depthwise/variants.hpp"

#include <algorithm>

#include "kernels/depthwise/strip.hpp"

namespace slimneck::kernels {

namespace {

template <class Args>
bool anything(const Args&) {
  return true;
}

/// Kernels of K x K with padding K/2 and stride 1 or 2. x is the larger map: in and out as the forward sees them.
template <int K, class Args>
bool common(const Args& a, index_t h, index_t w, index_t oh, index_t ow) {
  const auto fits = [&](index_t in, index_t out) { return in > 0 && out == (in - 1) / a.stride + 1; };
  return a.kh == K && a.kw == K && a.pad_h == K / 2 && a.pad_w == K / 2 && a.dilation == 1 &&
         (a.stride == 1 || a.stride == 2) && fits(h, oh) && fits(w, ow);
}
template <int K>
bool forward(const DepthwiseArgs& a) {
  return common<K>(a, a.h, a.w, a.oh, a.ow);
}
bool forward_large(const DepthwiseArgs& a) { return a.stride == 1 && (forward<7>(a) || forward<9>(a)); }
template <int K>
bool backward(const DepthwiseArgs& a) {
  return common<K>(a, a.oh, a.ow, a.h, a.w);
}
bool backward_large(const DepthwiseArgs& a) { return a.stride == 1 && (backward<7>(a) || backward<9>(a)); }
template <int K>
bool gradient(const DepthwiseGradArgs& a) {
  return common<K>(a, a.h, a.w, a.oh, a.ow);
}
bool gradient_large(const DepthwiseGradArgs& a) { return a.stride == 1 && (gradient<7>(a) || gradient<9>(a)); }

/// Tasks of about 3200 pixels: enough of them for several threads on large maps, and short chains where the moments of
/// each strip are summed in float.
index_t strip_rows(const DepthwiseArgs& a, index_t) {
  const index_t strip = std::clamp<index_t>(3200 / std::max<index_t>(a.ow, 1), 4, std::max<index_t>(a.oh, 4));
  return even_strip(a.oh, a.ow, strip, a.n * a.blocks);
}

index_t workspace_any(const DepthwiseGradArgs& a, index_t lanes) { return a.n * a.blocks * a.kh * a.kw * lanes; }
index_t workspace_parts(const DepthwiseGradArgs& a, index_t lanes) {
  return strips_of(a.oh, depthwise_grad_strip(a)) * workspace_any(a, lanes);
}

constexpr DepthwiseVariant fwd[] = {
    {"k5", &Kernels::depthwise_k5, forward<5>, strip_rows},
    {"k3", &Kernels::depthwise_k3, forward<3>, strip_rows},
    {"k7k9", &Kernels::depthwise_k7k9, forward_large, strip_rows},
    {"any", &Kernels::depthwise_any, anything<DepthwiseArgs>, strip_rows},
};
constexpr DepthwiseVariant bwd_x[] = {
    {"k5", &Kernels::depthwise_bwd_x_k5, backward<5>, strip_rows},
    {"k3", &Kernels::depthwise_bwd_x_k3, backward<3>, strip_rows},
    {"k7k9", &Kernels::depthwise_bwd_x_k7k9, backward_large, strip_rows},
    {"any", &Kernels::depthwise_bwd_x_any, anything<DepthwiseArgs>, strip_rows},
};
constexpr DepthwiseGradVariant bwd_w[] = {
    {"k5", &Kernels::depthwise_bwd_w_k5, gradient<5>, workspace_parts},
    {"k3", &Kernels::depthwise_bwd_w_k3, gradient<3>, workspace_parts},
    {"k7k9", &Kernels::depthwise_bwd_w_k7k9, gradient_large, workspace_parts},
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
