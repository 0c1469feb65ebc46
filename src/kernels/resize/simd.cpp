// Nearest upsampling by a whole factor f: y[i, j] = x[i / f, j / f]; backward dx[i, j] = sum_{a, b < f} dy[i f + a,
// j f + b], in float, row after row.
#include "kernels/declare.hpp"

namespace slimneck::kernels::SN_ISA {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

namespace {

/// body(x row, y row) for row i of the small map of every plane.
template <class Body>
SN_INLINE void for_each_small_row(const UpsampleArgs& a, index_t x_rows, index_t y_rows, const Body& body) {
  const index_t tasks = a.n * a.blocks * a.h;
#pragma omp parallel for schedule(static) if (tasks > 1)
  for (index_t t = 0; t < tasks; ++t) {
    const index_t i = t % a.h, b = t / a.h % a.blocks, n = t / a.h / a.blocks;
    body(a.x + n * a.xn + b * a.xb + i * x_rows * a.xh, a.y + n * a.yn + b * a.yb + i * y_rows * a.yh);
  }
}

/// F is the factor, or 0 for one known at run time.
template <int F>
SN_INLINE void forward(const UpsampleArgs& a) {
  const index_t f = F ? F : a.factor;
  for_each_small_row(a, 1, f, [&](const float* x, float* y) SN_INLINE_BODY {
    for (index_t r = 0; r < f; ++r)
      for (index_t j = 0; j < a.w; ++j) {
        const Vec v = load(x + j * lanes);
        for (index_t c = 0; c < f; ++c) store(y + r * a.yh + (j * f + c) * lanes, v);
      }
  });
}

template <int F>
SN_INLINE void backward(const UpsampleArgs& a) {
  const index_t f = F ? F : a.factor;
  for_each_small_row(a, f, 1, [&](const float* x, float* y) SN_INLINE_BODY {
    for (index_t j = 0; j < a.w; ++j) {
      Vec s = zero();
      for (index_t r = 0; r < f; ++r)
        for (index_t c = 0; c < f; ++c) s = simd::add(s, load(x + r * a.xh + (j * f + c) * lanes));
      store(y + j * lanes, s);
    }
  });
}

}  // namespace

void upsample_fwd(const UpsampleArgs& a) noexcept { a.factor == 2 ? forward<2>(a) : forward<0>(a); }
void upsample_bwd(const UpsampleArgs& a) noexcept { a.factor == 2 ? backward<2>(a) : backward<0>(a); }

}  // namespace slimneck::kernels::SN_ISA
