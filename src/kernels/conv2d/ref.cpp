// Convolution, forward and both adjoints; a depthwise convolution is the case groups == c.
//
//   y [n,o,i,j] = bias[o] + sum_{c,u,v} w[o,c,u,v] x[n, gC+c, is-ph+ud, js-pw+vd]
//   dx[n,gC+c,h,k] = sum_{o,u,v} w[o,c,u,v] dy[n,o,i,j]      over the o of group g, is-ph+ud = h and js-pw+vd = k
//   dw[o,c,u,v] = sum_{n,i,j} dy[n,o,i,j] x[n, gC+c, is-ph+ud, js-pw+vd]
//
// C = c/groups, g = o / (O/groups); x outside the picture is zero.
//
// All three work on short rows in double on the stack: a row is gathered once (which takes care of element type, stride
// and block) and then used for a tile of channels of one group. Every sum belongs to one thread and its order follows
// from the shape alone, so results do not depend on the number of threads or on the memory layout.
#include <algorithm>

#include "slimneck/kernels.hpp"

namespace slimneck::kernels {

namespace {

constexpr index_t tile_rows = 8;  // channels that share a gathered row
constexpr index_t segment = 128;  // columns of a row: tile_rows * segment doubles stay in the first-level cache

/// Up to `rows` neighbouring channels of one group.
struct Tile {
  index_t group, first, count;
};

/// The channels of each of `groups` groups cut into tiles; channels are counted from the start of the group.
struct Tiling {
  index_t groups, channels, rows;

  [[nodiscard]] index_t per_group() const { return (channels + rows - 1) / rows; }
  [[nodiscard]] index_t count() const { return groups * per_group(); }
  [[nodiscard]] Tile operator[](index_t t) const {
    const index_t first = t % per_group() * rows;
    return {t / per_group(), first, std::min(rows, channels - first)};
  }
};

struct Range {
  index_t first, last;
  [[nodiscard]] index_t count() const { return last - first; }
};

/// The q in [0, count) with 0 <= start + q*step < extent: clipping here keeps tests out of the inner loops.
Range inside(index_t start, index_t step, index_t extent, index_t count) {
  if (start >= 0 && start + (count - 1) * step < extent) return {0, count};  // most rows, and no division
  const index_t first = start < 0 ? std::min(count, (-start + step - 1) / step) : 0;
  const index_t last = start < extent ? std::min(count, (extent - start + step - 1) / step) : 0;
  return {first, std::max(first, last)};
}

template <class T>
void gather(const T* from, index_t step, index_t count, double* row) {
  if (step == 1)  // on its own so that it vectorises
    for (index_t q = 0; q < count; ++q) row[q] = static_cast<double>(from[q]);
  else
    for (index_t q = 0; q < count; ++q) row[q] = static_cast<double>(from[q * step]);
}

template <class T>
void scatter(const double* row, index_t count, T* to, index_t step) {
  for (index_t q = 0; q < count; ++q) to[q * step] = static_cast<T>(row[q]);
}

void add_scaled(double factor, const double* x, index_t count, double* sum) {
  for (index_t q = 0; q < count; ++q) sum[q] += factor * x[q];
}

constexpr index_t lanes =
    8;  // partial sums of a dot product, in a fixed order: the compiler may not reorder sums itself

void add_products(const double* a, const double* b, index_t count, double* sum) {
  double s[lanes];
  std::copy_n(sum, lanes, s);
  index_t q = 0;
  for (; q + lanes <= count; q += lanes)
    for (index_t k = 0; k < lanes; ++k) s[k] += a[q + k] * b[q + k];
  for (index_t k = 0; q + k < count; ++k) s[k] += a[q + k] * b[q + k];
  std::copy_n(s, lanes, sum);
}

double total(const double* s) { return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])); }

/// Row i of y for a tile of output channels.
template <class T>
void fwd_row(View<const T> x, View<const T> w, View<const T> bias, View<T> y, const Conv2d& p, Tile tile, index_t n,
             index_t i) {
  const index_t o0 = tile.group * (y.shape.c / p.groups) + tile.first;
  double sum[tile_rows][segment];
  double row[segment];
  for (index_t j0 = 0; j0 < y.shape.w; j0 += segment) {
    const index_t count = std::min(segment, y.shape.w - j0);
    for (index_t r = 0; r < tile.count; ++r)
      std::fill_n(sum[r], count, bias.data ? static_cast<double>(bias.at(0, o0 + r, 0, 0)) : 0.0);
    for (index_t c = 0; c < w.shape.c; ++c) {
      const T* weight[tile_rows];
      for (index_t r = 0; r < tile.count; ++r) weight[r] = w.data + w.offset(o0 + r, c, 0, 0);
      for (index_t u = 0; u < w.shape.h; ++u) {
        const index_t h = i * p.stride - p.pad_h + u * p.dilation;
        if (h < 0 || h >= x.shape.h) continue;
        const index_t line = x.offset(n, tile.group * w.shape.c + c, h, 0);
        for (index_t v = 0; v < w.shape.w; ++v) {
          const index_t start = j0 * p.stride - p.pad_w + v * p.dilation;
          const Range q = inside(start, p.stride, x.shape.w, count);
          if (q.count() == 0) continue;
          gather(x.data + (line + (start + q.first * p.stride) * x.sw), p.stride * x.sw, q.count(), row);
          for (index_t r = 0; r < tile.count; ++r)
            add_scaled(static_cast<double>(weight[r][u * w.sh + v * w.sw]), row, q.count(), sum[r] + q.first);
        }
      }
    }
    for (index_t r = 0; r < tile.count; ++r) scatter(sum[r], count, y.data + y.offset(n, o0 + r, i, j0), y.sw);
  }
}

/// Row h of dx for a tile of input channels, columns first, first + stride, ... (count of them). All of them meet the
/// same taps, and each tap finds its dy in neighbouring columns.
template <class T>
void bwd_x_columns(View<const T> dy, View<const T> w, View<T> dx, const Conv2d& p, Tile tile, index_t n, index_t h,
                   index_t first, index_t count) {
  const index_t outputs = w.shape.n / p.groups;
  const index_t c0 = tile.group * w.shape.c + tile.first;
  double sum[tile_rows][segment];
  double row[segment];
  for (index_t r = 0; r < tile.count; ++r) std::fill_n(sum[r], count, 0.0);
  for (index_t o = tile.group * outputs; o < (tile.group + 1) * outputs; ++o) {
    const T* weight[tile_rows];
    for (index_t r = 0; r < tile.count; ++r) weight[r] = w.data + w.offset(o, tile.first + r, 0, 0);
    for (index_t u = 0; u < w.shape.h; ++u) {
      const index_t is = h + p.pad_h - u * p.dilation;
      if (is < 0 || is % p.stride != 0 || is / p.stride >= dy.shape.h) continue;
      const index_t line = dy.offset(n, o, is / p.stride, 0);
      for (index_t v = 0; v < w.shape.w; ++v) {
        const index_t js = first + p.pad_w - v * p.dilation;
        if (js % p.stride != 0) continue;
        const index_t start = js / p.stride;
        const Range q = inside(start, 1, dy.shape.w, count);
        if (q.count() == 0) continue;
        gather(dy.data + (line + (start + q.first) * dy.sw), dy.sw, q.count(), row);
        for (index_t r = 0; r < tile.count; ++r)
          add_scaled(static_cast<double>(weight[r][u * w.sh + v * w.sw]), row, q.count(), sum[r] + q.first);
      }
    }
  }
  for (index_t r = 0; r < tile.count; ++r)
    scatter(sum[r], count, dx.data + dx.offset(n, c0 + r, h, first), p.stride * dx.sw);
}

/// Where one element (c, u, v) of a filter lies, seen from the input.
struct Tap {
  index_t channel, h, w;  // input channel, and first row and column that it meets
};

constexpr index_t tile_outputs = 4;  // dw is a matrix of outputs x taps; a thread computes one tile of it at a time

template <class T>
void bwd_w_tile(View<const T> x, View<const T> dy, View<T> dw, const Conv2d& p, Tile tile, index_t t0, index_t count) {
  const index_t o0 = tile.group * (dw.shape.n / p.groups) + tile.first;
  const index_t kw = dw.shape.w;
  const index_t area = dw.shape.h * kw;
  Tap taps[tile_rows];
  for (index_t k = 0; k < count; ++k) {
    const index_t t = t0 + k;
    taps[k] = {tile.group * dw.shape.c + t / area, t % area / kw * p.dilation - p.pad_h, t % kw * p.dilation - p.pad_w};
  }
  double sum[tile_outputs][tile_rows][lanes] = {};
  double rows[tile_outputs][segment];
  double row[segment];
  for (index_t n = 0; n < dy.shape.n; ++n)
    for (index_t i = 0; i < dy.shape.h; ++i)
      for (index_t j0 = 0; j0 < dy.shape.w; j0 += segment) {
        const index_t width = std::min(segment, dy.shape.w - j0);
        for (index_t r = 0; r < tile.count; ++r) gather(dy.data + dy.offset(n, o0 + r, i, j0), dy.sw, width, rows[r]);
        for (index_t k = 0; k < count; ++k) {
          const index_t h = i * p.stride + taps[k].h;
          const index_t start = j0 * p.stride + taps[k].w;
          const Range q = inside(start, p.stride, x.shape.w, width);
          if (h < 0 || h >= x.shape.h || q.count() == 0) continue;
          const index_t line = x.offset(n, taps[k].channel, h, 0);
          gather(x.data + (line + (start + q.first * p.stride) * x.sw), p.stride * x.sw, q.count(), row);
          for (index_t r = 0; r < tile.count; ++r) add_products(rows[r] + q.first, row, q.count(), sum[r][k]);
        }
      }
  for (index_t r = 0; r < tile.count; ++r)
    for (index_t k = 0; k < count; ++k) {
      const index_t t = t0 + k;
      dw.at(o0 + r, t / area, t % area / kw, t % kw) = static_cast<T>(total(sum[r][k]));
    }
}

}  // namespace

template <class T>
void conv2d_fwd(View<const T> x, View<const T> w, View<const T> bias, View<T> y, const Conv2d& geometry) noexcept {
  const Tiling tiles{geometry.groups, y.shape.c / geometry.groups, tile_rows};
#pragma omp parallel for collapse(3) schedule(static)
  for (index_t n = 0; n < y.shape.n; ++n)
    for (index_t t = 0; t < tiles.count(); ++t)
      for (index_t i = 0; i < y.shape.h; ++i) fwd_row(x, w, bias, y, geometry, tiles[t], n, i);
}

template <class T>
void conv2d_bwd_x(View<const T> dy, View<const T> w, View<T> dx, const Conv2d& geometry) noexcept {
  const Tiling tiles{geometry.groups, w.shape.c, tile_rows};
  const index_t stride = geometry.stride;
#pragma omp parallel for collapse(3) schedule(static)
  for (index_t n = 0; n < dx.shape.n; ++n)
    for (index_t t = 0; t < tiles.count(); ++t)
      for (index_t h = 0; h < dx.shape.h; ++h)
        for (index_t phase = 0; phase < stride; ++phase)
          for (index_t first = phase; first < dx.shape.w; first += segment * stride)
            bwd_x_columns(dy, w, dx, geometry, tiles[t], n, h, first,
                          std::min(segment, (dx.shape.w - first + stride - 1) / stride));
}

template <class T>
void conv2d_bwd_w(View<const T> x, View<const T> dy, View<T> dw, const Conv2d& geometry) noexcept {
  const Tiling tiles{geometry.groups, dw.shape.n / geometry.groups, tile_outputs};
  const index_t taps = dw.shape.c * dw.shape.h * dw.shape.w;
#pragma omp parallel for collapse(2) schedule(static)
  for (index_t t = 0; t < tiles.count(); ++t)
    for (index_t t0 = 0; t0 < taps; t0 += tile_rows)
      bwd_w_tile(x, dy, dw, geometry, tiles[t], t0, std::min(tile_rows, taps - t0));
}

template SLIMNECK_EXPORT void conv2d_fwd<float>(View<const float>, View<const float>, View<const float>, View<float>,
                                                const Conv2d&) noexcept;
template SLIMNECK_EXPORT void conv2d_fwd<double>(View<const double>, View<const double>, View<const double>,
                                                 View<double>, const Conv2d&) noexcept;
template SLIMNECK_EXPORT void conv2d_bwd_x<float>(View<const float>, View<const float>, View<float>,
                                                  const Conv2d&) noexcept;
template SLIMNECK_EXPORT void conv2d_bwd_x<double>(View<const double>, View<const double>, View<double>,
                                                   const Conv2d&) noexcept;
template SLIMNECK_EXPORT void conv2d_bwd_w<float>(View<const float>, View<const float>, View<float>,
                                                  const Conv2d&) noexcept;
template SLIMNECK_EXPORT void conv2d_bwd_w<double>(View<const double>, View<const double>, View<double>,
                                                   const Conv2d&) noexcept;

}  // namespace slimneck::kernels
