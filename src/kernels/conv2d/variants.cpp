#include "kernels/conv2d/variants.hpp"

#include "kernels/conv2d/parts.hpp"
#include "kernels/conv2d/winograd.hpp"

namespace slimneck::kernels {

namespace {

// ---- Suits
// -----------------------------------------------------------------------------------------------------------

bool anything(const ConvArgs& a, index_t) { return a.planes == 0; }
template <class Args>
bool square(const Args& a, index_t k, index_t stride, index_t pad) {
  return a.planes == 0 && a.kh == k && a.kw == k && a.stride == stride && a.pad_h == pad && a.pad_w == pad &&
         (a.dilation == 1 || k == 1);
}
bool is_k3(const ConvArgs& a, index_t) { return square(a, 3, 1, 1); }
bool is_k3s2(const ConvArgs& a, index_t) { return square(a, 3, 2, 1); }
bool is_k1(const ConvArgs& a, index_t) { return square(a, 1, 1, 0); }
bool is_stem(const ConvArgs& a, index_t) { return a.planes > 0; }
bool any_gradient(const ConvGradArgs& a, index_t) { return a.planes == 0; }
bool is_stem_gradient(const ConvGradArgs& a, index_t) { return a.planes > 0; }

// ---- Rows per task
// ---------------------------------------------------------------------------------------------------

/// Not more than `rows` of y; a task has one or two blocks of y's channels.
index_t strip_of(const ConvArgs& a, index_t rows) {
  return even_strip(a.oh, a.ow, larger(1, smaller(a.oh, rows)), a.n * round_up_divide(a.y_blocks, 2));
}

/// Weights are read again for every strip, so not too low; at least two tasks for each of 8 threads, so not too high.
index_t strip_any(const ConvArgs& a, index_t) { return strip_of(a, smaller(12, larger(1, a.oh / 16))); }

/// About 30 tiles of pixels, which stay in L2 with all their channels.
index_t strip_k1(const ConvArgs& a, index_t) { return strip_of(a, 420 / larger(1, a.ow)); }

index_t strip_k3(const ConvArgs& a, index_t) { return strip_of(a, 12); }
index_t strip_k3s2(const ConvArgs& a, index_t) { return strip_of(a, a.ow <= 40 ? 20 : 8); }

/// Rows of dx: both parities, with the dy that they read.
index_t strip_bwd_x_k3s2(const ConvArgs& a, index_t) {
  return round_up_divide(strip_of(a, a.ow <= 40 ? 40 : 8), 2) * 2;
}
index_t strip_stem(const ConvArgs& a, index_t) { return strip_of(a, 16); }

// ---- Sizes
// -----------------------------------------------------------------------------------------------------------

/// The same of a form of Winograd's.
template <const WinogradForm& form>
struct Winograd {
  static bool s2_suits(const ConvArgs& a, index_t lanes) { return winograd_s2_suits(form, a, lanes); }
  static bool s2_grad_suits(const ConvGradArgs& a, index_t lanes) { return winograd_s2_grad_suits(form, a, lanes); }
  static index_t strip(const ConvArgs& a, index_t lanes) { return winograd_strip(form, a, lanes); }
  static index_t weights(index_t o, index_t c, index_t) { return winograd_weights(form, o, c); }
  static index_t workspace(const ConvArgs& a, index_t lanes, int threads) {
    return winograd_workspace(form, a, lanes, threads);
  }
  static index_t grad_workspace(const ConvGradArgs& a, index_t lanes, int threads) {
    return winograd_grad_workspace(form, a, lanes, threads);
  }
};

index_t all_weights(index_t o, index_t c, index_t taps) { return o * c * taps; }
index_t stem_weights(index_t o, index_t, index_t) { return winograd_stem_weights(o); }
index_t no_workspace(const ConvArgs&, index_t, int) { return 0; }
index_t grad_any_workspace(const ConvGradArgs& a, index_t lanes, int) {
  return (grad_parts(a, lanes) - 1) * grad_size(a, lanes);
}
index_t grad_stem_workspace(const ConvGradArgs& a, index_t lanes, int) {
  return (grad_stem_parts(a) - 1) * grad_stem_size(a, lanes);
}

// ---- Variants
// --------------------------------------------------------------------------------------------------------

using enum WeightOrder;

const ConvVariant fwd[] = {
    {"winograd4stem", &Kernels::winograd4_stem_conv, planes, &Kernels::winograd4_stem_prepare, Algorithm::best,
     winograd4_stem_suits, Winograd<winograd4_stem>::strip, stem_weights, Winograd<winograd4_stem>::workspace, 0.5},
    {"stem", &Kernels::conv_stem, planes, nullptr, Algorithm::direct, is_stem, strip_stem, all_weights, no_workspace},
    {"winograd4", &Kernels::winograd4_conv, forward, &Kernels::winograd4_prepare, Algorithm::best, winograd4_suits,
     Winograd<winograd4>::strip, Winograd<winograd4>::weights, Winograd<winograd4>::workspace, 0.55},
    {"winograd2", &Kernels::winograd2_conv, forward, &Kernels::winograd2_prepare, Algorithm::best, winograd2_suits,
     Winograd<winograd2>::strip, Winograd<winograd2>::weights, Winograd<winograd2>::workspace, 0.35},
    {"winograd4s2", &Kernels::winograd4s2_conv, forward, &Kernels::winograd4s2_prepare, Algorithm::best,
     Winograd<winograd4s2>::s2_suits, Winograd<winograd4s2>::strip, Winograd<winograd4s2>::weights,
     Winograd<winograd4s2>::workspace, 0.27},
    {"winograd2s2", &Kernels::winograd2s2_conv, forward, &Kernels::winograd2s2_prepare, Algorithm::best,
     Winograd<winograd2s2>::s2_suits, Winograd<winograd2s2>::strip, Winograd<winograd2s2>::weights,
     Winograd<winograd2s2>::workspace, 0.17},
    {"k3", &Kernels::conv_k3, forward, nullptr, Algorithm::direct, is_k3, strip_k3, all_weights, no_workspace},
    {"k3s2", &Kernels::conv_k3s2, forward, nullptr, Algorithm::direct, is_k3s2, strip_k3s2, all_weights, no_workspace},
    {"k1", &Kernels::conv_k1, forward, nullptr, Algorithm::direct, is_k1, strip_k1, all_weights, no_workspace},
    {"any", &Kernels::conv_any, forward, nullptr, Algorithm::direct, anything, strip_any, all_weights, no_workspace},
};

const ConvVariant bwd_x[] = {
    {"winograd4s2", &Kernels::winograd4s2_bwd_x, turned, &Kernels::winograd4s2_bwd_x_prepare, Algorithm::best,
     Winograd<winograd4s2_back>::s2_suits, Winograd<winograd4s2_back>::strip, Winograd<winograd4s2_back>::weights,
     Winograd<winograd4s2_back>::workspace, 0.27},
    {"winograd2s2", &Kernels::winograd2s2_bwd_x, turned, &Kernels::winograd2s2_bwd_x_prepare, Algorithm::best,
     Winograd<winograd2s2_back>::s2_suits, Winograd<winograd2s2_back>::strip, Winograd<winograd2s2_back>::weights,
     Winograd<winograd2s2_back>::workspace, 0.17},
    {"k3s2", &Kernels::conv_bwd_x_k3s2, backward, nullptr, Algorithm::direct, is_k3s2, strip_bwd_x_k3s2, all_weights,
     no_workspace},
    {"winograd4", &Kernels::winograd4_conv, turned, &Kernels::winograd4_prepare, Algorithm::best, winograd4_suits,
     Winograd<winograd4>::strip, Winograd<winograd4>::weights, Winograd<winograd4>::workspace, 0.55},
    {"winograd2", &Kernels::winograd2_conv, turned, &Kernels::winograd2_prepare, Algorithm::best, winograd2_suits,
     Winograd<winograd2>::strip, Winograd<winograd2>::weights, Winograd<winograd2>::workspace, 0.35},
    {"k3", &Kernels::conv_k3, turned, nullptr, Algorithm::direct, is_k3, strip_k3, all_weights, no_workspace},
    {"k1", &Kernels::conv_k1, backward, nullptr, Algorithm::direct, is_k1, strip_k1, all_weights, no_workspace},
    {"any", &Kernels::conv_bwd_x_any, backward, nullptr, Algorithm::direct, anything, strip_any, all_weights,
     no_workspace},
};

const ConvGradVariant bwd_w[] = {
    {"winograd4stem", &Kernels::winograd4_stem_bwd_w, planes, Algorithm::best, winograd4_stem_grad_suits,
     Winograd<winograd4_stem>::grad_workspace},
    {"stem", &Kernels::conv_bwd_w_stem, planes, Algorithm::direct, is_stem_gradient, grad_stem_workspace},
    {"winograd4", &Kernels::winograd4_bwd_w, forward, Algorithm::best, winograd4_grad_suits,
     Winograd<winograd4>::grad_workspace},
    {"winograd4s2", &Kernels::winograd4s2_bwd_w, forward, Algorithm::best, Winograd<winograd4s2>::s2_grad_suits,
     Winograd<winograd4s2>::grad_workspace},
    {"winograd2s2", &Kernels::winograd2s2_bwd_w, forward, Algorithm::best, Winograd<winograd2s2>::s2_grad_suits,
     Winograd<winograd2s2>::grad_workspace},
    {"any", &Kernels::conv_bwd_w_any, forward, Algorithm::direct, any_gradient, grad_any_workspace},
};

template <class Variant, class Args, std::size_t Count>
const Variant& choose(const Variant (&variants)[Count], const Args& args, index_t lanes, Algorithm algorithm,
                      std::string_view name) {
  const Variant* first = nullptr;
  for (const Variant& v : variants) {
    if (!usable(v, args, lanes, algorithm)) continue;
    if (name.empty() || v.name == name) return v;
    if (!first) first = &v;
  }
  return first ? *first : variants[Count - 1];
}

}  // namespace

bool pays_preparation(const ConvVariant& v, const ConvArgs& a, index_t o, index_t c) noexcept {
  if (!v.prepare) return true;
  constexpr double number = 46;
  const auto taps = static_cast<double>(a.kh * a.kw), pixels = static_cast<double>(a.n * a.oh * a.ow);
  return v.saves * taps * pixels * static_cast<double>(o * c) >
         number * static_cast<double>(v.weights(o, c, a.kh * a.kw));
}

std::span<const ConvVariant> conv_fwd_variants() noexcept { return fwd; }
std::span<const ConvVariant> conv_bwd_x_variants() noexcept { return bwd_x; }
std::span<const ConvGradVariant> conv_bwd_w_variants() noexcept { return bwd_w; }

const ConvVariant& choose_conv_fwd(const ConvArgs& args, index_t lanes, Algorithm algorithm,
                                   std::string_view name) noexcept {
  return choose(fwd, args, lanes, algorithm, name);
}
const ConvVariant& choose_conv_bwd_x(const ConvArgs& args, index_t lanes, Algorithm algorithm,
                                     std::string_view name) noexcept {
  return choose(bwd_x, args, lanes, algorithm, name);
}
const ConvGradVariant& choose_conv_bwd_w(const ConvGradArgs& args, index_t lanes, Algorithm algorithm,
                                         std::string_view name) noexcept {
  return choose(bwd_w, args, lanes, algorithm, name);
}

}  // namespace slimneck::kernels
