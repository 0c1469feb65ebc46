// Max pooling, backward: dx = 0, then dx[where of window (i, j)] += dy[i, j] in the order of the windows, which is that
// of the reference: the sums are the same to the last bit.
//
// The lanes of a vector go to different places. Additions one lane after another are bound by the load ports and
// overlap well; what the windows of a pixel give it in vectors, by comparing every window's position, takes k * k
// comparisons per pixel.
#include "kernels/declare.hpp"

namespace slimneck::kernels::SN_ISA {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

void max_pool_bwd(const PoolGradArgs& a) noexcept {
  constexpr index_t most_taps = pool_positions_kernel * pool_positions_kernel;
  const index_t taps = a.kernel * a.kernel, planes = a.n * a.blocks;
#pragma omp parallel for schedule(static) if (planes > 1)
  for (index_t t = 0; t < planes; ++t) {
    const index_t n = t / a.blocks, b = t % a.blocks;
    index_t offset[most_taps];
    for (index_t k = 0; k < least(taps, most_taps); ++k) offset[k] = k / a.kernel * a.xh + k % a.kernel * lanes;
    float* dx = a.dx + n * a.xn + b * a.xb;
    for (index_t i = 0; i < a.h; ++i)
      for (index_t j = 0; j < a.w * lanes; j += lanes) store(dx + i * a.xh + j, zero());
    for (index_t i = 0; i < a.oh; ++i) {
      const float* dy = a.dy + n * a.yn + b * a.yb + i * a.yh;
      const std::uint8_t* where = a.where + (t * a.oh + i) * a.ow * lanes;
      float* window = dx + (i * a.stride - a.pad) * a.xh - a.pad * lanes;
      for (index_t j = 0; j < a.ow; ++j)
#pragma GCC unroll 16
        for (index_t k = 0; k < lanes; ++k) {
          const index_t at = where[j * lanes + k];
          if (at < taps) window[j * a.stride * lanes + offset[at] + k] += dy[j * lanes + k];
        }
    }
  }
}

}  // namespace slimneck::kernels::SN_ISA
