// The detection head, of each level from logits x[n, a*no + k, i, j] to rows of boxes, with s_k = sigmoid(x_k):
//
//   row = first + (a h + i) w + j
//   y[row] = ((2 s0 - 0.5 + j) stride, (2 s1 - 0.5 + i) stride, (2 s2)^2 aw stride, (2 s3)^2 ah stride, s4, s5, ...)
//
// and dx_k = dy_k dy_k/ds s (1 - s).
#include <limits>

#include "kernels/cuda/activation.hpp"
#include "kernels/cuda/kernels.hpp"

namespace slimneck::kernels::cuda {

namespace {

struct Level {
  int no, first;
  float stride;
};

/// A level among others, whose blocks begin at `block` of the grid.
struct LevelOfMany {
  Map<const float> x;
  Vector<const float> anchors;
  Level level;
  int block;
};
struct Levels {
  LevelOfMany items[detect_levels];
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

/// As decode_forward; each block belongs to one level.
__global__ void decode_levels(Levels levels, Map<float> y) {
  LevelOfMany own = levels.items[0];
#pragma unroll
  for (std::size_t i = 1; i < detect_levels; ++i)
    if (block_x() >= levels.items[i].block) own = levels.items[i];
  const Pixel p = pixel_of(own.x, block_x() - own.block);
  if (!p.inside) return;
  const Entry e = entry_of(own.x, p, own.level);
  y(p.n, 0, e.row, e.k) = decode(own.x(p.n, p.c, p.h, p.w), p, e.k, own.anchors, own.level).value;
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

void detect_decode_levels(Stream& stream, std::span<const View<const float>> levels, const float* anchors, index_t na,
                          std::span<const index_t> strides, View<float> y) noexcept {
  constexpr unsigned threads = block_threads;
  constexpr int nowhere = std::numeric_limits<int>::max();
  Levels all{};
  unsigned blocks = 0;
  index_t first = 0;
  for (std::size_t i = 0; i < detect_levels; ++i) {
    all.items[i].block = i < levels.size() ? static_cast<int>(blocks) : nowhere;
    if (i >= levels.size()) continue;
    const Shape& s = levels[i].shape;
    all.items[i].x = map_of(levels[i]);
    all.items[i].anchors = vector_of(anchors + static_cast<index_t>(i) * 2 * na, 2 * na);
    all.items[i].level = level_of(s, na, static_cast<double>(strides[i]), first);
    blocks += ceil_div(s.h * s.w, threads) * static_cast<unsigned>(s.n * s.c);
    first += na * s.h * s.w;
  }
  if (blocks > 0) launch(stream, "detect_decode_levels", decode_levels, Grid{{blocks}, {threads}}, all, map_of(y));
}

void detect_decode_bwd(Stream& stream, View<const float> x, const float* anchors, index_t na, double stride,
                       index_t first, View<const float> dy, View<float> dx) noexcept {
  if (is_empty(x.shape)) return;
  launch(stream, "detect_decode_bwd", decode_backward, pixel_grid(x.shape), map_of(x), vector_of(anchors, 2 * na),
         level_of(x.shape, na, stride, first), map_of(dy), map_of(dx));
}

}  // namespace slimneck::kernels::cuda
