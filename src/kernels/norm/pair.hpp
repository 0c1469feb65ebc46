// What GSConv and depthwise separable convolution share: two convolutions with a normalisation each.
#pragma once

#include "kernels/lay.hpp"

namespace slimneck::kernels {

/// Both normalisations folded (bn_fold); null is 1 for a scale and 0 for a bias.
struct PairInference {
  const float *scale1 = nullptr, *bias1 = nullptr, *scale2 = nullptr, *bias2 = nullptr;
};

struct PairTraining {
  const float *gamma1 = nullptr, *beta1 = nullptr, *gamma2 = nullptr, *beta2 = nullptr;
  double eps = 1e-3;
  MapAt z1, z2;                                                                ///< kept for the backward
  float *mean1 = nullptr, *var1 = nullptr, *mean2 = nullptr, *var2 = nullptr;  ///< set
  float* workspace = nullptr;
};

/// What a convolution ends with in inference.
inline Epilogue ending(const float* scale, const float* bias, Act act, float slope) noexcept {
  Epilogue e;
  e.scale = scale;
  e.bias = bias;
  e.act = act;
  e.slope = slope;
  return e;
}

/// Of all channels of maps with that many, gathered in strips of `strip` rows.
inline MomentsArgs moments_args(index_t n, index_t h, index_t w, index_t strip, index_t channels, const float* moments,
                                float* mean, float* var) noexcept {
  return {.n = n,
          .h = h,
          .w = w,
          .strip = strip,
          .first = 0,
          .last = channels,
          .channels = channels,
          .moments = moments,
          .mean = mean,
          .var = var};
}

/// bn_act from z to y, maps of n x blocks x h x w.
inline BnArgs normalisation(index_t n, index_t blocks, index_t h, index_t w, const MapAt& z, const MapAt& y, Act act,
                            float slope) noexcept {
  BnArgs a;
  a.n = n;
  a.blocks = blocks;
  a.h = h;
  a.w = w;
  lay(z, a.z, a.zn, a.zb, a.zh);
  lay_y(y, a);
  a.act = act;
  a.slope = slope;
  return a;
}

}  // namespace slimneck::kernels
