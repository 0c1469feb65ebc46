// Colours as hue, saturation and value, in OpenCV's 8-bit arithmetic.
#pragma once

#include <array>
#include <cstdint>

#include "slimneck/image.hpp"

namespace slimneck::train {

/// Hue 0..179 (two degrees each), saturation and value 0..255.
struct Hsv {
  std::uint8_t h = 0, s = 0, v = 0;
  friend bool operator==(const Hsv&, const Hsv&) = default;
};

Hsv to_hsv(Colour colour) noexcept;
Colour to_rgb(Hsv colour) noexcept;

/// What becomes of each hue, saturation and value.
struct HsvTables {
  std::array<std::uint8_t, 256> h{}, s{}, v{};
};

/// Hues times gains[0], around the circle; saturations and values times the others, up to 255. Rounded down.
HsvTables hsv_tables(const std::array<double, 3>& gains) noexcept;

/// Changes the colour of every pixel.
void recolour(Image& image, const HsvTables& tables) noexcept;

}  // namespace slimneck::train
