// Max pooling: y[i, j] = the maximum of x over the window at (i s - p, j s - p), k x k.
//
// With stride 1 a window of 3 x 3 or 5 x 5 is taken apart into rows and columns: maxima of 5 along a row (15 for 4
// pixels, by pairs), then down 5 of such rows (5 for 2 rows), 6 instead of 24 for each output. The hardware's maximum
// forgets NaN, so rows are looked through for one on the way and a strip that has any is done again by the general
// path. Everything else takes the general path: all taps, one output at a time.
#include "kernels/declare.hpp"
#include "kernels/pool/window.hpp"

namespace slimneck::kernels::SN_ISA {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

namespace {

/// Columns of a tile, and so of the rows of maxima on the stack: 6 rows of 48 KiB in all.
constexpr index_t tile = 32;

/// The maximum that keeps NaN; a is what was found first.
SN_INLINE Vec max_or_nan(Vec a, Vec b) { return select(is_nan(b), b, max(b, a)); }

template <bool positions>
void general(const PoolArgs& a, index_t n, index_t b, index_t row, index_t rows) {
  const float* x = a.x + n * a.xn + b * a.xb;
  for (index_t i = row; i < row + rows; ++i) {
    const Range u = taps_inside(i, a.stride, a.pad, a.kernel, a.h);
    for (index_t j = 0; j < a.ow; ++j) {
      const Range v = taps_inside(j, a.stride, a.pad, a.kernel, a.w);
      const float* window = x + (i * a.stride - a.pad) * a.xh + (j * a.stride - a.pad) * lanes;
      Vec best = splat(-__builtin_inff()), at = splat(static_cast<float>(a.kernel * a.kernel));
      if (u.first < u.last && v.first < v.last) {
        best = load(window + u.first * a.xh + v.first * lanes);
        at = splat(static_cast<float>(u.first * a.kernel + v.first));
        for (index_t r = u.first; r < u.last; ++r)
          for (index_t c = v.first; c < v.last; ++c) {
            const Vec value = load(window + r * a.xh + c * lanes);
            if constexpr (positions) {
              // The first NaN wins and stays: a comparison with NaN is false.
              const Vec greater = select(less(best, value), splat(1), zero());
              const Vec wins = select(is_nan(best), zero(), select(is_nan(value), splat(1), greater));
              const Mask m = less(zero(), wins);
              best = select(m, value, best);
              at = select(m, splat(static_cast<float>(r * a.kernel + c)), at);
            } else {
              best = max_or_nan(best, value);
            }
          }
      }
      store(a.y + n * a.yn + b * a.yb + i * a.yh + j * lanes, best);
      if constexpr (positions) store_bytes(a.where + (((n * a.blocks + b) * a.oh + i) * a.ow + j) * lanes, at);
    }
  }
}

/// to[j] = maximum of x[j - p .. j - p + k - 1] inside [0, w), for j in [j0, j1). Returns whether there is a NaN.
template <int K>
SN_INLINE bool row_maxima(const float* x, index_t w, index_t j0, index_t j1, float* to) {
  constexpr index_t p = K / 2;
  Mask nan = is_nan(zero());
  index_t j = j0;
  const auto edge = [&](index_t at) SN_INLINE_BODY {
    const index_t first = most(0, at - p), last = least(w, at - p + K);
    Vec m = load(x + first * lanes);
    for (index_t i = first; i < last; ++i) {
      const Vec v = load(x + i * lanes);
      nan = either(nan, is_nan(v));
      m = max(m, v);
    }
    store(to + (at - j0) * lanes, m);
  };
  for (; j < least(j1, p); ++j) edge(j);
  for (; j + 4 <= j1 && j + 4 + p <= w; j += 4) {
    const float* from = x + (j - p) * lanes;
    Vec v[K + 3], pair[K + 2];
#pragma GCC unroll 8
    for (int i = 0; i < K + 3; ++i) v[i] = load(from + i * lanes);
#pragma GCC unroll 8
    for (int i = 0; i < K + 2; ++i) pair[i] = max(v[i], v[i + 1]);
#pragma GCC unroll 4
    for (int i = 1; i < K + 3; i += 2) nan = either(nan, either_nan(v[i - 1], v[i]));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const Vec m = K == 3 ? max(pair[i], v[i + 2]) : max(max(pair[i], pair[i + 2]), v[i + K - 1]);
      store(to + (j - j0 + i) * lanes, m);
    }
  }
  for (; j < j1; ++j) edge(j);
  return any(nan);
}

/// Outputs of rows [row, row + rows) and columns [j0, j1). Returns whether a NaN was seen.
template <int K>
SN_INLINE bool separable(const PoolArgs& a, const float* x, float* y, index_t row, index_t rows, index_t j0,
                         index_t j1) {
  constexpr index_t p = K / 2, ring = K + 1;
  float maxima[ring * tile * lanes];
  const index_t columns = j1 - j0, last_row = least(a.h, row + rows + p);
  bool nan = false;
  index_t ready = most(0, row - p);  // rows below it lie in the ring
  const auto line = [&](index_t r) SN_INLINE_BODY { return maxima + r % ring * (tile * lanes); };
  const auto prepare = [&](index_t upto) SN_INLINE_BODY {
    for (; ready < least(upto, last_row); ++ready)
      nan = row_maxima<K>(x + ready * a.xh, a.w, j0, j1, line(ready)) || nan;
  };
  index_t i = row;
  const auto one = [&](index_t at) SN_INLINE_BODY {
    const index_t first = most(0, at - p), last = least(a.h, at - p + K);
    for (index_t c = 0; c < columns * lanes; c += lanes) {
      Vec m = load(line(first) + c);
      for (index_t r = first + 1; r < last; ++r) m = max(m, load(line(r) + c));
      store(y + at * a.yh + j0 * lanes + c, m);
    }
  };
  for (; i < row + rows;) {
    prepare(i + 2 + p);
    if (i >= p && i + 2 + p <= a.h && i + 2 <= row + rows) {
      const float* from[K + 1];
#pragma GCC unroll 8
      for (int r = 0; r < K + 1; ++r) from[r] = line(i - p + r);
      float* to = y + i * a.yh + j0 * lanes;
      for (index_t c = 0; c < columns * lanes; c += lanes) {
        Vec shared = load(from[1] + c);
#pragma GCC unroll 8
        for (int r = 2; r < K; ++r) shared = max(shared, load(from[r] + c));
        store(to + c, max(shared, load(from[0] + c)));
        store(to + a.yh + c, max(shared, load(from[K] + c)));
      }
      i += 2;
    } else {
      one(i++);
    }
  }
  return nan;
}

template <int K>
SN_INLINE bool separable_strip(const PoolArgs& a, index_t n, index_t b, index_t row, index_t rows) {
  bool nan = false;
  for (index_t j = 0; j < a.ow; j += tile)
    nan = separable<K>(a, a.x + n * a.xn + b * a.xb, a.y + n * a.yn + b * a.yb, row, rows, j, least(a.ow, j + tile)) ||
          nan;
  return nan;
}

/// The same with positions: two rings, one of the maxima of rows and one of where in the row they are. A later value
/// wins only if it is greater, along the row and then down: that is the first maximum in row-major order.
template <int K>
bool separable_at(const PoolArgs& a, index_t n, index_t b, index_t row, index_t rows, index_t j0, index_t j1) {
  constexpr index_t p = K / 2;
  float maxima[K * tile * lanes], places[K * tile * lanes];
  const float* x = a.x + n * a.xn + b * a.xb;
  const index_t columns = (j1 - j0) * lanes;
  Mask nan = is_nan(zero());
  index_t ready = most(0, row - p);
  for (index_t i = row; i < row + rows; ++i) {
    for (; ready < least(a.h, i + p + 1); ++ready) {
      float *m = maxima + ready % K * (tile * lanes), *at = places + ready % K * (tile * lanes);
      for (index_t j = j0; j < j1; ++j) {
        const Range v = taps_inside(j, 1, p, K, a.w);
        const float* from = x + ready * a.xh + (j - p) * lanes;
        Vec best = load(from + v.first * lanes), place = splat(static_cast<float>(v.first));
        nan = either(nan, is_nan(best));
        const auto tap = [&](index_t c) SN_INLINE_BODY {
          const Vec value = load(from + c * lanes);
          nan = either(nan, is_nan(value));
          const Mask wins = less(best, value);
          best = select(wins, value, best);
          place = select(wins, splat(static_cast<float>(c)), place);
        };
        if (v.last - v.first == K) {
#pragma GCC unroll 8
          for (index_t c = 1; c < K; ++c) tap(c);
        } else {
          for (index_t c = v.first + 1; c < v.last; ++c) tap(c);
        }
        store(m + (j - j0) * lanes, best);
        store(at + (j - j0) * lanes, place);
      }
    }
    const Range u = taps_inside(i, 1, p, K, a.h);
    float* y = a.y + n * a.yn + b * a.yb + i * a.yh + j0 * lanes;
    std::uint8_t* where = a.where + (((n * a.blocks + b) * a.oh + i) * a.ow + j0) * lanes;
    for (index_t c = 0; c < columns; c += lanes) {
      const index_t top = (i - p + u.first) % K * (tile * lanes) + c;
      Vec best = load(maxima + top), at = simd::add(load(places + top), splat(static_cast<float>(u.first * K)));
      const auto tap = [&](index_t r) SN_INLINE_BODY {
        const index_t line = (i - p + r) % K * (tile * lanes) + c;
        const Vec value = load(maxima + line), place = simd::add(load(places + line), splat(static_cast<float>(r * K)));
        const Mask wins = less(best, value);
        best = select(wins, value, best);
        at = select(wins, place, at);
      };
      if (u.last - u.first == K) {
#pragma GCC unroll 8
        for (index_t r = 1; r < K; ++r) tap(r);
      } else {
        for (index_t r = u.first + 1; r < u.last; ++r) tap(r);
      }
      store(y + c, best);
      store_bytes(where + c, at);
    }
  }
  return any(nan);
}

template <int K>
SN_INLINE bool separable_strip_at(const PoolArgs& a, index_t n, index_t b, index_t row, index_t rows) {
  bool nan = false;
  for (index_t j = 0; j < a.ow; j += tile) nan = separable_at<K>(a, n, b, row, rows, j, least(a.ow, j + tile)) || nan;
  return nan;
}

/// Rows of y in a task.
index_t strip_of(const PoolArgs& a) { return most(1, 4096 / most(1, a.ow * a.stride * a.stride)); }

template <class Body>
SN_INLINE void for_each_strip(const PoolArgs& a, const Body& body) {
  const index_t strip = strip_of(a), strips = (a.oh + strip - 1) / strip, tasks = a.n * a.blocks * strips;
#pragma omp parallel for schedule(static) if (tasks > 1)
  for (index_t t = 0; t < tasks; ++t) {
    const index_t row = t % strips * strip;
    body(t / strips / a.blocks, t / strips % a.blocks, row, least(strip, a.oh - row));
  }
}

}  // namespace

void max_pool_fwd(const PoolArgs& a) noexcept {
  const bool same = a.stride == 1 && a.pad == a.kernel / 2 && a.oh == a.h && a.ow == a.w;
  for_each_strip(a, [&](index_t n, index_t b, index_t row, index_t rows) SN_INLINE_BODY {
    bool nan = true;
    if (same && a.kernel == 5) nan = separable_strip<5>(a, n, b, row, rows);
    if (same && a.kernel == 3) nan = separable_strip<3>(a, n, b, row, rows);
    if (nan) general<false>(a, n, b, row, rows);
  });
}

void max_pool_fwd_at(const PoolArgs& a) noexcept {
  const bool same = a.stride == 1 && a.pad == a.kernel / 2 && a.oh == a.h && a.ow == a.w;
  for_each_strip(a, [&](index_t n, index_t b, index_t row, index_t rows) SN_INLINE_BODY {
    bool nan = true;
    if (same && a.kernel == 5) nan = separable_strip_at<5>(a, n, b, row, rows);
    if (same && a.kernel == 3) nan = separable_strip_at<3>(a, n, b, row, rows);
    if (nan) general<true>(a, n, b, row, rows);
  });
}

}  // namespace slimneck::kernels::SN_ISA
