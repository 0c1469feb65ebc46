// Depthwise 7x7 with padding 3 and 9x9 with padding 4, stride 1: forward, and the gradient of the data, which is the
// forward with its taps turned.
//
//   y[n,c,i,j]  = sum over u, v of w[c,u,v] * x[n,c, i - K/2 + u, j - K/2 + v]
//   dx[n,c,i,j] = sum over u, v of w[c,u,v] * dy[n,c, i + K/2 - u, j + K/2 - v]
#include "kernels/declare.hpp"
#include "kernels/depthwise/walk.hpp"

namespace slimneck::kernels::SN_ISA {

void depthwise_k7k9(const DepthwiseArgs& a) noexcept {
  a.kh == 7 ? simd::walk_map<simd::Gather<7, 1>, false>(a) : simd::walk_map<simd::Gather<9, 1>, false>(a);
}

void depthwise_bwd_x_k7k9(const DepthwiseArgs& a) noexcept {
  a.kh == 7 ? simd::walk_map<simd::Gather<7, 1>, true>(a) : simd::walk_map<simd::Gather<9, 1>, true>(a);
}

}  // namespace slimneck::kernels::SN_ISA
