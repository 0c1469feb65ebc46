// One level of the detection head: from logits to rows of boxes. With s = sigmoid(x[k]) every number of a row is
//   s (s Q + L) + K,
//   k = 0: ((2 s - 0.5) + j) stride   Q = 0, L = 2 stride, K = (j - 0.5) stride
//   k = 1: likewise with i
//   k = 2, 3: (2 s)^2 side stride     Q = 4 side stride, L = K = 0
//   k > 3: s                          L = 1
// A plain map gives rows of one channel, which are transposed V x V into rows of cells; a blocked one gives cells as
// they are, V numbers at a time.
#include "kernels/declare.hpp"
#include "kernels/simd_math.hpp"

namespace slimneck::kernels::SN_ISA {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

namespace {

/// Of one channel; K = constant + column * by_column + row * by_row.
struct Formula {
  float q, l, constant, by_column, by_row;
};

SN_INLINE Formula formula(const DecodeArgs& a, index_t anchor, index_t k) {
  const float s = a.stride;
  if (k < 2) return {0, 2 * s, -0.5F * s, k == 0 ? s : 0, k == 1 ? s : 0};
  if (k < 4) return {4 * a.anchors[2 * anchor + k - 2] * s, 0, 0, 0, 0};
  return {0, 1, 0, 0, 0};
}

SN_INLINE Vec column_numbers() {
  float t[lanes];
  for (index_t i = 0; i < lanes; ++i) t[i] = static_cast<float>(i);
  return load(t);
}

/// V channels of one anchor from k on, cells of row i.
void decode_plain(const DecodeArgs& a, index_t n, index_t anchor, index_t k, index_t i) {
  const float* x = a.x + n * a.xn + (anchor * a.no + k) * a.xb + i * a.xh;
  float* y = a.y + n * a.yn + (a.first + (anchor * a.h + i) * a.w) * a.no + k;
  const Vec columns = column_numbers();
  const index_t channels = least(lanes, a.no - k);
  for (index_t j = 0; j < a.w; j += lanes) {
    const index_t pixels = least(lanes, a.w - j);
    Vec r[lanes];
#pragma GCC unroll 16
    for (index_t c = 0; c < lanes; ++c) {
      r[c] = zero();
      if (c >= channels) continue;
      const Formula f = formula(a, anchor, k + c);
      const float* from = x + c * a.xb + j;
      const Vec s = sigmoid(pixels == lanes ? load(from) : load_n(from, pixels));
      const float start = f.constant + static_cast<float>(j) * f.by_column + static_cast<float>(i) * f.by_row;
      r[c] = fma(s, fma(s, splat(f.q), splat(f.l)), fma(columns, splat(f.by_column), splat(start)));
    }
    transpose(r);
#pragma GCC unroll 16
    for (index_t p = 0; p < lanes; ++p) {
      if (p >= pixels) continue;
      float* to = y + (j + p) * a.no;
      channels == lanes ? store(to, r[p]) : store_n(to, r[p], channels);
    }
  }
}

/// The lanes of block b, which may belong to several anchors.
void decode_blocked(const DecodeArgs& a, index_t n, index_t b, index_t i) {
  const index_t first = b * lanes, last = least(first + lanes, a.na * a.no);
  float q[lanes] = {}, l[lanes] = {}, start[lanes] = {}, by_column[lanes] = {};
  for (index_t c = first; c < last; ++c) {
    const Formula f = formula(a, c / a.no, c % a.no);
    q[c - first] = f.q;
    l[c - first] = f.l;
    start[c - first] = f.constant + static_cast<float>(i) * f.by_row;
    by_column[c - first] = f.by_column;
  }
  const Vec qv = load(q), lv = load(l), sv = load(start), cv = load(by_column);
  const float* x = a.x + n * a.xn + b * a.xb + i * a.xh;
  for (index_t j = 0; j < a.w; ++j) {
    const Vec s = sigmoid(load(x + j * lanes));
    float row[2 * lanes];
    store(row, fma(s, fma(s, qv, lv), fma(splat(static_cast<float>(j)), cv, sv)));
    for (index_t c = first; c < last;) {
      const index_t anchor = c / a.no, end = least(last, (anchor + 1) * a.no);
      float* to = a.y + n * a.yn + (a.first + (anchor * a.h + i) * a.w + j) * a.no + c % a.no;
      store_n(to, load_n(row + (c - first), end - c), end - c);
      c = end;
    }
  }
}

}  // namespace

/// A strip of rows at a time: long enough that a channel of a plain map is read in one go, short enough that the rows
/// of y, which get V numbers at a time, stay in the cache until they are complete.
void detect_decode(const DecodeArgs& a) noexcept {
  const index_t strip = most(1, 512 / most(1, a.w)), strips = (a.h + strip - 1) / strip, tasks = a.n * strips;
#pragma omp parallel for schedule(static) if (tasks > 1)
  for (index_t t = 0; t < tasks; ++t) {
    const index_t n = t / strips, first = t % strips * strip, last = least(a.h, first + strip);
    if (a.x_block == 1) {
      for (index_t anchor = 0; anchor < a.na; ++anchor)
        for (index_t k = 0; k < a.no; k += lanes)
          for (index_t i = first; i < last; ++i) decode_plain(a, n, anchor, k, i);
    } else {
      for (index_t b = 0; b * lanes < a.na * a.no; ++b)
        for (index_t i = first; i < last; ++i) decode_blocked(a, n, b, i);
    }
  }
}

}  // namespace slimneck::kernels::SN_ISA
