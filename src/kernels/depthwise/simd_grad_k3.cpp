// Gradient of depthwise 3x3 weights, padding 1, strides 1 and 2; the equation is in grad.hpp.
#include "kernels/declare.hpp"
#include "kernels/depthwise/grad.hpp"

namespace slimneck::kernels::SN_ISA {

void depthwise_bwd_w_k3(const DepthwiseGradArgs& a) noexcept {
  a.stride == 1 ? simd::grad_map<3, 1>(a) : simd::grad_map<3, 2>(a);
}

void depthwise_grad_rows_k3(const DepthwiseGradRows& r, index_t first, index_t last, float* sums) noexcept {
  simd::grad_rows<3, 1>(r, first, last, sums);
}

}  // namespace slimneck::kernels::SN_ISA
