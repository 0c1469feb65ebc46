#include <algorithm>
#include <array>
#include <cmath>
#include <random>

#include "demo.hpp"

namespace slimneck::cli {

namespace {

/// Draws over the whole picture, pixel by pixel.
template <class Shade>
void paint(Image& image, Shade shade) {
  for (index_t y = 0; y < image.height; ++y)
    for (index_t x = 0; x < image.width; ++x) {
      std::uint8_t* pixel = &image.rgb[static_cast<std::size_t>((y * image.width + x) * 3)];
      Colour colour{pixel[0], pixel[1], pixel[2]};
      shade(x, y, colour);
      pixel[0] = colour.r;
      pixel[1] = colour.g;
      pixel[2] = colour.b;
    }
}

std::uint8_t byte(double value) { return static_cast<std::uint8_t>(std::lround(std::clamp(value, 0.0, 255.0))); }

Colour scaled(const Colour& c, double factor) { return {byte(c.r * factor), byte(c.g * factor), byte(c.b * factor)}; }

/// The standard's generator gives the same bits everywhere; its distributions do not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  double in(double low, double high) { return low + static_cast<double>(engine_() >> 11) * 0x1p-53 * (high - low); }
  Colour colour() { return {byte(in(30, 255)), byte(in(30, 255)), byte(in(30, 255))}; }

 private:
  std::mt19937_64 engine_;
};

/// A ball (kind 0), a block (1) or a cone (2) of radius r, lit from the left.
void draw_shape(Image& image, int kind, double cx, double cy, double r, const Colour& colour) {
  paint(image, [&](index_t px, index_t py, Colour& pixel) {
    const double x = (static_cast<double>(px) - cx) / r, y = (static_cast<double>(py) - cy) / r;
    if (std::abs(x) > 1 || std::abs(y) > 1) return;
    const bool inside = kind == 0 ? x * x + y * y < 1 : kind == 1 || std::abs(x) < (y + 1) / 2;
    if (!inside) return;
    const double light = kind == 0 ? std::hypot(x + 0.35, y + 0.35) : std::abs(x + 0.3);
    pixel = scaled(colour, 1.15 - 0.55 * light);
  });
}

}  // namespace

Image drawn_picture(std::uint64_t seed) {
  constexpr index_t width = 640, height = 420;
  constexpr double horizon = 190;
  Image image(width, height);
  Random random(seed);
  paint(image, [&](index_t, index_t y, Colour& pixel) {
    const double depth = static_cast<double>(y);
    pixel = depth < horizon ? Colour{byte(90 + depth / 2), byte(140 + depth / 2), 235}
                            : Colour{byte(70 + depth / 5), byte(95 + depth / 6), byte(60 + depth / 8)};
  });
  constexpr int shapes = 14;
  for (int i = 0; i < shapes; ++i) {
    // From the horizon to the front, growing on the way.
    const double near = (i + 1.0) / shapes, r = 12 + 62 * near * random.in(0.6, 1.0);
    const double cx = random.in(0, static_cast<double>(width)), ground = horizon + 215 * near;
    const Colour colour = random.colour();
    draw_shape(image, i % 3, cx, ground - r, r, colour);
  }
  paint(image, [&](index_t, index_t, Colour& pixel) { pixel = scaled(pixel, random.in(0.94, 1.06)); });
  return image;
}

Image side_by_side(std::span<const Panel> panels) {
  constexpr index_t gap = 8, title_height = 24, scale = 2;
  index_t width = gap, height = 0;
  for (const Panel& panel : panels) {
    width += panel.image.width + gap;
    height = std::max(height, panel.image.height);
  }
  Image all(width, height + title_height + gap, Colour{32, 32, 36});
  index_t left = gap;
  for (const Panel& panel : panels) {
    draw_text(all, left, (title_height - 7 * scale) / 2, panel.title, {255, 255, 255}, scale);
    for (index_t y = 0; y < panel.image.height; ++y) {
      const auto from = panel.image.rgb.begin() + y * panel.image.width * 3;
      std::copy_n(from, panel.image.width * 3, all.rgb.begin() + ((y + title_height) * width + left) * 3);
    }
    left += panel.image.width + gap;
  }
  return all;
}

Image heat_map(View<const float> map, index_t size) {
  const Shape& s = map.shape;
  std::vector<double> strength;
  for (index_t y = 0; y < s.h; ++y)
    for (index_t x = 0; x < s.w; ++x) {
      double sum = 0;
      for (index_t c = 0; c < s.c; ++c) sum += std::abs(static_cast<double>(map.at(0, c, y, x)));
      strength.push_back(sum);
    }
  const auto [least, most] = std::minmax_element(strength.begin(), strength.end());
  const double low = *least, range = std::max(*most - low, 1e-30);
  constexpr std::array<Colour, 6> scale{Colour{0, 0, 0}, {60, 15, 110},  {160, 40, 120},
                                        {235, 95, 60},   {250, 185, 60}, {255, 255, 255}};
  Image image(size, size);
  paint(image, [&](index_t x, index_t y, Colour& pixel) {
    const auto cell = static_cast<std::size_t>((y * s.h / size) * s.w + x * s.w / size);
    const double at = (strength[cell] - low) / range * (scale.size() - 1);
    const auto below = std::min(static_cast<std::size_t>(at), scale.size() - 2);
    const double part = at - static_cast<double>(below);
    const Colour &a = scale[below], &b = scale[below + 1];
    const auto mix = [part](int from, int to) { return byte(from + part * (to - from)); };
    pixel = {mix(a.r, b.r), mix(a.g, b.g), mix(a.b, b.b)};
  });
  return image;
}

}  // namespace slimneck::cli
