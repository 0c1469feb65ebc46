// Depthwise separable convolution over blocked maps: plain code that calls kernels.
//
//   z1 = depthwise(x, w1), a = act(bn1 z1), z2 = pointwise(a, w2), y = act(bn2 z2)
//
// inference: bn folded into scale and bias, which both convolutions apply while they store; two kernels, a between
// them. training:  depthwise with moments -> a -> pointwise with moments -> y. backward:  dy -> dz2 -> dw2, da -> dz1
// -> dw1, dx.
#pragma once

#include "kernels/conv2d/variants.hpp"
#include "kernels/depthwise/variants.hpp"
#include "kernels/norm/pair.hpp"

namespace slimneck::kernels {

struct Dsc {
  DepthwiseArgs depthwise;  ///< input, geometry and weights; output, strip and epilogue are filled in
  const ConvVariant* variant = nullptr;
  ConvArgs pointwise;  ///< geometry, prepared weights and workspace; the rest is filled in
  MapAt a, y;
  Act act = Act::none;
  float slope = 0;
};

SLIMNECK_EXPORT void dsc_infer(const Kernels& kernels, const Dsc& dsc, const PairInference& norm) noexcept;

/// Channels of the first normalisation are those of x, of the second those of y.
SLIMNECK_EXPORT index_t dsc_train_workspace(const Dsc& dsc, index_t lanes) noexcept;
SLIMNECK_EXPORT void dsc_train(const Kernels& kernels, const Dsc& dsc, const PairTraining& train) noexcept;

/// After dsc_train with the same Dsc and PairTraining, whose maps and statistics are read.
struct DscGrad {
  MapAt dy;                                   ///< read
  const ConvGradVariant* gradient = nullptr;  ///< of the pointwise weights
  ConvGradArgs pointwise_gradient;            ///< geometry, dw (set) and workspace; the rest is filled in
  const ConvVariant* data = nullptr;          ///< of the data of the pointwise convolution
  ConvArgs pointwise_data;                    ///< geometry, prepared weights and workspace; the rest is filled in
  MapAt dz2;                                  ///< scratch, may be the memory of y
  MapAt dz1;                                  ///< scratch
  MapAt dx;                                   ///< set
  float* dw1 = nullptr;                       ///< set, WeightOrder::depthwise
  float *dgamma1 = nullptr, *dbeta1 = nullptr, *dgamma2 = nullptr, *dbeta2 = nullptr;  ///< set
  float* workspace = nullptr;
};
SLIMNECK_EXPORT index_t dsc_bwd_workspace(const Dsc& dsc, index_t lanes) noexcept;
SLIMNECK_EXPORT void dsc_bwd(const Kernels& kernels, const Dsc& dsc, const PairTraining& train,
                             const DscGrad& grad) noexcept;

}  // namespace slimneck::kernels
