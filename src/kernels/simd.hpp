// One thin vector type for every instruction set: Vec holds `lanes` floats, Mask the result of a comparison.
//
// A kernel body includes this header and is compiled once for each ISA with SN_ISA set to its name (avx512, avx2, neon,
// scalar). Everything here, and every helper of a body, has internal linkage: an object file of one ISA must never
// offer the linker an inline function that another file could get instead of its own. For the same reason bodies call
// nothing inline from the standard library (scripts/check_isa_objects.sh looks for what slipped through).
#pragma once

#include <cstring>

#include "slimneck/tensor.hpp"

#ifndef SN_ISA
#error "kernel bodies are compiled once per ISA with -DSN_ISA=<name>"
#endif

#if defined(__AVX512F__) || defined(__AVX2__)
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
// GCC 12 takes the undefined operand of its own intrinsics for an uninitialised variable (its bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif
#elif defined(__ARM_NEON) && !defined(SN_PORTABLE)
#include <arm_neon.h>
#endif

/// For the pieces of a micro-kernel whose accumulators must stay in registers.
#define SN_INLINE __attribute__((always_inline)) inline

namespace {
namespace simd {

using slimneck::index_t;

#if defined(__AVX512F__)

inline constexpr index_t lanes = 16;
using Vec = __m512;
using Mask = __mmask16;

SN_INLINE __mmask16 first(index_t n) { return static_cast<__mmask16>((1U << n) - 1U); }
SN_INLINE Vec zero() { return _mm512_setzero_ps(); }
SN_INLINE Vec splat(float x) { return _mm512_set1_ps(x); }
SN_INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
SN_INLINE void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
SN_INLINE Vec load_n(const float* p, index_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
SN_INLINE void store_n(float* p, Vec v, index_t n) { _mm512_mask_storeu_ps(p, first(n), v); }
SN_INLINE Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
SN_INLINE Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
SN_INLINE Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
SN_INLINE Vec div(Vec a, Vec b) { return _mm512_div_ps(a, b); }
SN_INLINE Vec sqrt(Vec a) { return _mm512_sqrt_ps(a); }
SN_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
SN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
SN_INLINE Vec max(Vec a, Vec b) { return _mm512_max_ps(a, b); }
SN_INLINE Vec min(Vec a, Vec b) { return _mm512_min_ps(a, b); }
SN_INLINE Mask less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
SN_INLINE Mask is_nan(Vec a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
SN_INLINE Vec select(Mask m, Vec a, Vec b) { return _mm512_mask_blend_ps(m, b, a); }
SN_INLINE Vec scale2(Vec p, Vec n) { return _mm512_scalef_ps(p, n); }
SN_INLINE void pin(Vec& v) { __asm__("" : "+v"(v)); }

#elif defined(__AVX2__)

inline constexpr index_t lanes = 8;
using Vec = __m256;
using Mask = __m256;

SN_INLINE __m256i first(index_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
SN_INLINE Vec zero() { return _mm256_setzero_ps(); }
SN_INLINE Vec splat(float x) { return _mm256_set1_ps(x); }
SN_INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
SN_INLINE void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
SN_INLINE Vec load_n(const float* p, index_t n) { return _mm256_maskload_ps(p, first(n)); }
SN_INLINE void store_n(float* p, Vec v, index_t n) { _mm256_maskstore_ps(p, first(n), v); }
SN_INLINE Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
SN_INLINE Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
SN_INLINE Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
SN_INLINE Vec div(Vec a, Vec b) { return _mm256_div_ps(a, b); }
SN_INLINE Vec sqrt(Vec a) { return _mm256_sqrt_ps(a); }
SN_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
SN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
SN_INLINE Vec max(Vec a, Vec b) { return _mm256_max_ps(a, b); }
SN_INLINE Vec min(Vec a, Vec b) { return _mm256_min_ps(a, b); }
SN_INLINE Mask less(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
SN_INLINE Mask is_nan(Vec a) { return _mm256_cmp_ps(a, a, _CMP_UNORD_Q); }
SN_INLINE Vec select(Mask m, Vec a, Vec b) { return _mm256_blendv_ps(b, a, m); }
/// In two steps, so that neither the smallest normal numbers nor the largest ones are lost; n is clamped.
SN_INLINE Vec scale2(Vec p, Vec n) {
  const __m256i e = _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(n, _mm256_set1_ps(-252)), _mm256_set1_ps(252)));
  const __m256i half = _mm256_srai_epi32(e, 1), rest = _mm256_sub_epi32(e, half), bias = _mm256_set1_epi32(127);
  const auto power = [](__m256i x) { return _mm256_castsi256_ps(_mm256_slli_epi32(x, 23)); };
  const Vec scaled =
      _mm256_mul_ps(_mm256_mul_ps(p, power(_mm256_add_epi32(half, bias))), power(_mm256_add_epi32(rest, bias)));
  return _mm256_blendv_ps(scaled, n, is_nan(n));
}
SN_INLINE void pin(Vec& v) { __asm__("" : "+x"(v)); }

#elif defined(__ARM_NEON) && !defined(SN_PORTABLE)

inline constexpr index_t lanes = 4;
using Vec = float32x4_t;
using Mask = uint32x4_t;

SN_INLINE Vec zero() { return vdupq_n_f32(0); }
SN_INLINE Vec splat(float x) { return vdupq_n_f32(x); }
SN_INLINE Vec load(const float* p) { return vld1q_f32(p); }
SN_INLINE void store(float* p, Vec v) { vst1q_f32(p, v); }
SN_INLINE Vec load_n(const float* p, index_t n) {
  float t[4] = {};
  for (index_t i = 0; i < n && i < 4; ++i) t[i] = p[i];
  return vld1q_f32(t);
}
SN_INLINE void store_n(float* p, Vec v, index_t n) {
  float t[4];
  vst1q_f32(t, v);
  for (index_t i = 0; i < n && i < 4; ++i) p[i] = t[i];
}
SN_INLINE Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
SN_INLINE Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
SN_INLINE Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
SN_INLINE Vec div(Vec a, Vec b) { return vdivq_f32(a, b); }
SN_INLINE Vec sqrt(Vec a) { return vsqrtq_f32(a); }
SN_INLINE Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
SN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return vfmsq_f32(c, a, b); }
SN_INLINE Mask less(Vec a, Vec b) { return vcltq_f32(a, b); }
SN_INLINE Mask is_nan(Vec a) { return vmvnq_u32(vceqq_f32(a, a)); }
SN_INLINE Vec select(Mask m, Vec a, Vec b) { return vbslq_f32(m, a, b); }
/// As on x86: b where either is NaN.
SN_INLINE Vec max(Vec a, Vec b) { return select(vcgtq_f32(a, b), a, b); }
SN_INLINE Vec min(Vec a, Vec b) { return select(less(a, b), a, b); }
SN_INLINE Vec scale2(Vec p, Vec n) {
  const int32x4_t e = vcvtq_s32_f32(min(max(n, splat(-252)), splat(252)));
  const int32x4_t half = vshrq_n_s32(e, 1), rest = vsubq_s32(e, half), bias = vdupq_n_s32(127);
  const Vec low = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
  const Vec high = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23));
  return select(is_nan(n), n, vmulq_f32(vmulq_f32(p, low), high));
}
SN_INLINE void pin(Vec& v) { __asm__("" : "+w"(v)); }

#else  // vectors of the compiler, for any machine: on plain x86-64 they are SSE2

inline constexpr index_t lanes = 4;
using Vec = float __attribute__((vector_size(16)));
using Mask = int __attribute__((vector_size(16)));

SN_INLINE Vec zero() { return Vec{0, 0, 0, 0}; }
SN_INLINE Vec splat(float x) { return Vec{x, x, x, x}; }
SN_INLINE Vec load(const float* p) {
  Vec v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
SN_INLINE void store(float* p, Vec v) { std::memcpy(p, &v, sizeof v); }
SN_INLINE Vec load_n(const float* p, index_t n) {
  Vec v = zero();
  for (index_t i = 0; i < n && i < lanes; ++i) v[i] = p[i];
  return v;
}
SN_INLINE void store_n(float* p, Vec v, index_t n) {
  for (index_t i = 0; i < n && i < lanes; ++i) p[i] = v[i];
}
SN_INLINE Vec add(Vec a, Vec b) { return a + b; }
SN_INLINE Vec sub(Vec a, Vec b) { return a - b; }
SN_INLINE Vec mul(Vec a, Vec b) { return a * b; }
SN_INLINE Vec div(Vec a, Vec b) { return a / b; }
SN_INLINE Vec sqrt(Vec a) {
  for (index_t i = 0; i < lanes; ++i) a[i] = __builtin_sqrtf(a[i]);
  return a;
}
SN_INLINE Vec fma(Vec a, Vec b, Vec c) { return a * b + c; }
SN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return c - a * b; }
SN_INLINE Mask less(Vec a, Vec b) { return a < b; }
SN_INLINE Mask is_nan(Vec a) { return a != a; }
SN_INLINE Vec select(Mask m, Vec a, Vec b) {
  return reinterpret_cast<Vec>((m & reinterpret_cast<Mask>(a)) | (~m & reinterpret_cast<Mask>(b)));
}
/// As on x86: b where either is NaN.
SN_INLINE Vec max(Vec a, Vec b) { return select(a > b, a, b); }
SN_INLINE Vec min(Vec a, Vec b) { return select(a < b, a, b); }
SN_INLINE Vec scale2(Vec p, Vec n) {
  const Vec clamped = min(max(n, splat(-252)), splat(252));
  for (index_t i = 0; i < lanes; ++i) p[i] = n[i] == n[i] ? __builtin_ldexpf(p[i], static_cast<int>(clamped[i])) : n[i];
  return p;
}
SN_INLINE void pin(Vec&) {}

#endif

/// Into the first level cache: what will be read soon. Any address will do; it never faults.
SN_INLINE void prefetch(const float* p) { __builtin_prefetch(p, 0, 3); }
/// The same for a line that will be written.
SN_INLINE void prefetch_write(float* p) { __builtin_prefetch(p, 1, 3); }

SN_INLINE constexpr index_t least(index_t a, index_t b) { return a < b ? a : b; }
SN_INLINE constexpr index_t most(index_t a, index_t b) { return a > b ? a : b; }

}  // namespace simd
}  // namespace
