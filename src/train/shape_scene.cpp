#include "train/shape_scene.hpp"

#include <algorithm>
#include <cstdlib>

namespace slimneck::train {

namespace {

std::uint8_t level(index_t value) noexcept { return static_cast<std::uint8_t>(std::clamp<index_t>(value, 0, 255)); }

std::uint8_t* pixel(Image& image, index_t x, index_t y) noexcept {
  return image.rgb.data() + (y * image.width + x) * 3;
}

void put(Image& image, index_t x, index_t y, Colour colour) noexcept {
  std::uint8_t* at = pixel(image, x, y);
  at[0] = colour.r;
  at[1] = colour.g;
  at[2] = colour.b;
}

/// 0 .. 256 and back, over `period`.
index_t wave(index_t at, index_t period) noexcept {
  const index_t phase = ((at % period + period) % period) * 512 / period;
  return phase < 256 ? phase : 512 - phase;
}

/// Distance of (x, y) from a line through the origin, in pixels.
index_t across(index_t x, index_t y, const Turn& turn) noexcept { return (x * turn.cosine + y * turn.sine) >> 14; }

/// The mask's pixels that lie in the picture.
template <class Work>
void for_each_pixel(const Image& image, const Mask& mask, Work work) {
  for (index_t y = std::max<index_t>(mask.top, 0); y < std::min(mask.top + mask.height, image.height); ++y)
    for (index_t x = std::max<index_t>(mask.left, 0); x < std::min(mask.left + mask.width, image.width); ++x)
      if (const int cover = mask.at(x, y); cover > 0) work(x, y, cover);
}

/// Smooth random numbers 0..256 over the picture: a lattice of them, with slopes of zero at its points.
class Clouds {
 public:
  Clouds(index_t extent, index_t cell, Random& random)
      : cell_(cell), columns_(extent / cell + 2), values_(static_cast<std::size_t>(columns_ * columns_)) {
    for (index_t& value : values_) value = random.below(257);
  }

  [[nodiscard]] index_t at(index_t x, index_t y) const noexcept {
    const index_t i = x / cell_, j = y / cell_, u = smooth(x % cell_), v = smooth(y % cell_);
    const auto row = [&](index_t k) { return value(i, k) * (256 - u) + value(i + 1, k) * u; };
    return (row(j) * (256 - v) + row(j + 1) * v) >> 16;
  }

 private:
  [[nodiscard]] index_t smooth(index_t at) const noexcept {
    const index_t t = at * 256 / cell_;
    return t * t * (768 - 2 * t) / 65536;
  }
  [[nodiscard]] index_t value(index_t i, index_t j) const noexcept {
    return values_[static_cast<std::size_t>(j * columns_ + i)];
  }

  index_t cell_, columns_;
  std::vector<index_t> values_;
};

void draw_clouds(Image& image, Colour a, Colour b, Random& random) {
  const index_t cell = std::max<index_t>(image.width / (2 + random.below(4)), 8);
  const Clouds coarse(image.width, cell, random), middle(image.width, std::max<index_t>(cell / 3, 4), random),
      fine(image.width, std::max<index_t>(cell / 9, 2), random);
  for (index_t y = 0; y < image.height; ++y)
    for (index_t x = 0; x < image.width; ++x)
      put(image, x, y, blended(a, b, (5 * coarse.at(x, y) + 2 * middle.at(x, y) + fine.at(x, y)) / 8));
}

}  // namespace

Colour blended(Colour a, Colour b, index_t weight) noexcept {
  const auto mix = [weight](index_t from, index_t to) { return level(from + (((to - from) * weight) >> 8)); };
  return {mix(a.r, b.r), mix(a.g, b.g), mix(a.b, b.b)};
}

Colour draw_colour(Random& random, index_t saturation, index_t value) noexcept {
  const index_t hue = random.below(1536), top = value + random.below(256 - value);
  const index_t strength = saturation + random.below(256 - saturation);
  const auto primary = [&](index_t offset) {
    const index_t distance = std::abs((hue + offset) % 1536 - 768) - 256;  // 0 and below: off, 256 and above: full
    return level(top - top * strength * (256 - std::clamp<index_t>(distance, 0, 256)) / 65280);
  };
  return {primary(0), primary(1024), primary(512)};
}

void draw_ground(Image& image, Random& random) {
  const Colour a = draw_colour(random, 0, 40), other = draw_colour(random, 0, 40);
  const Colour b = blended(a, other, 80 + random.below(120));
  const Turn turn = draw_turn(random);
  const index_t kind = random.below(5), period = std::max<index_t>(image.width / (3 + random.below(14)), 4);
  const index_t phase = random.below(period);
  if (kind < 2) return draw_clouds(image, a, b, random);
  for (index_t y = 0; y < image.height; ++y)
    for (index_t x = 0; x < image.width; ++x) {
      const index_t along = across(x, y, turn) + phase, beside = across(-y, x, turn) + phase;
      index_t weight = 0;
      if (kind == 2) weight = wave(along, 3 * image.width);
      if (kind == 3) weight = std::clamp<index_t>(2 * wave(along, period) - 128, 0, 256);
      if (kind == 4) weight = (wave(along, 2 * period) < 128) == (wave(beside, 2 * period) < 128) ? 256 : 0;
      put(image, x, y, blended(a, b, weight));
    }
}

Fill draw_fill(Random& random, Colour colour, index_t radius) noexcept {
  Fill fill;
  const index_t kind = random.below(5);
  fill.kind = kind < 2 ? Fill::Kind::plain : kind < 4 ? Fill::Kind::gradient : Fill::Kind::stripes;
  fill.colour = colour;
  const Colour dark = blended(colour, {0, 0, 0}, 100), light = blended(colour, {255, 255, 255}, 110);
  fill.second = random.below(2) == 0 ? dark : light;
  fill.turn = draw_turn(random);
  fill.period = std::max<index_t>(radius / 2, 4);
  return fill;
}

void paint(Image& image, const Mask& mask, const Fill& fill) noexcept {
  const index_t span = std::max(mask.width, mask.height);
  const index_t middle_x = mask.left + mask.width / 2, middle_y = mask.top + mask.height / 2;
  for_each_pixel(image, mask, [&](index_t x, index_t y, int cover) {
    const index_t along = across(x - middle_x, y - middle_y, fill.turn);
    index_t weight = 0;
    if (fill.kind == Fill::Kind::gradient) weight = std::clamp<index_t>(128 + along * 256 / span, 0, 256);
    if (fill.kind == Fill::Kind::stripes) weight = std::clamp<index_t>(3 * wave(along, fill.period) - 256, 0, 256);
    const std::uint8_t* at = pixel(image, x, y);
    put(image, x, y,
        blended({at[0], at[1], at[2]}, blended(fill.colour, fill.second, weight), cover * (256 / Mask::full)));
  });
}

void shade(Image& image, const Mask& mask, index_t shift) noexcept {
  Mask shadow = mask;
  shadow.left += shift;
  shadow.top += shift;
  for_each_pixel(image, shadow, [&](index_t x, index_t y, int cover) {
    const std::uint8_t* at = pixel(image, x, y);
    put(image, x, y, blended({at[0], at[1], at[2]}, {0, 0, 0}, cover * 7 / 4));
  });
}

Colour mean_below(const Image& image, const Mask& mask) noexcept {
  std::array<index_t, 3> sum{};
  index_t count = 0;
  for_each_pixel(image, mask, [&](index_t x, index_t y, int cover) {
    const std::uint8_t* at = image.rgb.data() + (y * image.width + x) * 3;
    for (std::size_t c = 0; c < 3; ++c) sum[c] += at[c] * cover;
    count += cover;
  });
  count = std::max<index_t>(count, 1);
  return {level(sum[0] / count), level(sum[1] / count), level(sum[2] / count)};
}

void develop(Image& image, Random& random) noexcept {
  const index_t exposure = 190 + random.below(100), grain = random.below(13);
  for (std::size_t i = 0; i < image.rgb.size(); i += 3) {
    const auto bits = static_cast<index_t>(random.bits() >> 32U);
    const index_t common = (bits & 255) * (2 * grain + 1) / 256 - grain;
    for (std::size_t c = 0; c < 3; ++c) {
      const index_t own = (bits >> (8 + 8 * c) & 255) * (grain + 1) / 256 - grain / 2;
      image.rgb[i + c] = level(image.rgb[i + c] * exposure / 256 + common + own);
    }
  }
}

}  // namespace slimneck::train
