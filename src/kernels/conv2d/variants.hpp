// The fast dense convolutions and when each is used.
#pragma once

#include <span>
#include <string_view>

#include "kernels/dispatch.hpp"

namespace slimneck::kernels {

/// One way to compute a convolution in one direction.
struct ConvVariant {
  std::string_view name;
  void (*Kernels::*run)(const ConvArgs&) noexcept;
  WeightOrder order;  ///< of the weights, before `prepare`
  /// Turns weights in `order` into what the kernel reads (Winograd); null when that is the same.
  void (*Kernels::*prepare)(const WeightArgs&) noexcept;
  Algorithm algorithm;                               ///< direct: exact on integers
  bool (*suits)(const ConvArgs&, index_t lanes);     ///< can compute this geometry, and is worth it
  index_t (*strip)(const ConvArgs&, index_t lanes);  ///< rows of y per task, for ConvArgs::strip
  /// Floats of prepared weights for o and c physical channels and kh x kw taps.
  index_t (*weights)(index_t o, index_t c, index_t taps);
  index_t (*workspace)(const ConvArgs&, index_t lanes, int threads);  ///< floats
  double saves = 0;                                                   ///< of a direct kernel's time, about
};

struct ConvGradVariant {
  std::string_view name;
  void (*Kernels::*run)(const ConvGradArgs&) noexcept;
  WeightOrder order;  ///< of dw
  Algorithm algorithm;
  bool (*suits)(const ConvGradArgs&, index_t lanes);
  index_t (*workspace)(const ConvGradArgs&, index_t lanes, int threads);  ///< floats
};

/// In order of preference; for every geometry one of each suits. Only the gradient with respect to a plain picture
/// (planes > 0) has none. Data gradients of stride 2 and more know no epilogue but `add`.
SLIMNECK_EXPORT std::span<const ConvVariant> conv_fwd_variants() noexcept;
SLIMNECK_EXPORT std::span<const ConvVariant> conv_bwd_x_variants() noexcept;
SLIMNECK_EXPORT std::span<const ConvGradVariant> conv_bwd_w_variants() noexcept;

/// Does it save more than preparing o x c weights takes, when that is done in each run? Of weights that do not fit into
/// the caches a prepared number takes as long as 46 multiply-adds (0.8 ns beside 59 GMAC/s on one core of an EPYC).
SLIMNECK_EXPORT bool pays_preparation(const ConvVariant& v, const ConvArgs& args, index_t o, index_t c) noexcept;

/// May this one be used for that geometry?
template <class Variant, class Args>
bool usable(const Variant& v, const Args& args, index_t lanes, Algorithm algorithm) noexcept {
  return (algorithm == Algorithm::best || v.algorithm == Algorithm::direct) && v.suits(args, lanes);
}

/// The usable one of this name; else the first that is usable.
SLIMNECK_EXPORT const ConvVariant& choose_conv_fwd(const ConvArgs& args, index_t lanes, Algorithm algorithm,
                                                   std::string_view name = {}) noexcept;
SLIMNECK_EXPORT const ConvVariant& choose_conv_bwd_x(const ConvArgs& args, index_t lanes, Algorithm algorithm,
                                                     std::string_view name = {}) noexcept;
SLIMNECK_EXPORT const ConvGradVariant& choose_conv_bwd_w(const ConvGradArgs& args, index_t lanes, Algorithm algorithm,
                                                         std::string_view name = {}) noexcept;

}  // namespace slimneck::kernels
