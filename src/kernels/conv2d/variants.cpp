#include "kernels/conv2d/variants.hpp"

#include "kernels/conv2d/parts.hpp"

namespace slimneck::kernels {

namespace {

// ---- Suits
// -----------------------------------------------------------------------------------------------------------

bool anything(const ConvArgs&, index_t) { return true; }
bool any_gradient(const ConvGradArgs&, index_t) { return true; }

// ---- Rows per task
// ---------------------------------------------------------------------------------------------------

/// Weights are read again for every strip, so not too low; at least two tasks for each of 8 threads, so not too high.
index_t strip_any(const ConvArgs& a, index_t) { return smaller(12, larger(1, a.oh / 16)); }

// ---- Sizes
// -----------------------------------------------------------------------------------------------------------

index_t all_weights(index_t o, index_t c, index_t taps) { return o * c * taps; }
index_t no_workspace(const ConvArgs&, index_t, int) { return 0; }
index_t grad_any_workspace(const ConvGradArgs& a, index_t lanes, int) {
  return (grad_parts(a, lanes) - 1) * grad_size(a, lanes);
}

// ---- Variants
// --------------------------------------------------------------------------------------------------------

using enum WeightOrder;

const ConvVariant fwd[] = {
    {"any", &Kernels::conv_any, forward, nullptr, Algorithm::direct, anything, strip_any, all_weights, no_workspace},
};

const ConvVariant bwd_x[] = {
    {"any", &Kernels::conv_bwd_x_any, backward, nullptr, Algorithm::direct, anything, strip_any, all_weights,
     no_workspace},
};

const ConvGradVariant bwd_w[] = {
    {"any", &Kernels::conv_bwd_w_any, forward, Algorithm::direct, any_gradient, grad_any_workspace},
};

template <class Variant, class Args, std::size_t Count>
const Variant& choose(const Variant (&variants)[Count], const Args& args, index_t lanes, Algorithm algorithm) {
  for (const Variant& v : variants)
    if ((algorithm == Algorithm::best || v.algorithm == Algorithm::direct) && v.suits(args, lanes)) return v;
  return variants[Count - 1];
}

}  // namespace

std::span<const ConvVariant> conv_fwd_variants() noexcept { return fwd; }
std::span<const ConvVariant> conv_bwd_x_variants() noexcept { return bwd_x; }
std::span<const ConvGradVariant> conv_bwd_w_variants() noexcept { return bwd_w; }

const ConvVariant& choose_conv_fwd(const ConvArgs& args, index_t lanes, Algorithm algorithm) noexcept {
  return choose(fwd, args, lanes, algorithm);
}
const ConvVariant& choose_conv_bwd_x(const ConvArgs& args, index_t lanes, Algorithm algorithm) noexcept {
  return choose(bwd_x, args, lanes, algorithm);
}
const ConvGradVariant& choose_conv_bwd_w(const ConvGradArgs& args, index_t lanes, Algorithm algorithm) noexcept {
  return choose(bwd_w, args, lanes, algorithm);
}

}  // namespace slimneck::kernels
