// Nearest upsampling by a whole factor f: y[n,c,i,j] = x[n,c,i/f,j/f], and dx[n,c,h,w] = sum_{a,b < f}
// dy[n,c,hf+a,wf+b].
#include "slimneck/kernels.hpp"

namespace slimneck::kernels {

template <class T>
void upsample_nearest_fwd(View<const T> x, View<T> y, index_t factor) noexcept {
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t n = 0; n < x.shape.n; ++n)
    for (index_t c = 0; c < x.shape.c; ++c)
      for (index_t i = 0; i < x.shape.h * factor; ++i) {
        const T* from = x.data + x.offset(n, c, i / factor, 0);
        T* to = y.data + y.offset(n, c, i, 0);
        for (index_t w = 0; w < x.shape.w; ++w)
          for (index_t b = 0; b < factor; ++b) to[(w * factor + b) * y.sw] = from[w * x.sw];
      }
}

template <class T>
void upsample_nearest_bwd(View<const T> dy, View<T> dx, index_t factor) noexcept {
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t n = 0; n < dx.shape.n; ++n)
    for (index_t c = 0; c < dx.shape.c; ++c)
      for (index_t h = 0; h < dx.shape.h; ++h)
        for (index_t w = 0; w < dx.shape.w; ++w) {
          double sum = 0;
          for (index_t a = 0; a < factor; ++a)
            for (index_t b = 0; b < factor; ++b)
              sum += static_cast<double>(dy.at(n, c, h * factor + a, w * factor + b));
          dx.at(n, c, h, w) = static_cast<T>(sum);
        }
}

template SLIMNECK_EXPORT void upsample_nearest_fwd<float>(View<const float>, View<float>, index_t) noexcept;
template SLIMNECK_EXPORT void upsample_nearest_fwd<double>(View<const double>, View<double>, index_t) noexcept;
template SLIMNECK_EXPORT void upsample_nearest_bwd<float>(View<const float>, View<float>, index_t) noexcept;
template SLIMNECK_EXPORT void upsample_nearest_bwd<double>(View<const double>, View<double>, index_t) noexcept;

}  // namespace slimneck::kernels
