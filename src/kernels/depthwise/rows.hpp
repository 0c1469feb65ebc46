// Rows of one plane (one channel block of one image) of a depthwise convolution: what the kernels of whole maps, and
// those that fuse a convolution with what surrounds it, are made of. For kernel bodies.
#pragma once

#include "kernels/args.hpp"
#include "kernels/simd.hpp"

namespace slimneck::kernels {

/// The geometry is that of padding k/2. x is what is read: for gradients of the data it is dy, and y is dx.
struct DepthwiseRows {
  const float* x;  ///< row 0 of the plane
  index_t xh, h;   ///< rows that x has; those outside are zero and not touched
  const float* weights;
  float* y;  ///< row 0
  index_t yh;
  index_t w, ow;                ///< width of x and y
  bool add;                     ///< y += instead of y =
  const float* bias = nullptr;  ///< one number for each channel, unless y is added to
};

/// The same for the gradient of the weights; stride as the kernel says.
struct DepthwiseGradRows {
  const float* x;
  index_t xh, h;
  const float* dy;
  index_t yh;
  index_t w, ow;
};

}  // namespace slimneck::kernels

namespace slimneck::kernels::SN_ISA {

/// Rows [first, last) of y = conv(x, weights), stride 1.
void depthwise_rows_k5(const DepthwiseRows& r, index_t first, index_t last) noexcept;
void depthwise_rows_k3(const DepthwiseRows& r, index_t first, index_t last) noexcept;
/// Its transpose.
void depthwise_turned_rows_k5(const DepthwiseRows& r, index_t first, index_t last) noexcept;
void depthwise_turned_rows_k3(const DepthwiseRows& r, index_t first, index_t last) noexcept;

/// sums += the gradient of the weights from rows [first, last) of dy, stride 1.
void depthwise_grad_rows_k5(const DepthwiseGradRows& r, index_t first, index_t last, float* sums) noexcept;
void depthwise_grad_rows_k3(const DepthwiseGradRows& r, index_t first, index_t last, float* sums) noexcept;

}  // namespace slimneck::kernels::SN_ISA
