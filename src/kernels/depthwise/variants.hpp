// The fast depthwise convolutions and when each is used.
#pragma once

#include <span>
#include <string_view>

#include "kernels/dispatch.hpp"

namespace slimneck::kernels {

struct DepthwiseVariant {
  std::string_view name;
  void (*Kernels::*run)(const DepthwiseArgs&) noexcept;
  bool (*suits)(const DepthwiseArgs&);
  index_t (*strip)(const DepthwiseArgs&, index_t lanes);  ///< rows of y per task, for DepthwiseArgs::strip
};

struct DepthwiseGradVariant {
  std::string_view name;
  void (*Kernels::*run)(const DepthwiseGradArgs&) noexcept;
  bool (*suits)(const DepthwiseGradArgs&);
  index_t (*workspace)(const DepthwiseGradArgs&, index_t lanes);  ///< floats
};

/// In order of preference; the last of each suits everything.
SLIMNECK_EXPORT std::span<const DepthwiseVariant> depthwise_fwd_variants() noexcept;
SLIMNECK_EXPORT std::span<const DepthwiseVariant> depthwise_bwd_x_variants() noexcept;
SLIMNECK_EXPORT std::span<const DepthwiseGradVariant> depthwise_bwd_w_variants() noexcept;

/// The first that suits.
SLIMNECK_EXPORT const DepthwiseVariant& choose_depthwise_fwd(const DepthwiseArgs& args) noexcept;
SLIMNECK_EXPORT const DepthwiseVariant& choose_depthwise_bwd_x(const DepthwiseArgs& args) noexcept;
SLIMNECK_EXPORT const DepthwiseGradVariant& choose_depthwise_bwd_w(const DepthwiseGradArgs& args) noexcept;

}  // namespace slimneck::kernels
