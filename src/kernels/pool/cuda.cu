// y[n,c,i,j] = max over the window x[n,c, is-p .. is-p+k-1, js-p .. js-p+k-1], outside the picture -infinity;
// dx[n,c,h,w] = sum of dy[n,c,i,j] over the windows whose first maximum (first NaN) is (h,w).
//
// The forward notes where the maximum lies, so that the backward gathers: an input looks at the windows that hold it,
// in row-major order, and nobody needs an atomic addition.
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/map.hpp"

namespace slimneck::kernels::cuda {

namespace {

struct Windows {
  int kernel, stride, pad;
};

Windows windows_of(const Pool& p) {
  return {static_cast<int>(p.kernel), static_cast<int>(p.stride), static_cast<int>(p.pad)};
}

/// Positions lie as a dense map of the shape of y.
template <class T>
Map<T> dense(T* data, const Shape& s) {
  return map_of(View<T>(data, s));
}

__global__ void pool_forward(Map<const float> x, Map<float> y, Map<int> where, Windows k, Write write) {
  const Pixel p = pixel_of(y);
  if (!p.inside) return;
  const int h0 = p.h * k.stride - k.pad, w0 = p.w * k.stride - k.pad;
  const int h1 = min(x.h, h0 + k.kernel), w1 = min(x.w, w0 + k.kernel);
  int at = -1;
  float maximum = -INFINITY;
  for (int h = max(0, h0); h < h1 && maximum == maximum; ++h)
    for (int w = max(0, w0); w < w1; ++w) {
      const float value = x(p.n, p.c, h, w);
      if (at >= 0 && value <= maximum) continue;
      at = (h - h0) * k.kernel + w - w0;
      maximum = value;
      if (value != value) break;
    }
  if (where.data) where(p.n, p.c, p.h, p.w) = at;
  put(y(p.n, p.c, p.h, p.w), maximum, write);
}

/// First window that holds pixel `at`, padding counted.
__device__ __forceinline__ int first_window(int at, const Windows& k) {
  return at < k.kernel ? 0 : (at - k.kernel) / k.stride + 1;
}

__global__ void pool_backward(Map<const int> where, Map<const float> dy, Map<float> dx, Windows k, Write write) {
  const Pixel p = pixel_of(dx);
  if (!p.inside) return;
  const int h = p.h + k.pad, w = p.w + k.pad;
  const int i1 = min(dy.h, h / k.stride + 1), j1 = min(dy.w, w / k.stride + 1);
  float sum = 0;
  for (int i = first_window(h, k); i < i1; ++i)
    for (int j = first_window(w, k); j < j1; ++j)
      if (where(p.n, p.c, i, j) == (h - i * k.stride) * k.kernel + w - j * k.stride) sum += dy(p.n, p.c, i, j);
  put(dx(p.n, p.c, p.h, p.w), sum, write);
}

}  // namespace

void max_pool_fwd(Stream& stream, View<const float> x, View<float> y, int* where, const Pool& pool,
                  Write write) noexcept {
  if (is_empty(y.shape)) return;
  launch(stream, "max_pool_fwd", pool_forward, pixel_grid(y.shape), map_of(x), map_of(y), dense(where, y.shape),
         windows_of(pool), write);
}

void max_pool_bwd(Stream& stream, const int* where, View<const float> dy, View<float> dx, const Pool& pool,
                  Write write) noexcept {
  if (is_empty(dx.shape)) return;
  launch(stream, "max_pool_bwd", pool_backward, pixel_grid(dx.shape), dense(where, dy.shape), map_of(dy), map_of(dx),
         windows_of(pool), write);
}

}  // namespace slimneck::kernels::cuda
