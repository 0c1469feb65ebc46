// Element by element on blocked maps: y = act(x), y = z act'(x), y = x + z, y = x, y = value.
//
// All but the activations of what lies in the cache are bound by memory.
#include "kernels/declare.hpp"
#include "kernels/pointwise/rows.hpp"
#include "kernels/simd_math.hpp"

namespace slimneck::kernels::SN_ISA {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

namespace {

/// y = f(x)
template <class F>
SN_INLINE void map1(const PointwiseArgs& a, const F& f) {
  const Strides maps[] = {{a.xn, a.xb, a.xh}, {a.yn, a.yb, a.yh}};
  for_each_piece(rows_of(a.n, a.blocks, a.h, a.w, maps), maps, [&](const index_t* at, index_t count) SN_INLINE_BODY {
    const float* x = a.x + at[0];
    float* y = a.y + at[1];
#pragma GCC unroll 4
    for (index_t i = 0; i < count; i += lanes) store(y + i, f(load(x + i)));
  });
}

/// y = f(x, z)
template <class F>
SN_INLINE void map2(const PointwiseArgs& a, const F& f) {
  const Strides maps[] = {{a.xn, a.xb, a.xh}, {a.zn, a.zb, a.zh}, {a.yn, a.yb, a.yh}};
  for_each_piece(rows_of(a.n, a.blocks, a.h, a.w, maps), maps, [&](const index_t* at, index_t count) SN_INLINE_BODY {
    const float *x = a.x + at[0], *z = a.z + at[1];
    float* y = a.y + at[2];
#pragma GCC unroll 4
    for (index_t i = 0; i < count; i += lanes) store(y + i, f(load(x + i), load(z + i)));
  });
}

}  // namespace

void act_fwd(const PointwiseArgs& a) noexcept {
  with_act(a.act, [&]<Act act>() { map1(a, [&](Vec x) SN_INLINE_BODY { return activate<act>(a.slope, x); }); });
}

void act_bwd(const PointwiseArgs& a) noexcept {
  with_act(a.act, [&]<Act act>() {
    map2(a, [&](Vec x, Vec z) SN_INLINE_BODY {
      Vec value;
      return mul(z, activate_grad<act>(a.slope, x, value));
    });
  });
}

void map_add(const PointwiseArgs& a) noexcept {
  map2(a, [](Vec x, Vec z) SN_INLINE_BODY { return simd::add(x, z); });
}

void map_copy(const PointwiseArgs& a) noexcept {
  map1(a, [](Vec x) SN_INLINE_BODY { return x; });
}

void map_exp(const PointwiseArgs& a) noexcept {
  map1(a, [](Vec x) SN_INLINE_BODY { return simd::exp(x); });
}

void map_tanh(const PointwiseArgs& a) noexcept {
  map1(a, [](Vec x) SN_INLINE_BODY { return simd::tanh(x); });
}

void map_fill(const PointwiseArgs& a) noexcept {
  const Strides maps[] = {{a.yn, a.yb, a.yh}};
  for_each_piece(rows_of(a.n, a.blocks, a.h, a.w, maps), maps, [&](const index_t* at, index_t count) SN_INLINE_BODY {
    for (index_t i = 0; i < count; i += lanes) store(a.y + at[0] + i, splat(a.value));
  });
}

}  // namespace slimneck::kernels::SN_ISA
