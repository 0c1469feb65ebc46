// Depthwise 3x3 with padding 1: forward of strides 1 and 2, and the gradients of the data.
//
//   y[n,c,i,j]  = sum over u, v of w[c,u,v] * x[n,c, i*s - 1 + u, j*s - 1 + v]
//   dx[n,c,i,j] = sum over u, v of w[c,u,v] * dy[n,c, (i + 1 - u)/s, (j + 1 - v)/s], where s divides both
//
// For s = 1 the second is the first with its taps turned; for s = 2 every input pixel meets the taps of its parity
// only, without zeros put between the pixels of dy.
#include "kernels/declare.hpp"
#include "kernels/depthwise/walk.hpp"

namespace slimneck::kernels::SN_ISA {

void depthwise_k3(const DepthwiseArgs& a) noexcept {
  a.stride == 1 ? simd::walk_map<simd::Gather<3, 1>, false>(a) : simd::walk_map<simd::Gather<3, 2>, false>(a);
}

void depthwise_bwd_x_k3(const DepthwiseArgs& a) noexcept {
  a.stride == 1 ? simd::walk_map<simd::Gather<3, 1>, true>(a) : simd::walk_map<simd::Spread<3>, false>(a);
}

void depthwise_rows_k3(const DepthwiseRows& r, index_t first, index_t last) noexcept {
  simd::walk<simd::Gather<3, 1>, false>(r, first, last);
}

void depthwise_turned_rows_k3(const DepthwiseRows& r, index_t first, index_t last) noexcept {
  simd::walk<simd::Gather<3, 1>, true>(r, first, last);
}

}  // namespace slimneck::kernels::SN_ISA
