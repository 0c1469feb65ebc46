// Winograd convolution F(MxM, 3x3), stride 1, M = 4 or 2: y = A^T [ sum over c of U[c] * (B^T x[c] B) ] A with
// U = G w G^T prepared. Forward, and with turned weights the gradient of the data.
#include "kernels/conv2d/winograd_frame.hpp"
#include "kernels/declare.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder
using winograd::Place;

template <int M>
struct Form : Stride1<M> {
  static constexpr int output_phases = 1;
  template <int Phase>
  static SN_INLINE void output(const ConvArgs& a, const Place& at, index_t block, const float* m, index_t plane) {
    winograd::output_tile<M, M + 2>(a, at, block, m, plane);
  }
};

}  // namespace

void winograd4_conv(const ConvArgs& a) noexcept { winograd::convolve<Form<4>>(a); }
void winograd2_conv(const ConvArgs& a) noexcept { winograd::convolve<Form<2>>(a); }
void winograd4_prepare(const WeightArgs& a) noexcept { winograd::prepare<Form<4>>(a); }
void winograd2_prepare(const WeightArgs& a) noexcept { winograd::prepare<Form<2>>(a); }

}  // namespace slimneck::kernels::SN_ISA
