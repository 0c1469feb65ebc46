// Batch normalisation with its activation, forward: y = act((z - mean) / sqrt(var + eps) gamma + beta).
//
// Bound by memory, or by the activation where the maps lie in the cache. Statistics and normalisation of one group of
// channel blocks follow one another, so that the second pass finds z in the cache.
#include "kernels/declare.hpp"
#include "kernels/norm/parts.hpp"
#include "kernels/simd_math.hpp"

namespace slimneck::kernels::SN_ISA {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

namespace {

/// The mean of eight values of a part: an offset within half a standard deviation of its mean, mostly. A single value
/// may be three away, and then nine tenths of the sum of squares cancel when the variance is made of it.
SN_INLINE Vec offset_of(const float* x, const Span& span) {
  const index_t step = span.floats / lanes / 8 * lanes;
  Vec s = zero();
#pragma GCC unroll 8
  for (index_t i = 0; i < 8; ++i) s = fma(load(x + i * step), splat(0.125F), s);
  return s;
}

/// Offset, sum and sum of squares of one part and block. Four accumulators of each hide the latency of the additions.
SN_INLINE void moments_of(const float* x, index_t xh, const Span& span, float* m, index_t stride) {
  const Vec offset = offset_of(x, span);
  Vec s[4] = {zero(), zero(), zero(), zero()}, q[4] = {zero(), zero(), zero(), zero()};
  for (index_t r = 0; r < span.rows; ++r) {
    const float* p = x + r * xh;
    index_t i = 0;
    for (; i + 4 * lanes <= span.floats; i += 4 * lanes)
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) {
        const Vec d = sub(load(p + i + k * lanes), offset);
        s[k] = simd::add(s[k], d);
        q[k] = fma(d, d, q[k]);
      }
    for (; i < span.floats; i += lanes) {
      const Vec d = sub(load(p + i), offset);
      s[0] = simd::add(s[0], d);
      q[0] = fma(d, d, q[0]);
    }
  }
  store(m, offset);
  store(m + stride, simd::add(simd::add(s[0], s[1]), simd::add(s[2], s[3])));
  store(m + 2 * stride, simd::add(simd::add(q[0], q[1]), simd::add(q[2], q[3])));
}

/// Statistics of blocks [first, last).
void moments(const BnArgs& a, index_t first, index_t last) noexcept {
  const index_t strip = moments_strip(a.h, a.w), channels = a.blocks * lanes;
  const bool dense = a.zh == a.w * lanes;
  if (a.w > 0)
    for_each_part(a.n, first, last, a.h, strip, [&](const Part& p) SN_INLINE_BODY {
      moments_of(a.z + p.n * a.zn + p.b * a.zb + p.row * a.zh, a.zh, span_of(p.rows, a.w, dense),
                 a.workspace + p.index * 3 * channels + p.b * lanes, channels);
    });
  merge_moments({.n = a.n,
                 .h = a.h,
                 .w = a.w,
                 .strip = strip,
                 .first = first * lanes,
                 .last = last * lanes,
                 .channels = channels,
                 .moments = a.workspace,
                 .mean = a.mean,
                 .var = a.var});
}

template <Act act>
SN_INLINE void normalise(const BnArgs& a, index_t first, index_t last) {
  const bool dense = a.zh == a.w * lanes && a.yh == a.w * lanes;
  for_each_part(a.n, first, last, a.h, moments_strip(a.h, a.w), [&](const Part& p) SN_INLINE_BODY {
    const Vec scale = load(a.scale + p.b * lanes), bias = load(a.bias + p.b * lanes);
    const float* z = a.z + p.n * a.zn + p.b * a.zb + p.row * a.zh;
    float* y = a.y + p.n * a.yn + p.b * a.yb + p.row * a.yh;
    const Span span = span_of(p.rows, a.w, dense);
    const index_t zh = a.zh, yh = a.yh;  // behind a pointer they would be read again after every store
    const float slope = a.slope;
    for (index_t r = 0; r < span.rows; ++r, z += zh, y += yh)
#pragma GCC unroll 2
      for (index_t i = 0; i < span.floats; i += lanes)
        store(y + i, activate<act>(slope, fma(load(z + i), scale, bias)));
  });
}

}  // namespace

void bn_moments(const BnArgs& a) noexcept { moments(a, 0, a.blocks); }

void bn_act(const BnArgs& a) noexcept {
  with_act(a.act, [&]<Act act>() { normalise<act>(a, 0, a.blocks); });
}

void bn_act_train(const BnArgs& a) noexcept {
  const index_t group = blocks_in_cache(a.n, a.h, a.w, 2);
  with_act(a.act, [&]<Act act>() {
    for (index_t b = 0; b < a.blocks; b += group) {
      const index_t last = least(b + group, a.blocks), c = b * lanes;
      moments(a, b, last);
      bn_fold((last - b) * lanes, a.mean + c, a.var + c, a.gamma ? a.gamma + c : nullptr, a.beta ? a.beta + c : nullptr,
              a.eps, a.scale + c, a.bias + c);
      normalise<act>(a, b, last);
    }
  });
}

void map_sum(const ChannelSumArgs& a) noexcept {
  const index_t strip = moments_strip(a.h, a.w), channels = a.blocks * lanes;
  const bool dense = a.xh == a.w * lanes;
  for_each_part(a.n, 0, a.blocks, a.h, strip, [&](const Part& p) SN_INLINE_BODY {
    const float* x = a.x + p.n * a.xn + p.b * a.xb + p.row * a.xh;
    const Span span = span_of(p.rows, a.w, dense);
    Vec s[4] = {zero(), zero(), zero(), zero()};
    for (index_t r = 0; r < span.rows; ++r) {
      index_t i = 0;
      for (; i + 4 * lanes <= span.floats; i += 4 * lanes)
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) s[k] = simd::add(s[k], load(x + r * a.xh + i + k * lanes));
      for (; i < span.floats; i += lanes) s[0] = simd::add(s[0], load(x + r * a.xh + i));
    }
    store(a.workspace + p.index * channels + p.b * lanes, simd::add(simd::add(s[0], s[1]), simd::add(s[2], s[3])));
  });
  double sum[lanes];
  for (index_t b = 0; b < a.blocks; ++b) {
    merge_sums(a.workspace, a.n * strips_of(a.h, strip), channels, b * lanes, lanes, sum);
    for (index_t c = 0; c < lanes; ++c) a.y[b * lanes + c] = static_cast<float>(sum[c]);
  }
}

}  // namespace slimneck::kernels::SN_ISA
