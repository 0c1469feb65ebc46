// Nearest upsampling by a whole factor f: y[n,c,i,j] = x[n,c,i/f,j/f], and dx[n,c,h,w] = sum_{a,b < f}
// dy[n,c,hf+a,wf+b].
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/map.hpp"

namespace slimneck::kernels::cuda {

namespace {

__global__ void upsample(Map<const float> x, Map<float> y, int factor, Write write) {
  const Pixel p = pixel_of(y);
  if (p.inside) put(y(p.n, p.c, p.h, p.w), x(p.n, p.c, p.h / factor, p.w / factor), write);
}

__global__ void sum_blocks(Map<const float> dy, Map<float> dx, int factor, Write write) {
  const Pixel p = pixel_of(dx);
  if (!p.inside) return;
  float sum = 0;
  for (int a = 0; a < factor; ++a)
    for (int b = 0; b < factor; ++b) sum += dy(p.n, p.c, p.h * factor + a, p.w * factor + b);
  put(dx(p.n, p.c, p.h, p.w), sum, write);
}

}  // namespace

void upsample_nearest_fwd(Stream& stream, View<const float> x, View<float> y, index_t factor, Write write) noexcept {
  if (is_empty(y.shape)) return;
  launch(stream, "upsample_nearest_fwd", upsample, pixel_grid(y.shape), map_of(x), map_of(y), factor, write);
}

void upsample_nearest_bwd(Stream& stream, View<const float> dy, View<float> dx, index_t factor, Write write) noexcept {
  if (is_empty(dx.shape)) return;
  launch(stream, "upsample_nearest_bwd", sum_blocks, pixel_grid(dx.shape), map_of(dy), map_of(dx), factor, write);
}

}  // namespace slimneck::kernels::cuda
