// Batch normalisation with its activation, backward. With g = dy act'(z scale + bias):
//   dbeta = sum g,  dgamma = q sum g (z - mean),  dz = P g + Q (z - mean) + R      (norm/args.hpp)
//
// Sums are in float within a part of about a thousand values and in double across parts.
#include "kernels/declare.hpp"
#include "kernels/norm/parts.hpp"
#include "kernels/simd_math.hpp"

namespace slimneck::kernels::SN_ISA {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

namespace {

/// Floats from here to what is prefetched.
constexpr index_t ahead = 32 * lanes;

/// g = dy act'(z scale + bias).
template <Act act>
SN_INLINE Vec gradient(float slope, Vec dy, Vec z, Vec scale, Vec bias) {
  if constexpr (act == Act::none) return dy;
  Vec value;
  return mul(dy, activate_grad<act>(slope, fma(z, scale, bias), value));
}

/// Partial sums of blocks [first, last); g is stored where it is given.
template <Act act, bool keep>
SN_INLINE void sums(const BnGradArgs& a, index_t first, index_t last) {
  const index_t channels = a.blocks * lanes, dense_h = a.w * lanes;
  const bool dense = a.dyh == dense_h && a.zh == dense_h && (!keep || a.gh == dense_h);
  for_each_part(a.n, first, last, a.h, moments_strip(a.h, a.w), [&](const Part& p) SN_INLINE_BODY {
    const Vec scale = load(a.scale + p.b * lanes), bias = load(a.bias + p.b * lanes);
    const Vec mean = load(a.mean + p.b * lanes);
    const float* dy = a.dy + p.n * a.dyn + p.b * a.dyb + p.row * a.dyh;
    const float* z = a.z + p.n * a.zn + p.b * a.zb + p.row * a.zh;
    float* g = keep ? a.g + p.n * a.gn + p.b * a.gb + p.row * a.gh : nullptr;
    const Span span = span_of(p.rows, a.w, dense);
    // One chain each is as slow as its additions where the maps lie in the caches, unless the activation takes longer.
    constexpr int chains = act == Act::none || act == Act::relu || act == Act::leaky_relu ? 2 : 1;
    Vec s[2] = {zero(), zero()}, t[2] = {zero(), zero()};
    const index_t zh = a.zh, dyh = a.dyh, gh = a.gh;  // behind a pointer they would be read again after every store
    const float slope = a.slope;
    for (index_t r = 0; r < span.rows; ++r, z += zh, dy += dyh, g += keep ? gh : 0) {
      const auto pixel = [&](index_t i, int chain) SN_INLINE_BODY {
        // Both streams of a pass and the one it writes: 0.91-0.99 of the time without, from the second level cache on.
        prefetch(z + i + ahead);
        prefetch(dy + i + ahead);
        if constexpr (keep) prefetch_write(g + i + ahead);
        const Vec zv = load(z + i), gv = gradient<act>(slope, load(dy + i), zv, scale, bias);
        if constexpr (keep) store(g + i, gv);
        s[chain] = simd::add(s[chain], gv);
        t[chain] = fma(gv, sub(zv, mean), t[chain]);
      };
      index_t i = 0;
      for (; i + chains * lanes <= span.floats; i += chains * lanes)
#pragma GCC unroll 2
        for (int chain = 0; chain < chains; ++chain) pixel(i + chain * lanes, chain);
      if (i < span.floats) pixel(i, 0);
    }
    float* to = a.workspace + p.index * 2 * channels + p.b * lanes;
    store(to, simd::add(s[0], s[1]));
    store(to + channels, simd::add(t[0], t[1]));
  });
}

void finish(const BnGradArgs& a, index_t first, index_t last) noexcept {
  bn_finish_sums(a, lanes, moments_strip(a.h, a.w), first, last);
}

/// dz = P g + Q (z - mean) + R, where from is g, or dy and g is computed.
template <Act act, bool stored>
SN_INLINE void apply(const BnGradArgs& a, index_t first, index_t last) {
  const index_t channels = a.blocks * lanes, dense_h = a.w * lanes;
  const float* source = stored ? a.g : a.dy;
  const index_t sn = stored ? a.gn : a.dyn, sb = stored ? a.gb : a.dyb, sh = stored ? a.gh : a.dyh;
  const bool dense = sh == dense_h && a.zh == dense_h && a.dzh == dense_h;
  for_each_part(a.n, first, last, a.h, moments_strip(a.h, a.w), [&](const Part& p) SN_INLINE_BODY {
    const Vec scale = load(a.scale + p.b * lanes), bias = load(a.bias + p.b * lanes);
    const Vec mean = load(a.mean + p.b * lanes);
    const float* k = a.coefficients + p.b * lanes;
    const Vec P = load(k), Q = load(k + channels), R = load(k + 2 * channels);
    const float* from = source + p.n * sn + p.b * sb + p.row * sh;
    const float* z = a.z + p.n * a.zn + p.b * a.zb + p.row * a.zh;
    float* dz = a.dz + p.n * a.dzn + p.b * a.dzb + p.row * a.dzh;
    const Span span = span_of(p.rows, a.w, dense);
    const index_t zh = a.zh, dzh = a.dzh;  // behind a pointer they would be read again after every store
    const float slope = a.slope;
    for (index_t r = 0; r < span.rows; ++r, z += zh, from += sh, dz += dzh)
#pragma GCC unroll 2
      for (index_t i = 0; i < span.floats; i += lanes) {
        const Vec zv = load(z + i);
        const Vec f = load(from + i), g = stored ? f : gradient<act>(slope, f, zv, scale, bias);
        store(dz + i, fma(P, g, fma(Q, sub(zv, mean), R)));
      }
  });
}

}  // namespace

void bn_act_bwd_sums(const BnGradArgs& a) noexcept {
  with_act(a.act, [&]<Act act>() { a.g ? sums<act, true>(a, 0, a.blocks) : sums<act, false>(a, 0, a.blocks); });
  finish(a, 0, a.blocks);
}

void bn_act_bwd_apply(const BnGradArgs& a) noexcept {
  if (a.g) return apply<Act::none, true>(a, 0, a.blocks);
  with_act(a.act, [&]<Act act>() { apply<act, false>(a, 0, a.blocks); });
}

/// g is stored in dz between the passes. Computing it twice instead takes 1.35 of the time where the maps lie in the
/// caches and 0.98-1.02 where they do not. Without an activation g is dy.
void bn_act_bwd(const BnGradArgs& args) noexcept {
  BnGradArgs a = args;
  a.g = a.dz;
  a.gn = a.dzn;
  a.gb = a.dzb;
  a.gh = a.dzh;
  const index_t group = blocks_in_cache(a.n, a.h, a.w, 3);
  with_act(a.act, [&]<Act act>() {
    for (index_t b = 0; b < a.blocks; b += group) {
      const index_t last = least(b + group, a.blocks);
      constexpr bool stored = act != Act::none;
      sums<act, stored>(a, b, last);
      finish(a, b, last);
      apply<Act::none, stored>(a, b, last);
    }
  });
}

}  // namespace slimneck::kernels::SN_ISA
