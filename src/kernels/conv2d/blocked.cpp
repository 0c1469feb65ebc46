// y[n,o,i,j] = sum over c, u, v of w[o,c,u,v] x[n,c,i*s - ph + u*d, j*s - pw + v*d], with V output channels and a few
// pixels of a row in registers at once. A tap that falls off the picture reads a block of zeros, so the inner loops
// have no test.
#include "kernels/conv2d/blocked.hpp"

#include <algorithm>
#include <array>

namespace slimneck::kernels {

namespace {

/// Pixels whose accumulators (V each) fit the 16 vector registers of plain x86-64 beside a weight and an input.
template <index_t V>
constexpr index_t tile = 32 / V;

template <class T, index_t V>
struct Row {
  View<const T> x;
  const T* w;  // of one block of output channels
  index_t kh, kw;
  Conv2d g;
};

/// Accumulators of the pixels [j, j + tile) of output row i.
template <class T, index_t V>
void accumulate(const Row<T, V>& r, index_t n, index_t i, index_t j, T (&acc)[tile<V>][V]) noexcept {
  static constexpr std::array<T, V> zeros{};
  const index_t blocks = (r.x.shape.c + V - 1) / V;
  for (index_t b = 0; b < blocks; ++b)
    for (index_t u = 0; u < r.kh; ++u) {
      const index_t ih = i * r.g.stride - r.g.pad_h + u * r.g.dilation;
      if (ih < 0 || ih >= r.x.shape.h) continue;
      const T* row = r.x.data + n * r.x.sn + b * r.x.sc + ih * r.x.sh;
      for (index_t v = 0; v < r.kw; ++v) {
        const T* pixel[tile<V>];
        for (index_t t = 0; t < tile<V>; ++t) {
          const index_t iw = (j + t) * r.g.stride - r.g.pad_w + v * r.g.dilation;
          pixel[t] = iw >= 0 && iw < r.x.shape.w ? row + iw * r.x.sw : zeros.data();
        }
        const T* w = r.w + ((b * r.kh + u) * r.kw + v) * V * V;
#pragma GCC unroll 2
        for (index_t c = 0; c < V; ++c, w += V)
#pragma GCC unroll 4
          for (index_t t = 0; t < tile<V>; ++t) {
            const T value = pixel[t][c];
#pragma GCC unroll 16
            for (index_t l = 0; l < V; ++l) acc[t][l] += value * w[l];
          }
      }
    }
}

template <class T, index_t V>
void convolve(View<const T> x, const T* w, index_t kh, index_t kw, View<T> y, const Conv2d& g) noexcept {
  const index_t out_blocks = (y.shape.c + V - 1) / V, in_blocks = (x.shape.c + V - 1) / V;
#pragma omp parallel for collapse(3) schedule(static)
  for (index_t n = 0; n < y.shape.n; ++n)
    for (index_t b = 0; b < out_blocks; ++b)
      for (index_t i = 0; i < y.shape.h; ++i) {
        const Row<T, V> row{x, w + b * in_blocks * kh * kw * V * V, kh, kw, g};
        T* out = y.data + n * y.sn + b * y.sc + i * y.sh;
        for (index_t j = 0; j < y.shape.w; j += tile<V>) {
          T acc[tile<V>][V] = {};
          accumulate<T, V>(row, n, i, j, acc);
          const index_t pixels = std::min(tile<V>, y.shape.w - j);
          for (index_t t = 0; t < pixels; ++t) std::copy_n(acc[t], V, out + (j + t) * y.sw);
        }
      }
}

}  // namespace

template <class T>
void conv2d_fwd_blocked(View<const T> x, const T* w, index_t kh, index_t kw, View<T> y, const Conv2d& g) noexcept {
  if (y.block == 8)
    convolve<T, 8>(x, w, kh, kw, y, g);
  else
    convolve<T, 16>(x, w, kh, kw, y, g);
}

template void conv2d_fwd_blocked<float>(View<const float>, const float*, index_t, index_t, View<float>,
                                        const Conv2d&) noexcept;
template void conv2d_fwd_blocked<double>(View<const double>, const double*, index_t, index_t, View<double>,
                                         const Conv2d&) noexcept;

}  // namespace slimneck::kernels
