// One thin vector type for every instruction set: Vec holds `lanes` floats, Mask the result of a comparison.
//
// scale2(p, n) is p 2^n for whole n with |n| <= 252; where n is NaN, p must be. Outside of AVX-512 it is two products
// of powers, so that neither the smallest numbers nor the largest ones are lost. scale2(p, n, biased) needs p
// and the result to be normal numbers, unless p is NaN, and biased = n + 1.5 2^23, whose last bits are n and can be
// added to the exponent. scales_far: the first is as cheap as the second. with_sign(a, s) is |a| with the sign of s.
// product_up_to(limit, x, a, b) is x where that is above the limit, else a b. Where looks_up is set, look_up(t, a) has
// those of 16 floats at a multiple of 64 bytes that the last four bits of a's numbers count.
//
// store_bytes and load_bytes are for whole numbers 0..255 in as many bytes. transpose(r) exchanges rows and columns of
// lanes x lanes numbers, transpose_pairs(r) of half as many pairs of numbers. pick(p, a, old) has a[p.from[i]] in the
// lanes that p takes and old in the others.
//
// A kernel body includes this header and is compiled once for each ISA with SN_ISA set to its name (avx512, avx2, neon,
// scalar). Everything here, and every helper of a body, has internal linkage: an object file of one ISA must never
// offer the linker an inline function that another file could get instead of its own. For the same reason bodies call
// nothing inline from the standard library (scripts/check_isa_objects.sh looks for what slipped through).
#pragma once

#include <cstdint>
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
/// The same for a lambda, after its parameters.
#define SN_INLINE_BODY __attribute__((always_inline))

namespace {
namespace simd {

using slimneck::index_t;

#if defined(__AVX512F__)

inline constexpr index_t lanes = 16;
using Vec = __m512;
using Mask = __mmask16;

/// The forms without a mask read an undefined register, which GCC 12 reports; a full mask compiles to nothing.
inline constexpr Mask all = 0xffff;

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
SN_INLINE Vec sqrt(Vec a) { return _mm512_maskz_sqrt_ps(all, a); }
SN_INLINE Vec fma(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
SN_INLINE Vec fnma(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
SN_INLINE Vec max(Vec a, Vec b) { return _mm512_maskz_max_ps(all, a, b); }
SN_INLINE Vec min(Vec a, Vec b) { return _mm512_maskz_min_ps(all, a, b); }
SN_INLINE Mask less(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
SN_INLINE Mask is_nan(Vec a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q); }
SN_INLINE Mask either_nan(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q); }
SN_INLINE Mask either(Mask a, Mask b) { return static_cast<Mask>(a | b); }
SN_INLINE bool any(Mask m) { return m != 0; }
SN_INLINE Vec select(Mask m, Vec a, Vec b) { return _mm512_mask_blend_ps(m, b, a); }
SN_INLINE Vec product_up_to(Vec limit, Vec x, Vec a, Vec b) {
  return _mm512_mask_mul_ps(x, _mm512_cmp_ps_mask(limit, x, _CMP_NLT_UQ), a, b);
}
SN_INLINE Vec scale2(Vec p, Vec n) { return _mm512_maskz_scalef_ps(all, p, n); }
SN_INLINE Vec scale2(Vec p, Vec n, Vec) { return scale2(p, n); }
inline constexpr bool scales_far = true, looks_up = true;
SN_INLINE Vec look_up(const float* table, Vec at) {
  return _mm512_maskz_permutexvar_ps(all, _mm512_castps_si512(at), _mm512_load_ps(table));
}
SN_INLINE Vec abs(Vec a) { return _mm512_abs_ps(a); }
SN_INLINE Vec with_sign(Vec a, Vec sign) {
  const __m512i mask = _mm512_set1_epi32(0x7fffffff);
  return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(mask, _mm512_castps_si512(a), _mm512_castps_si512(sign), 0xCA));
}
SN_INLINE void pin(Vec& v) { __asm__("" : "+v"(v)); }
SN_INLINE void store_bytes(std::uint8_t* p, Vec v) {
  const __m128i bytes = _mm512_maskz_cvtepi32_epi8(all, _mm512_maskz_cvtps_epi32(all, v));
  std::memcpy(p, &bytes, sizeof bytes);
}
SN_INLINE Vec load_bytes(const std::uint8_t* p) {
  __m128i bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return _mm512_maskz_cvtepi32_ps(all, _mm512_maskz_cvtepu8_epi32(all, bytes));
}
/// Pairs, fours (within 128 bits), then quarters of a register: 64 shuffles.
SN_INLINE void transpose(Vec (&r)[16]) {
  Vec t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_maskz_unpacklo_ps(all, r[i], r[i + 1]);
    t[i + 1] = _mm512_maskz_unpackhi_ps(all, r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    const __m512d a = _mm512_castps_pd(t[i]), b = _mm512_castps_pd(t[i + 1]);
    const __m512d c = _mm512_castps_pd(t[i + 2]), d = _mm512_castps_pd(t[i + 3]);
    r[i] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, a, c));
    r[i + 1] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, a, c));
    r[i + 2] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, b, d));
    r[i + 3] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, b, d));
  }
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    t[k] = _mm512_maskz_shuffle_f32x4(all, r[k], r[k + 4], 0x88);
    t[k + 4] = _mm512_maskz_shuffle_f32x4(all, r[k], r[k + 4], 0xdd);
    t[k + 8] = _mm512_maskz_shuffle_f32x4(all, r[k + 8], r[k + 12], 0x88);
    t[k + 12] = _mm512_maskz_shuffle_f32x4(all, r[k + 8], r[k + 12], 0xdd);
  }
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    r[k] = _mm512_maskz_shuffle_f32x4(all, t[k], t[k + 8], 0x88);
    r[k + 8] = _mm512_maskz_shuffle_f32x4(all, t[k], t[k + 8], 0xdd);
    r[k + 4] = _mm512_maskz_shuffle_f32x4(all, t[k + 4], t[k + 12], 0x88);
    r[k + 12] = _mm512_maskz_shuffle_f32x4(all, t[k + 4], t[k + 12], 0xdd);
  }
}
/// Pairs (within 128 bits), then quarters of a register: 24 shuffles.
SN_INLINE void transpose_pairs(Vec (&r)[8]) {
  Vec t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    const __m512d a = _mm512_castps_pd(r[i]), b = _mm512_castps_pd(r[i + 1]);
    t[i / 2] = _mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, a, b));
    t[i / 2 + 4] = _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, a, b));
  }
#pragma GCC unroll 2
  for (int k = 0; k < 2; ++k) {
    const Vec even = _mm512_maskz_shuffle_f32x4(all, t[4 * k], t[4 * k + 1], 0x88);
    const Vec odd = _mm512_maskz_shuffle_f32x4(all, t[4 * k], t[4 * k + 1], 0xdd);
    const Vec even2 = _mm512_maskz_shuffle_f32x4(all, t[4 * k + 2], t[4 * k + 3], 0x88);
    const Vec odd2 = _mm512_maskz_shuffle_f32x4(all, t[4 * k + 2], t[4 * k + 3], 0xdd);
    r[k] = _mm512_maskz_shuffle_f32x4(all, even, even2, 0x88);
    r[k + 2] = _mm512_maskz_shuffle_f32x4(all, odd, odd2, 0x88);
    r[k + 4] = _mm512_maskz_shuffle_f32x4(all, even, even2, 0xdd);
    r[k + 6] = _mm512_maskz_shuffle_f32x4(all, odd, odd2, 0xdd);
  }
}
struct Pick {
  __m512i from;
  __mmask16 taken;
};
/// Lanes i with from[i] >= 0 are taken.
SN_INLINE Pick make_pick(const int* from) {
  Pick p;
  std::memcpy(&p.from, from, sizeof p.from);
  p.taken = static_cast<__mmask16>(~_mm512_movepi32_mask(p.from));
  return p;
}
SN_INLINE Vec pick(const Pick& p, Vec a, Vec old) { return _mm512_mask_permutexvar_ps(old, p.taken, p.from, a); }

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
SN_INLINE Mask either_nan(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_UNORD_Q); }
SN_INLINE Mask either(Mask a, Mask b) { return _mm256_or_ps(a, b); }
SN_INLINE bool any(Mask m) { return _mm256_movemask_ps(m) != 0; }
SN_INLINE Vec select(Mask m, Vec a, Vec b) { return _mm256_blendv_ps(b, a, m); }
SN_INLINE Vec scale2(Vec p, Vec n) {
  const __m256i e = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(e, 1), bias = _mm256_set1_epi32(127);
  const __m256i low = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
  const __m256i high = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(e, half), bias), 23);
  return _mm256_mul_ps(_mm256_mul_ps(p, _mm256_castsi256_ps(low)), _mm256_castsi256_ps(high));
}
inline constexpr bool scales_far = false, looks_up = false;
SN_INLINE Vec scale2(Vec p, Vec, Vec biased) {
  const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(biased), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
}
SN_INLINE Vec abs(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), a); }
SN_INLINE Vec with_sign(Vec a, Vec sign) { return _mm256_or_ps(abs(a), _mm256_and_ps(_mm256_set1_ps(-0.0F), sign)); }
SN_INLINE void pin(Vec& v) { __asm__("" : "+x"(v)); }
SN_INLINE void store_bytes(std::uint8_t* p, Vec v) {
  const __m256i ints = _mm256_cvtps_epi32(v);
  const __m128i shorts = _mm_packus_epi32(_mm256_castsi256_si128(ints), _mm256_extracti128_si256(ints, 1));
  const __m128i bytes = _mm_packus_epi16(shorts, shorts);
  std::memcpy(p, &bytes, 8);
}
SN_INLINE Vec load_bytes(const std::uint8_t* p) {
  __m128i bytes = _mm_setzero_si128();
  std::memcpy(&bytes, p, 8);
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}
/// Pairs, fours (within 128 bits), then halves of a register: 24 shuffles.
SN_INLINE void transpose(Vec (&r)[8]) {
  Vec t[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    const Vec low = r[k], high = r[k + 4];
    r[k] = _mm256_permute2f128_ps(low, high, 0x20);
    r[k + 4] = _mm256_permute2f128_ps(low, high, 0x31);
  }
}
SN_INLINE void transpose_pairs(Vec (&r)[4]) {
  Vec t[4];
#pragma GCC unroll 2
  for (int i = 0; i < 2; ++i) {
    const __m256d a = _mm256_castps_pd(r[2 * i]), b = _mm256_castps_pd(r[2 * i + 1]);
    t[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
    t[i + 2] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
  }
#pragma GCC unroll 2
  for (int k = 0; k < 2; ++k) {
    r[k] = _mm256_permute2f128_ps(t[2 * k], t[2 * k + 1], 0x20);
    r[k + 2] = _mm256_permute2f128_ps(t[2 * k], t[2 * k + 1], 0x31);
  }
}
struct Pick {
  __m256i from;
  Vec taken;
};
SN_INLINE Pick make_pick(const int* from) {
  Pick p;
  std::memcpy(&p.from, from, sizeof p.from);
  p.taken = _mm256_castsi256_ps(_mm256_cmpgt_epi32(p.from, _mm256_set1_epi32(-1)));
  return p;
}
SN_INLINE Vec pick(const Pick& p, Vec a, Vec old) {
  return _mm256_blendv_ps(old, _mm256_permutevar8x32_ps(a, p.from), p.taken);
}

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
SN_INLINE Mask either_nan(Vec a, Vec b) { return vmvnq_u32(vandq_u32(vceqq_f32(a, a), vceqq_f32(b, b))); }
SN_INLINE Mask either(Mask a, Mask b) { return vorrq_u32(a, b); }
SN_INLINE bool any(Mask m) { return vmaxvq_u32(m) != 0; }
SN_INLINE Vec select(Mask m, Vec a, Vec b) { return vbslq_f32(m, a, b); }
/// As on x86: b where either is NaN.
SN_INLINE Vec max(Vec a, Vec b) { return select(vcgtq_f32(a, b), a, b); }
SN_INLINE Vec min(Vec a, Vec b) { return select(less(a, b), a, b); }
SN_INLINE Vec scale2(Vec p, Vec n) {
  const int32x4_t e = vcvtq_s32_f32(n), half = vshrq_n_s32(e, 1), bias = vdupq_n_s32(127);
  const Vec low = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
  const Vec high = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vsubq_s32(e, half), bias), 23));
  return vmulq_f32(vmulq_f32(p, low), high);
}
inline constexpr bool scales_far = false, looks_up = false;
SN_INLINE Vec scale2(Vec p, Vec, Vec biased) {
  const int32x4_t exponent = vshlq_n_s32(vreinterpretq_s32_f32(biased), 23);
  return vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p), exponent));
}
SN_INLINE Vec abs(Vec a) { return vabsq_f32(a); }
SN_INLINE Vec with_sign(Vec a, Vec sign) { return vbslq_f32(vdupq_n_u32(0x7fffffff), a, sign); }
SN_INLINE void pin(Vec& v) { __asm__("" : "+w"(v)); }
SN_INLINE void store_bytes(std::uint8_t* p, Vec v) {
  float t[4];
  store(t, v);
  for (int i = 0; i < 4; ++i) p[i] = static_cast<std::uint8_t>(t[i]);
}
SN_INLINE Vec load_bytes(const std::uint8_t* p) {
  const float t[4] = {static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]),
                      static_cast<float>(p[3])};
  return load(t);
}
SN_INLINE void transpose(Vec (&r)[4]) {
  const float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
  r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
  r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
  r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
  r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}
SN_INLINE void transpose_pairs(Vec (&r)[2]) {
  const Vec a = r[0], b = r[1];
  r[0] = vcombine_f32(vget_low_f32(a), vget_low_f32(b));
  r[1] = vcombine_f32(vget_high_f32(a), vget_high_f32(b));
}
/// Indices of bytes; those past 15 leave the old ones.
struct Pick {
  uint8x16_t from;
};
SN_INLINE Pick make_pick(const int* from) {
  std::uint8_t bytes[16];
  for (int i = 0; i < 16; ++i) bytes[i] = static_cast<std::uint8_t>(from[i / 4] < 0 ? 255 : from[i / 4] * 4 + i % 4);
  return {vld1q_u8(bytes)};
}
SN_INLINE Vec pick(const Pick& p, Vec a, Vec old) {
  return vreinterpretq_f32_u8(vqtbx1q_u8(vreinterpretq_u8_f32(old), vreinterpretq_u8_f32(a), p.from));
}

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
SN_INLINE Mask either_nan(Vec a, Vec b) { return (a != a) | (b != b); }
SN_INLINE Mask either(Mask a, Mask b) { return a | b; }
SN_INLINE bool any(Mask m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }
SN_INLINE Vec select(Mask m, Vec a, Vec b) {
  return reinterpret_cast<Vec>((m & reinterpret_cast<Mask>(a)) | (~m & reinterpret_cast<Mask>(b)));
}
/// As on x86: b where either is NaN.
SN_INLINE Vec max(Vec a, Vec b) { return select(a > b, a, b); }
SN_INLINE Vec min(Vec a, Vec b) { return select(a < b, a, b); }
SN_INLINE Vec scale2(Vec p, Vec n) {
  const Mask e = __builtin_convertvector(n, Mask), half = e >> 1;
  const Mask low = (half + 127) << 23, high = (e - half + 127) << 23;
  return p * reinterpret_cast<Vec>(low) * reinterpret_cast<Vec>(high);
}
inline constexpr bool scales_far = false, looks_up = false;
SN_INLINE Vec scale2(Vec p, Vec, Vec biased) {
  using Bits = std::uint32_t __attribute__((vector_size(sizeof(Vec))));  // wraps around where the result does not count
  return reinterpret_cast<Vec>(reinterpret_cast<Bits>(p) + (reinterpret_cast<Bits>(biased) << 23));
}
SN_INLINE Vec abs(Vec a) { return reinterpret_cast<Vec>(reinterpret_cast<Mask>(a) & 0x7fffffff); }
SN_INLINE Vec with_sign(Vec a, Vec sign) {
  const Mask magnitude = reinterpret_cast<Mask>(a) & 0x7fffffff;
  return reinterpret_cast<Vec>(magnitude | (reinterpret_cast<Mask>(sign) & ~0x7fffffff));
}
SN_INLINE void pin(Vec&) {}
SN_INLINE void store_bytes(std::uint8_t* p, Vec v) {
  float t[4];
  store(t, v);
  for (int i = 0; i < 4; ++i) p[i] = static_cast<std::uint8_t>(t[i]);
}
SN_INLINE Vec load_bytes(const std::uint8_t* p) {
  const float t[4] = {static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]),
                      static_cast<float>(p[3])};
  return load(t);
}
SN_INLINE void transpose(Vec (&r)[4]) {
  float t[4][4];
  for (int i = 0; i < 4; ++i) store(t[i], r[i]);
  for (int i = 0; i < 4; ++i) r[i] = Vec{t[0][i], t[1][i], t[2][i], t[3][i]};
}
SN_INLINE void transpose_pairs(Vec (&r)[2]) {
  const Vec a = r[0], b = r[1];
  r[0] = Vec{a[0], a[1], b[0], b[1]};
  r[1] = Vec{a[2], a[3], b[2], b[3]};
}
struct Pick {
  int from[4];
};
SN_INLINE Pick make_pick(const int* from) {
  Pick p;
  std::memcpy(p.from, from, sizeof p.from);
  return p;
}
SN_INLINE Vec pick(const Pick& p, Vec a, Vec old) {
  float t[4];
  store(t, a);
  for (index_t i = 0; i < lanes; ++i)
    if (p.from[i] >= 0) old[i] = t[p.from[i]];
  return old;
}

#endif

#ifndef __AVX512F__
SN_INLINE Vec product_up_to(Vec limit, Vec x, Vec a, Vec b) { return select(less(limit, x), x, mul(a, b)); }
#endif

/// Into the first level cache: what will be read soon. Any address will do; it never faults.
SN_INLINE void prefetch(const float* p) { __builtin_prefetch(p, 0, 3); }
/// The same for a line that will be written.
SN_INLINE void prefetch_write(float* p) { __builtin_prefetch(p, 1, 3); }

SN_INLINE constexpr index_t least(index_t a, index_t b) { return a < b ? a : b; }
SN_INLINE constexpr index_t most(index_t a, index_t b) { return a > b ? a : b; }

}  // namespace simd
}  // namespace
