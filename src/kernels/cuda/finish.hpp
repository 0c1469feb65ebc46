// What becomes of the sum of an output element: act(sum * scale + bias) + residual. For .cu files.
#pragma once

#include "kernels/cuda/activation.hpp"

namespace slimneck::kernels::cuda {

/// Where results go; scale, bias and residual may be without data.
struct Output {
  PlacedMap<float> y;
  Vector<const float> scale, bias;
  DeviceActivation act;
  Map<const float> residual;
  Write write;

  __device__ __forceinline__ void set(float sum, int n, int c, int h, int w) const {
    if (scale.data) sum *= scale(c);
    if (bias.data) sum += bias(c);
    sum = act_value(act, sum);
    if (residual.data) sum += residual(n, c, h, w);
    put(y(n, c, h, w), sum, write);
  }
};

inline Output output_of(const Half<float>& y, const fast::Finish& finish, Write write) {
  return {placed_map_of(y),        vector_of(finish.scale),
          vector_of(finish.bias),  device_activation(finish.act),
          map_of(finish.residual), write};
}

}  // namespace slimneck::kernels::cuda
