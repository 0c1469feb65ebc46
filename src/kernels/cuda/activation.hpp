// Activations and their derivatives in single precision, the formulas of pointwise/ref.cpp. For .cu files.
#pragma once

#include "kernels/cuda/map.hpp"

namespace slimneck::kernels::cuda {

struct DeviceActivation {
  Act kind;
  float slope;
};

inline DeviceActivation device_activation(const Activation& act) { return {act.kind, static_cast<float>(act.slope)}; }

/// 1/(1 + e^-x) and 1 minus that, without a difference of numbers that are nearly equal.
struct Sigmoid {
  float value, rest;
};

__device__ __forceinline__ Sigmoid sigmoid(float x) {
  const float e = expf(-fabsf(x)), large = 1.F / (1.F + e), small = e / (1.F + e);
  return x < 0 ? Sigmoid{small, large} : Sigmoid{large, small};
}

/// tanh(ln(1 + e^x)) and its derivative: in e = exp(-|x|), which does not overflow.
struct MishGate {
  float value, slope;
};

__device__ __forceinline__ MishGate mish_gate(float x) {
  const float e = expf(-fabsf(x));
  if (x < 0) {
    const float d = e * (e + 2.F) + 2.F;
    return {e * (e + 2.F) / d, 4.F * e * (1.F + e) / (d * d)};
  }
  const float d = 1.F + 2.F * e + 2.F * e * e;
  return {(1.F + 2.F * e) / d, 4.F * e * e * (1.F + e) / (d * d)};
}

__device__ __forceinline__ float act_value(const DeviceActivation& act, float x) {
  switch (act.kind) {
    case Act::none: return x;
    case Act::silu: return x * sigmoid(x).value;
    case Act::mish: return x * mish_gate(x).value;
    case Act::relu: return x <= 0 ? 0.F : x;
    case Act::leaky_relu: return x <= 0 ? act.slope * x : x;
    case Act::hardswish: return x <= -3.F ? 0.F : x >= 3.F ? x : x * (x + 3.F) / 6.F;
    case Act::sigmoid: return sigmoid(x).value;
    case Act::gelu: return x * normcdff(x);
  }
  return x;
}

__device__ __forceinline__ float act_slope(const DeviceActivation& act, float x) {
  constexpr float density = 0.398942280F;  // 1/sqrt(2 pi)
  switch (act.kind) {
    case Act::none: break;
    case Act::silu: {
      const Sigmoid s = sigmoid(x);
      return s.value * (1.F + x * s.rest);
    }
    case Act::mish: {
      const MishGate gate = mish_gate(x);
      return gate.value + x * gate.slope;
    }
    case Act::relu: return x <= 0 ? 0.F : x > 0 ? 1.F : x;
    case Act::leaky_relu: return x <= 0 ? act.slope : x > 0 ? 1.F : x;
    case Act::hardswish: return x < -3.F ? 0.F : x >= 3.F ? 1.F : (2.F * x + 3.F) / 6.F;
    case Act::sigmoid: {
      const Sigmoid s = sigmoid(x);
      return s.value * s.rest;
    }
    case Act::gelu: return normcdff(x) + x * density * expf(-x * x / 2.F);
  }
  return x == x ? 1.F : x;
}

}  // namespace slimneck::kernels::cuda
