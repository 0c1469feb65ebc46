// y[n,j,h,w] = x[n, source[j], h, w], zero where source[j] < 0.
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/map.hpp"

namespace slimneck::kernels::cuda {

namespace {

__global__ void gather(Map<const float> x, Map<float> y, Vector<const int> source, Write write) {
  const Pixel p = pixel_of(y);
  if (!p.inside) return;
  const int from = source(p.c);
  put(y(p.n, p.c, p.h, p.w), from < 0 ? 0.F : x(p.n, from, p.h, p.w), write);
}

}  // namespace

void gather_channels(Stream& stream, View<const float> x, View<float> y, const int* source, Write write) noexcept {
  if (is_empty(y.shape)) return;
  launch(stream, "gather_channels", gather, pixel_grid(y.shape), map_of(x), map_of(y), vector_of(source, y.shape.c),
         write);
}

}  // namespace slimneck::kernels::cuda
