// Half precision (binary16) and bfloat16 as bit patterns.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace slimneck::io {

/// The number that a pattern of 1 sign bit, `exponent_bits` and the rest of 16 bits as mantissa stands for.
inline double from_16(std::uint16_t bits, int exponent_bits) noexcept {
  const int mantissa_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == (1 << exponent_bits) - 1) return mantissa != 0 ? std::nan("") : sign * HUGE_VAL;
  if (exponent == 0) return sign * std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return sign * std::ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits);
}

/// The pattern nearest to `value`, ties to even. Numbers beyond the largest finite one become infinity.
inline std::uint16_t to_16(double value, int exponent_bits) noexcept {
  const int mantissa_bits = 15 - exponent_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const auto sign = static_cast<std::uint16_t>(std::signbit(value) ? 0x8000 : 0);
  const auto infinity = static_cast<std::uint16_t>(((1 << exponent_bits) - 1) << mantissa_bits);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | infinity | (1 << (mantissa_bits - 1)));
  if (std::isinf(value)) return static_cast<std::uint16_t>(sign | infinity);
  if (value == 0) return sign;
  // The spacing of the format's numbers around |value|; below the smallest normal it is constant.
  const int exponent = std::max(std::ilogb(value), 1 - bias);
  const double steps = std::nearbyint(std::ldexp(std::abs(value), mantissa_bits - exponent));
  // A mantissa that rounds up to the next power of two carries into the exponent by itself.
  const double pattern = std::ldexp(exponent + bias - 1, mantissa_bits) + steps;
  return static_cast<std::uint16_t>(sign |
                                    static_cast<std::uint32_t>(std::min(pattern, static_cast<double>(infinity))));
}

inline constexpr int half_exponent_bits = 5;
inline constexpr int bfloat_exponent_bits = 8;

}  // namespace slimneck::io
