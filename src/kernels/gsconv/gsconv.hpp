// GSConv over blocked maps: plain code that calls kernels, in the two forms that plans and benchmarks use.
//
//   z1 = conv(x, w1), a = act(bn1 z1), z2 = depthwise(a, w2), b = act(bn2 z2)
//
// a and b are two maps wherever the caller wants them, usually two channel ranges of one tensor: concatenation and
// shuffle cost nothing then. Vectors have one number for each physical channel. The depthwise kernel is 3x3 or 5x5.
//
// inference: bn folded into scale and bias, which both convolutions apply while they store.
// training:  conv with moments -> one pass a, z2 with moments -> b.
// backward:  db -> g2 and its sums -> one pass dz2, dw2, g1 and its sums -> dz1. The gradients of the dense convolution
//            follow from dz1 and are kernels of their own.
#pragma once

#include "kernels/conv2d/variants.hpp"
#include "kernels/norm/pair.hpp"

namespace slimneck::kernels {

struct GsPair {
  const ConvVariant* variant = nullptr;  ///< of the dense convolution
  ConvArgs conv;  ///< its input, geometry, prepared weights and workspace; output, strip and epilogue are filled in
  index_t k = 5;
  const float* w2 = nullptr;  ///< WeightOrder::depthwise
  MapAt a, b;
  Act act = Act::none;
  float slope = 0;
};

SLIMNECK_EXPORT void gs_pair_infer(const Kernels& kernels, const GsPair& pair, const PairInference& norm) noexcept;

SLIMNECK_EXPORT index_t gs_pair_train_workspace(const GsPair& pair, index_t lanes) noexcept;
SLIMNECK_EXPORT void gs_pair_train(const Kernels& kernels, const GsPair& pair, const PairTraining& train) noexcept;

struct GsPairGrad {
  index_t n = 0, blocks = 0, h = 0, w = 0, k = 5;
  MapAt da, db;  ///< read; either may be absent
  MapAt z1, z2;  ///< read
  const float *mean1 = nullptr, *var1 = nullptr, *mean2 = nullptr, *var2 = nullptr;
  const float *gamma1 = nullptr, *beta1 = nullptr, *gamma2 = nullptr, *beta2 = nullptr;
  const float* w2 = nullptr;
  double eps = 1e-3;
  Act act = Act::none;
  float slope = 0;
  MapAt dz1;                                                                           ///< set; overlaps no input
  float* dw2 = nullptr;                                                                ///< set, WeightOrder::depthwise
  float *dgamma1 = nullptr, *dbeta1 = nullptr, *dgamma2 = nullptr, *dbeta2 = nullptr;  ///< set
  float* workspace = nullptr;
};
SLIMNECK_EXPORT index_t gs_pair_bwd_workspace(const GsPairGrad& grad, index_t lanes, int threads) noexcept;
SLIMNECK_EXPORT void gs_pair_bwd(const Kernels& kernels, const GsPairGrad& grad) noexcept;

}  // namespace slimneck::kernels
