// Depthwise 5x5 with padding 2: forward of strides 1 and 2, and the gradients of the data.
//
//   y[n,c,i,j]  = sum over u, v of w[c,u,v] * x[n,c, i*s - 2 + u, j*s - 2 + v]
//   dx[n,c,i,j] = sum over u, v of w[c,u,v] * dy[n,c, (i + 2 - u)/s, (j + 2 - v)/s], where s divides both
//
// For s = 1 the second is the first with its taps turned; for s = 2 every input pixel meets the taps of its parity
// only, without zeros put between the pixels of dy.
#include "kernels/declare.hpp"
#include "kernels/depthwise/walk.hpp"

namespace slimneck::kernels::SN_ISA {

void depthwise_k5(const DepthwiseArgs& a) noexcept {
  a.stride == 1 ? simd::walk_map<simd::Gather<5, 1>, false>(a) : simd::walk_map<simd::Gather<5, 2>, false>(a);
}

void depthwise_bwd_x_k5(const DepthwiseArgs& a) noexcept {
  a.stride == 1 ? simd::walk_map<simd::Gather<5, 1>, true>(a) : simd::walk_map<simd::Spread<5>, false>(a);
}

void depthwise_rows_k5(const DepthwiseRows& r, index_t first, index_t last) noexcept {
  simd::walk<simd::Gather<5, 1>, false>(r, first, last);
}

void depthwise_turned_rows_k5(const DepthwiseRows& r, index_t first, index_t last) noexcept {
  simd::walk<simd::Gather<5, 1>, true>(r, first, last);
}

}  // namespace slimneck::kernels::SN_ISA
