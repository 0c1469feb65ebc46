// What batch norm makes of one element, for the kernels that do it on their way. For .cu files.
#pragma once

#include "kernels/cuda/activation.hpp"
#include "kernels/cuda/parts.hpp"

namespace slimneck::kernels::cuda {

struct DeviceNorm {
  Vector<const float> gamma, beta, mean, var;
  float eps;
};

inline DeviceNorm device_norm(const fast::Norm& norm, double eps) {
  return {vector_of(norm.gamma), vector_of(norm.beta), vector_of(norm.mean), vector_of(norm.var),
          static_cast<float>(eps)};
}

/// What one channel is made of.
struct Channel {
  float mean, q, scale, beta;

  [[nodiscard]] __device__ __forceinline__ float norm(float x) const { return scale * (x - mean) + beta; }
};

__device__ __forceinline__ Channel channel_of(const DeviceNorm& norm, int c) {
  const float q = 1.F / sqrtf(norm.var(c) + norm.eps);
  return {norm.mean(c), q, norm.gamma.data ? norm.gamma(c) * q : q, norm.beta.data ? norm.beta(c) : 0.F};
}

/// dx = scale g + (x - mean) linear + constant.
struct GradientTerms {
  float linear, constant;
};

/// Of channel c, from two numbers for each.
__device__ __forceinline__ GradientTerms gradient_terms(const Vector<const float>& terms, int c) {
  return {terms(2 * c), terms(2 * c + 1)};
}

__device__ __forceinline__ float norm_gradient(const Channel& channel, const GradientTerms& terms, float g, float x) {
  return channel.scale * g + (x - channel.mean) * terms.linear + terms.constant;
}

}  // namespace slimneck::kernels::cuda
