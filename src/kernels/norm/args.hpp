// Arguments of batch normalisation with an activation, and of sums over a map. Included by kernels/args.hpp.
//
// All vectors have one number for each of blocks * V channels.
#pragma once

#include "kernels/args.hpp"
#include "kernels/norm/moments.hpp"

namespace slimneck::kernels {

/// bn_moments:   z -> mean, var (biased)
/// bn_act:       y = act(z scale + bias); y may be z
/// bn_act_train: z -> mean, var; scale = gamma / sqrt(var + eps), bias = beta - mean scale; then as bn_act. Block by
///               block of channels, so that z is read from memory once.
struct BnArgs {
  index_t n = 0, blocks = 0, h = 0, w = 0;
  const float* z = nullptr;
  index_t zn = 0, zb = 0, zh = 0;
  float* y = nullptr;
  index_t yn = 0, yb = 0, yh = 0;
  float *mean = nullptr, *var = nullptr;
  const float *gamma = nullptr, *beta = nullptr;
  float *scale = nullptr, *bias = nullptr;  ///< bn_act reads them, bn_act_train writes them
  double eps = 1e-3;
  Act act = Act::none;
  float slope = 0;
  float* workspace = nullptr;  ///< bn_workspace floats; bn_act needs none
};

/// With g = dy act'(z scale + bias), and N values in a channel:
///   dbeta = sum g,  dgamma = q sum g (z - mean),  q = 1 / sqrt(var + eps)
///   dz = P g + Q (z - mean) + R,  P = scale, Q = -scale q dgamma / N, R = -scale dbeta / N;
/// Q = R = 0 without batch statistics.
///
/// bn_act_bwd_sums:  dy, z -> dgamma, dbeta, coefficients; and g where g is given, which may be dy
/// bn_act_bwd_apply: coefficients and g (or dy, where g is null), z -> dz, which may be g, dy or z
/// bn_act_bwd:       both, block by block of channels; dz may be dy; g is not used
struct BnGradArgs {
  index_t n = 0, blocks = 0, h = 0, w = 0;
  const float* dy = nullptr;
  index_t dyn = 0, dyb = 0, dyh = 0;
  const float* z = nullptr;
  index_t zn = 0, zb = 0, zh = 0;
  float* g = nullptr;
  index_t gn = 0, gb = 0, gh = 0;
  float* dz = nullptr;
  index_t dzn = 0, dzb = 0, dzh = 0;
  const float *mean = nullptr, *var = nullptr, *scale = nullptr, *bias = nullptr;
  double eps = 1e-3;
  Act act = Act::none;
  float slope = 0;
  bool batch_stats = true;
  float *dgamma = nullptr, *dbeta = nullptr;
  float* coefficients = nullptr;  ///< P, Q, R: three rows of channels
  float* workspace = nullptr;     ///< bn_workspace floats; bn_act_bwd_apply needs none
};

/// y[channel] = sum over n, h, w of x.
struct ChannelSumArgs {
  index_t n = 0, blocks = 0, h = 0, w = 0;
  const float* x = nullptr;
  index_t xn = 0, xb = 0, xh = 0;
  float* y = nullptr;
  float* workspace = nullptr;  ///< bn_workspace floats
};

inline constexpr index_t bn_workspace(index_t n, index_t blocks, index_t h, index_t w, index_t lanes) {
  return moments_floats(n, h, moments_strip(h, w), blocks * lanes);
}

/// What bn_act_bwd_sums ends with, in double: dgamma, dbeta and coefficients of blocks [first, last), from partial sums
/// in the workspace: of each part (image and strip of rows) two rows of channels, sums of g and of g (z - mean).
SLIMNECK_EXPORT void bn_finish_sums(const BnGradArgs& args, index_t lanes, index_t strip, index_t first,
                                    index_t last) noexcept;

/// scale = gamma / sqrt(var + eps), bias = beta - mean scale; gamma null is 1, beta null 0.
SLIMNECK_EXPORT void bn_fold(index_t channels, const float* mean, const float* var, const float* gamma,
                             const float* beta, double eps, float* scale, float* bias) noexcept;
SLIMNECK_EXPORT void bn_fold(index_t channels, const double* mean, const double* var, const double* gamma,
                             const double* beta, double eps, double* scale, double* bias) noexcept;

}  // namespace slimneck::kernels
