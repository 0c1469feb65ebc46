// y[n,c,i,j] = max over the window x[n,c, is-p .. is-p+k-1, js-p .. js-p+k-1], outside the picture -infinity;
// dx[n,c, argmax(i,j)] += dy[n,c,i,j].
//
// argmax is the first maximum in row-major order, and the first NaN where there is one: a fixed choice makes ties,
// which are common after ReLU and in chained pools, reproducible.
#include <algorithm>
#include <limits>

#include "slimneck/kernels.hpp"

namespace slimneck::kernels {

namespace {

struct Pixel {
  index_t h, w;
};

/// Where the maximum of window (i, j) lies; h = -1 for a window that lies wholly in the padding.
template <class T>
Pixel argmax(View<const T> x, index_t n, index_t c, index_t i, index_t j, const Pool& p) {
  const index_t h0 = i * p.stride - p.pad;
  const index_t w0 = j * p.stride - p.pad;
  Pixel best{-1, -1};
  T maximum{};
  for (index_t h = std::max<index_t>(0, h0); h < std::min(x.shape.h, h0 + p.kernel); ++h) {
    const T* line = x.data + x.offset(n, c, h, 0);
    for (index_t w = std::max<index_t>(0, w0); w < std::min(x.shape.w, w0 + p.kernel); ++w) {
      const T value = line[w * x.sw];
      if (value != value) return {h, w};
      if (best.h >= 0 && value <= maximum) continue;
      best = {h, w};
      maximum = value;
    }
  }
  return best;
}

}  // namespace

template <class T>
void max_pool_fwd(View<const T> x, View<T> y, const Pool& pool) noexcept {
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t n = 0; n < y.shape.n; ++n)
    for (index_t c = 0; c < y.shape.c; ++c)
      for (index_t i = 0; i < y.shape.h; ++i)
        for (index_t j = 0; j < y.shape.w; ++j) {
          const Pixel from = argmax(x, n, c, i, j, pool);
          y.at(n, c, i, j) = from.h < 0 ? -std::numeric_limits<T>::infinity() : x.at(n, c, from.h, from.w);
        }
}

// A plane of dx belongs to one thread, and windows add to it in row-major order. The sums are kept in T, in dx itself:
// they have at most (k/s rounded up)^2 terms.
template <class T>
void max_pool_bwd(View<const T> x, View<const T> dy, View<T> dx, const Pool& pool) noexcept {
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t n = 0; n < dx.shape.n; ++n)
    for (index_t c = 0; c < dx.shape.c; ++c) {
      for (index_t h = 0; h < dx.shape.h; ++h)
        for (index_t w = 0; w < dx.shape.w; ++w) dx.at(n, c, h, w) = 0;
      for (index_t i = 0; i < dy.shape.h; ++i)
        for (index_t j = 0; j < dy.shape.w; ++j) {
          const Pixel to = argmax(x, n, c, i, j, pool);
          if (to.h >= 0) dx.at(n, c, to.h, to.w) += dy.at(n, c, i, j);
        }
    }
}

template SLIMNECK_EXPORT void max_pool_fwd<float>(View<const float>, View<float>, const Pool&) noexcept;
template SLIMNECK_EXPORT void max_pool_fwd<double>(View<const double>, View<double>, const Pool&) noexcept;
template SLIMNECK_EXPORT void max_pool_bwd<float>(View<const float>, View<const float>, View<float>,
                                                  const Pool&) noexcept;
template SLIMNECK_EXPORT void max_pool_bwd<double>(View<const double>, View<const double>, View<double>,
                                                   const Pool&) noexcept;

}  // namespace slimneck::kernels
