// y[n,j,h,w] = x[n, source[j], h, w], zero where source[j] < 0.
//
// With n channels, interleave is source[j] = j/2 + (j%2) n/2 and de-interleave is source[j] = 2j for j < n/2 and
// 2(j - n/2) + 1 otherwise; they are inverse to one another, and the adjoint of a permutation is its inverse.
#include "slimneck/kernels.hpp"

namespace slimneck::kernels {

template <class T>
void gather_channels(View<const T> x, View<T> y, std::span<const index_t> source) noexcept {
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t n = 0; n < y.shape.n; ++n)
    for (index_t j = 0; j < y.shape.c; ++j) {
      const index_t c = source[static_cast<std::size_t>(j)];
      for (index_t h = 0; h < y.shape.h; ++h) {
        T* to = y.data + y.offset(n, j, h, 0);
        const T* from = c < 0 ? nullptr : x.data + x.offset(n, c, h, 0);
        for (index_t w = 0; w < y.shape.w; ++w) to[w * y.sw] = from ? from[w * x.sw] : T{0};
      }
    }
}

template SLIMNECK_EXPORT void gather_channels<float>(View<const float>, View<float>, std::span<const index_t>) noexcept;
template SLIMNECK_EXPORT void gather_channels<double>(View<const double>, View<double>,
                                                      std::span<const index_t>) noexcept;

}  // namespace slimneck::kernels
