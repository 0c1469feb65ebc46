// What both fused passes share, for kernel bodies.
#pragma once

#include "kernels/args.hpp"
#include "kernels/depthwise/rows.hpp"
#include "kernels/simd_math.hpp"

namespace {
namespace simd {

using slimneck::kernels::MapAt;

SN_INLINE float* plane(const MapAt& m, index_t n, index_t b) { return m.data + n * m.sn + b * m.sb; }

/// Into the second level cache: what will be read a strip later.
SN_INLINE void prefetch_second(const float* p) { __builtin_prefetch(p, 0, 2); }

/// Sums of (y - offset) and its square over rows of a part, in four chains each.
struct RowMoments {
  Vec offset, s[4], q[4];
};

/// The offset from eight pixels of a row: within half a standard deviation of the mean, mostly.
SN_INLINE void start(RowMoments& m, const float* y, index_t w) {
  m.offset = zero();
#pragma GCC unroll 8
  for (index_t i = 0; i < 8; ++i) m.offset = fma(load(y + i * w / 8 * lanes), splat(0.125F), m.offset);
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) m.s[k] = m.q[k] = zero();
}

SN_INLINE void gather(RowMoments& m, const float* y, index_t w) {
  index_t i = 0;
  for (; i + 4 <= w; i += 4)
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      const Vec d = sub(load(y + (i + k) * lanes), m.offset);
      m.s[k] = add(m.s[k], d);
      m.q[k] = fma(d, d, m.q[k]);
    }
  for (; i < w; ++i) {
    const Vec d = sub(load(y + i * lanes), m.offset);
    m.s[0] = add(m.s[0], d);
    m.q[0] = fma(d, d, m.q[0]);
  }
}

SN_INLINE void finish(const RowMoments& m, float* to, index_t channels) {
  store(to, m.offset);
  store(to + channels, add(add(m.s[0], m.s[1]), add(m.s[2], m.s[3])));
  store(to + 2 * channels, add(add(m.q[0], m.q[1]), add(m.q[2], m.q[3])));
}

}  // namespace simd
}  // namespace
