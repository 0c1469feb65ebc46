// Colours and grounds of drawn shapes. Whole numbers alone.
#pragma once

#include "slimneck/image.hpp"
#include "train/shape_mask.hpp"

namespace slimneck::train {

/// A colour with at least `saturation` and `value`, 0..255.
Colour draw_colour(Random& random, index_t saturation, index_t value) noexcept;

/// `weight` of 256 parts of b, the rest of a.
Colour blended(Colour a, Colour b, index_t weight) noexcept;

/// Fills the picture: a gradient, clouds, stripes or tiles in two colours.
void draw_ground(Image& image, Random& random);

/// How a shape is filled.
struct Fill {
  enum class Kind : std::uint8_t { plain, gradient, stripes };
  Kind kind = Kind::plain;
  Colour colour, second;  ///< at both ends of the gradient, or of the stripes
  Turn turn;              ///< across the stripes, along the gradient
  index_t period = 16;    ///< of the stripes, in pixels
};
Fill draw_fill(Random& random, Colour colour, index_t radius) noexcept;

/// Lays the fill over the mask's pixels.
void paint(Image& image, const Mask& mask, const Fill& fill) noexcept;

/// Darkens what lies below a shadow that falls `shift` pixels down and to the right.
void shade(Image& image, const Mask& mask, index_t shift) noexcept;

/// Mean colour of the picture below the mask; black when it lies outside.
Colour mean_below(const Image& image, const Mask& mask) noexcept;

/// Another exposure, and grain.
void develop(Image& image, Random& random) noexcept;

}  // namespace slimneck::train
