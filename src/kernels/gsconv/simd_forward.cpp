// GSConv in training, between its two normalisations:
//
//   a = act(z1 scale + bias),  z2[c] = sum over u, v of w[c,u,v] * a[c, i - k/2 + u, j - k/2 + v],  moments of z2
//
// Plane by plane in strips: rows of a are made and stored (they are half of the output), the rows of z2 that they
// complete are computed while they lie in the cache, and their moments are gathered from the first level cache.
#include "kernels/declare.hpp"
#include "kernels/gsconv/rows.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

/// a = act(z scale + bias) in rows of w pixels.
void activate_rows(const GsForwardArgs& p, const float* z, float* a, index_t rows, Vec scale, Vec bias) {
  // Behind a pointer they would be read again after every store.
  const index_t row = p.w * lanes, zh = p.z1.sh, ah = p.a.sh;
  const float slope = p.slope;
  with_act(p.act, [&]<Act act>() {
    for (index_t r = 0; r < rows; ++r, z += zh, a += ah)
#pragma GCC unroll 2
      for (index_t i = 0; i < row; i += lanes) store(a + i, simd::activate<act>(slope, fma(load(z + i), scale, bias)));
  });
}

void forward_plane(const GsForwardArgs& p, index_t n, index_t b) {
  const index_t strips = (p.h + p.strip - 1) / p.strip, reach = p.k / 2;
  const float* z1 = plane(p.z1, n, b);
  float *a = plane(p.a, n, b), *z2 = plane(p.z2, n, b);
  const Vec scale = load(p.scale + b * lanes), bias = load(p.bias + b * lanes);
  const DepthwiseRows rows{a, p.a.sh, p.h, p.weights + b * p.k * p.k * lanes, z2, p.z2.sh, p.w, p.w, false};
  const auto depthwise = p.k == 5 ? depthwise_rows_k5 : depthwise_rows_k3;
  index_t made = 0;
  for (index_t s = 0; s < strips; ++s) {
    const index_t first = s * p.strip, last = least(p.h, first + p.strip), needed = least(p.h, last + reach);
    activate_rows(p, z1 + made * p.z1.sh, a + made * p.a.sh, needed - made, scale, bias);
    made = needed;
    // Row by row. Several rows in one call were 0.92-0.95 times as fast, rows of z1 asked for ahead 0.8-1.0.
    RowMoments m{};
    for (index_t i = first; i < last; ++i) {
      depthwise(rows, i, i + 1);
      const float* y = z2 + i * p.z2.sh;
      if (i == first) start(m, y, p.w);
      gather(m, y, p.w);
    }
    finish(m, p.moments + (n * strips + s) * 3 * p.channels + b * lanes, p.channels);
  }
}

}  // namespace

void gs_forward(const GsForwardArgs& p) noexcept {
#pragma omp parallel for schedule(static)
  for (index_t task = 0; task < p.n * p.blocks; ++task) forward_plane(p, task / p.blocks, task % p.blocks);
}

}  // namespace slimneck::kernels::SN_ISA
