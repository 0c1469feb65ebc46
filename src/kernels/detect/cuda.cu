// One level of the detection head: from logits x[n, a*no + k, i, j] to rows of boxes, with s_k = sigmoid(x_k):
//
//   row = first + (a h + i) w + j
//   y[row] = ((2 s0 - 0.5 + j) stride, (2 s1 - 0.5 + i) stride, (2 s2)^2 aw stride, (2 s3)^2 ah stride, s4, s5, ...)
//
// and dx_k = dy_k dy_k/ds s (1 - s).
#include "kernels/cuda/activation.hpp"
#include "kernels/cuda/kernels.hpp"

namespace slimneck::kernels::cuda {

namespace {

struct Level {
  int no, first;
  float stride;
};

struct Decoded {
  float value, slope;
};

/// Where a logit belongs.
struct Entry {
  int row, k;
};

template <class T>
__device__ __forceinline__ Entry entry_of(const Map<T>& x, const Pixel& p, const Level& level) {
  const int a = p.c / level.no;
  return {level.first + (a * x.h + p.h) * x.w + p.w, p.c - a * level.no};
}

__device__ __forceinline__ Decoded decode(float logit, const Pixel& p, int k, const Vector<const float>& anchors,
                                          const Level& level) {
  const Sigmoid s = sigmoid(logit);
  const float ds = s.value * s.rest;
  if (k < 2) {
    const float cell = static_cast<float>(k == 0 ? p.w : p.h);
    return {(2.F * s.value - 0.5F + cell) * level.stride, 2.F * level.stride * ds};
  }
  if (k >= 4) return {s.value, ds};
  const float side = anchors(p.c / level.no * 2 + k - 2) * level.stride;
  return {4.F * s.value * s.value * side, 8.F * s.value * side * ds};
}

/// One logit per thread. Rows are written with gaps of `no` numbers between neighbours, within the cache's reach.
__global__ void decode_forward(Map<const float> x, Vector<const float> anchors, Level level, Map<float> y) {
  const Pixel p = pixel_of(x);
  if (!p.inside) return;
  const Entry e = entry_of(x, p, level);
  y(p.n, 0, e.row, e.k) = decode(x(p.n, p.c, p.h, p.w), p, e.k, anchors, level).value;
}

__global__ void decode_backward(Map<const float> x, Vector<const float> anchors, Level level, Map<const float> dy,
                                Map<float> dx) {
  const Pixel p = pixel_of(x);
  if (!p.inside) return;
  const Entry e = entry_of(x, p, level);
  dx(p.n, p.c, p.h, p.w) = dy(p.n, 0, e.row, e.k) * decode(x(p.n, p.c, p.h, p.w), p, e.k, anchors, level).slope;
}

Level level_of(const Shape& x, index_t na, double stride, index_t first) {
  return {static_cast<int>(x.c / na), static_cast<int>(first), static_cast<float>(stride)};
}

}  // namespace

void detect_decode_fwd(Stream& stream, View<const float> x, const float* anchors, index_t na, double stride,
                       index_t first, View<float> y) noexcept {
  if (is_empty(x.shape)) return;
  launch(stream, "detect_decode_fwd", decode_forward, pixel_grid(x.shape), map_of(x), vector_of(anchors, 2 * na),
         level_of(x.shape, na, stride, first), map_of(y));
}

void detect_decode_bwd(Stream& stream, View<const float> x, const float* anchors, index_t na, double stride,
                       index_t first, View<const float> dy, View<float> dx) noexcept {
  if (is_empty(x.shape)) return;
  launch(stream, "detect_decode_bwd", decode_backward, pixel_grid(x.shape), map_of(x), vector_of(anchors, 2 * na),
         level_of(x.shape, na, stride, first), map_of(dy), map_of(dx));
}

}  // namespace slimneck::kernels::cuda
