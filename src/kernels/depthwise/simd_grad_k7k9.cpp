// Gradient of depthwise 7x7 and 9x9 weights, padding K/2, stride 1; the equation is in grad.hpp.
#include "kernels/declare.hpp"
#include "kernels/depthwise/grad.hpp"

namespace slimneck::kernels::SN_ISA {

void depthwise_bwd_w_k7k9(const DepthwiseGradArgs& a) noexcept {
  a.kh == 7 ? simd::grad_map<7, 1>(a) : simd::grad_map<9, 1>(a);
}

}  // namespace slimneck::kernels::SN_ISA
