#include "train/hsv.hpp"

#include <algorithm>
#include <cmath>

namespace slimneck::train {

namespace {

constexpr int hues = 180;

/// Quotients of `whole` by 0..255 in units of 1/4096; by 0 it is 0.
std::array<int, 256> quotients(double whole) noexcept {
  std::array<int, 256> table{};
  for (std::size_t i = 1; i < table.size(); ++i)
    table[i] = static_cast<int>(std::lrint(whole * 4096 / static_cast<double>(i)));
  return table;
}

int rounded(int value) noexcept { return (value + 2048) >> 12; }

}  // namespace

Hsv to_hsv(Colour colour) noexcept {
  static const std::array<int, 256> saturation = quotients(255), hue = quotients(hues / 6.0);
  const int r = colour.r, g = colour.g, b = colour.b;
  const int value = std::max({r, g, b}), range = value - std::min({r, g, b});
  const int turn = value == r ? g - b : value == g ? b - r + 2 * range : r - g + 4 * range;
  int h = rounded(turn * hue[static_cast<std::size_t>(range)]);
  if (h < 0) h += hues;
  return {static_cast<std::uint8_t>(h),
          static_cast<std::uint8_t>(rounded(range * saturation[static_cast<std::size_t>(value)])),
          static_cast<std::uint8_t>(value)};
}

Colour to_rgb(Hsv colour) noexcept {
  if (colour.s == 0) return {colour.v, colour.v, colour.v};
  constexpr float unit = 1.0F / 255.0F, sixth = 6.0F / static_cast<float>(hues);
  const float s = static_cast<float>(colour.s) * unit, v = static_cast<float>(colour.v) * unit;
  const float turn = static_cast<float>(colour.h) * sixth;
  const int sector = static_cast<int>(turn) % 6;
  const float part = turn - static_cast<float>(static_cast<int>(turn));
  const auto level = [](float value) { return static_cast<std::uint8_t>(std::lrint(value * 255.0F)); };
  const std::uint8_t top = level(v), bottom = level(v * (1.0F - s));
  const std::uint8_t falling = level(v * (1.0F - s * part)), rising = level(v * (1.0F - s * (1.0F - part)));
  switch (sector) {
    case 0: return {top, rising, bottom};
    case 1: return {falling, top, bottom};
    case 2: return {bottom, top, rising};
    case 3: return {bottom, falling, top};
    case 4: return {rising, bottom, top};
    default: return {top, bottom, falling};
  }
}

HsvTables hsv_tables(const std::array<double, 3>& gains) noexcept {
  HsvTables tables;
  for (std::size_t i = 0; i < 256; ++i) {
    const auto x = static_cast<double>(i);
    tables.h[i] = static_cast<std::uint8_t>(std::fmod(x * gains[0], hues));
    tables.s[i] = static_cast<std::uint8_t>(std::clamp(x * gains[1], 0.0, 255.0));
    tables.v[i] = static_cast<std::uint8_t>(std::clamp(x * gains[2], 0.0, 255.0));
  }
  return tables;
}

void recolour(Image& image, const HsvTables& tables) noexcept {
#pragma omp parallel for schedule(static)
  for (index_t y = 0; y < image.height; ++y) {
    std::uint8_t* at = image.rgb.data() + y * image.width * 3;
    for (index_t x = 0; x < image.width; ++x, at += 3) {
      const Hsv from = to_hsv({at[0], at[1], at[2]});
      const Colour to = to_rgb({tables.h[from.h], tables.s[from.s], tables.v[from.v]});
      at[0] = to.r;
      at[1] = to.g;
      at[2] = to.b;
    }
  }
}

}  // namespace slimneck::train
