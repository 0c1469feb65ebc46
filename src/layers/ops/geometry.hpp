// Geometry of convolutions, shared by conv2d and the composites that contain one.
#pragma once

#include "layers/ops/common.hpp"

namespace slimneck::ops {

inline constexpr AttributeSpec geometry_attributes[] = {{"stride", Kind::integer, false, 1},
                                                        {"pad_h", Kind::integer, false, 0},
                                                        {"pad_w", Kind::integer, false, 0},
                                                        {"dilation", Kind::integer, false, 1},
                                                        {"groups", Kind::integer, false, 1}};

/// The attributes above, taken from a node that has them.
Attributes geometry_of(const Attributes& a);

/// What the kernel is told. On physical views a depthwise convolution has as many groups as physical channels.
kernels::Conv2d geometry(const Attributes& a, index_t channels, index_t per_group);

/// Shape of the output for input x and weights w; throws ShapeError for whatever does not fit.
Shape convolved(const Attributes& a, const Shape& x, const Shape& w);

/// Multiply-adds of an output y made with weights w.
inline index_t convolution_macs(const Shape& y, const Shape& w) { return y.numel() * w.c * w.h * w.w; }

/// Emits the gradients of conv(x, w) -> dy for the inputs `x` and `w` of the node.
void convolution_gradient(GradientContext& g, std::size_t x, std::size_t w, Value dy);

}  // namespace slimneck::ops
