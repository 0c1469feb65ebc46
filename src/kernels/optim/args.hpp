// Arguments of optimiser steps on contiguous arrays. Included by kernels/args.hpp.
#pragma once

#include "kernels/args.hpp"

namespace slimneck::kernels {

/// As torch.optim, element by element:
///   optim_sgd:    g += decay p; m = first ? g : momentum m + g (without momentum m is not touched);
///                 p -= lr (nesterov ? g + momentum m : m)
///   optim_adam:   g += decay p; m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
///                 p -= lr / (1 - beta1^step) m / (sqrt(v) / sqrt(1 - beta2^step) + eps)
///   optim_adamw:  p *= 1 - lr decay; then as adam without decay
///   optim_ema:    p = beta1 p + (1 - beta1) g
///   optim_scale:  p *= lr
///   optim_zero:   p = 0
/// Hyperparameters are double, and what is made of them is rounded once.
struct OptimArgs {
  index_t count = 0;
  float* p = nullptr;
  const float* g = nullptr;
  float *m = nullptr, *v = nullptr;
  double lr = 0, momentum = 0, decay = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
  index_t step = 1;  ///< of adam: 1 for the first
  bool nesterov = false;
  bool first = false;  ///< m holds nothing yet
};

/// *result = sum of x^2, in double.
struct SumSquaresArgs {
  index_t count = 0;
  const float* x = nullptr;
  double* result = nullptr;
  double* workspace = nullptr;  ///< sum_squares_workspace(count)
};

inline constexpr index_t optim_piece = 16384;
inline constexpr index_t sum_squares_workspace(index_t count) { return (count + optim_piece - 1) / optim_piece; }

}  // namespace slimneck::kernels
