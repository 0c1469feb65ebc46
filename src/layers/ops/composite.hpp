// Pieces of the composites: batch norm and activation in one go, forward and backward.
#pragma once

#include "layers/ops/geometry.hpp"

namespace slimneck::ops {

/// Attributes of a convolution with batch norm and activation. train: batch statistics, and what backward needs is
/// kept.
inline constexpr AttributeSpec composite_attributes[] = {
    {"stride", Kind::integer, false, 1},   {"pad_h", Kind::integer, false, 0},  {"pad_w", Kind::integer, false, 0},
    {"dilation", Kind::integer, false, 1}, {"groups", Kind::integer, false, 1}, {"eps", Kind::real, false, 1e-3},
    {"act", Kind::integer, false, 0},      {"slope", Kind::real, false, 0.01},  {"train", Kind::integer, false, 0}};

/// What of them a backward node needs; norm_act_of takes it.
inline constexpr AttributeSpec norm_act_attributes[] = {
    {"eps", Kind::real, false, 1e-3}, {"act", Kind::integer, false, 0}, {"slope", Kind::real, false, 0.01}};

inline Attributes norm_act_of(const Attributes& a) {
  return {{"eps", a.real("eps")}, {"act", a.integer("act")}, {"slope", a.real("slope")}};
}

inline void require_training_form(const Attributes& a) {
  if (a.integer("train") == 0) throw ShapeError("a composite in its inference form (train=0) has no gradient");
}

/// z = conv(operand 0, operand 1).
template <class T>
void convolve(const KernelCall& k, View<T> z) {
  const auto x = k.in<T>(0), w = k.in<T>(1);
  kernels::conv2d_fwd<T>(x, w, {}, z, geometry(*k.attributes, x.shape.c, w.shape.c));
}

/// y = act(gamma (z - mean) / sqrt(var + eps) + beta). y may be z.
template <class T>
void norm_act(View<const T> z, View<const T> mean, View<const T> var, View<const T> gamma, View<const T> beta,
              View<T> y, const Attributes& a) noexcept {
  kernels::bn_apply<T>(z, mean, var, gamma, beta, y, a.real("eps"));
  if (const kernels::Activation act = activation_attribute(a); act.kind != kernels::Act::none)
    kernels::act_fwd<T>(y, y, act);
}

/// y = act(y scale + bias).
template <class T>
void scale_act(View<T> y, View<const T> scale, View<const T> bias, const Attributes& a) noexcept {
  for (index_t n = 0; n < y.shape.n; ++n)
    for (index_t c = 0; c < y.shape.c; ++c)
      for (index_t h = 0; h < y.shape.h; ++h)
        for (index_t w = 0; w < y.shape.w; ++w) {
          T& v = y.at(n, c, h, w);
          v = v * scale.at(0, c, 0, 0) + bias.at(0, c, 0, 0);
        }
  if (const kernels::Activation act = activation_attribute(a); act.kind != kernels::Act::none)
    kernels::act_fwd<T>(y, y, act);
}

/// The adjoint under batch statistics. scratch has the layout of z and may be dz when dz is not dy; dz may be dy.
template <class T>
void norm_act_bwd(View<const T> dy, View<const T> z, View<const T> mean, View<const T> var, View<const T> gamma,
                  View<const T> beta, View<T> scratch, View<T> dz, View<T> dgamma, View<T> dbeta,
                  const Attributes& a) noexcept {
  View<const T> du = dy;
  if (const kernels::Activation act = activation_attribute(a); act.kind != kernels::Act::none) {
    kernels::bn_apply<T>(z, mean, var, gamma, beta, scratch, a.real("eps"));
    kernels::act_bwd<T>(scratch, dy, dz, act);
    du = dz;
  }
  kernels::bn_bwd<T>(du, z, mean, var, gamma, dz, dgamma, dbeta, a.real("eps"), true);
}

}  // namespace slimneck::ops
