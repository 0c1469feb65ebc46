// With R, G, B, Y in 0..1 and U, V in -1/2..1/2:
//   Y = kr R + kg G + kb B    U = (B - Y) / (2 (1 - kb))    V = (R - Y) / (2 (1 - kr))
// Levels are 219 Y + 16 and 224 U + 128 in studio range, 255 Y and 255 U + 128 in full range. All of it is linear, so
// integers with 16 fractional bits suffice: a result is off by less than 1/100 of a level before it is rounded.
#include "io/yuv.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace slimneck::io {
namespace {

constexpr double kr = 0.299, kb = 0.114, kg = 1 - kr - kb;
constexpr int fraction = 16;
constexpr int half = 1 << (fraction - 1);

int fixed(double value) { return static_cast<int>(std::lround(value * (1 << fraction))); }

std::uint8_t level(int value) { return static_cast<std::uint8_t>(std::clamp(value >> fraction, 0, 255)); }

struct Range {
  double luma, chroma, black;
};
Range range_of(bool full) { return full ? Range{255, 255, 0} : Range{219, 224, 16}; }

/// What each level of Y, U and V adds to R, G and B.
struct ToRgb {
  std::array<int, 256> y{}, red_v{}, green_u{}, green_v{}, blue_u{};

  explicit ToRgb(bool full) {
    const Range range = range_of(full);
    for (int i = 0; i < 256; ++i) {
      const double luma = 255 * (i - range.black) / range.luma, chroma = 255 * (i - 128) / range.chroma;
      const auto at = static_cast<std::size_t>(i);
      y[at] = fixed(luma) + half;
      red_v[at] = fixed(2 * (1 - kr) * chroma);
      blue_u[at] = fixed(2 * (1 - kb) * chroma);
      green_u[at] = fixed(-2 * (1 - kb) * kb / kg * chroma);
      green_v[at] = fixed(-2 * (1 - kr) * kr / kg * chroma);
    }
  }
};

struct Weights {
  int r, g, b;
  [[nodiscard]] int of(const std::array<int, 3>& rgb) const { return r * rgb[0] + g * rgb[1] + b * rgb[2]; }
};

/// Sums of R, G and B over the pixels that the chroma sample (cx, cy) stands for; returns how many they are.
int block_sum(const Image& image, const PlaneLayout& layout, index_t cx, index_t cy, std::array<int, 3>& sum) {
  const index_t x0 = cx * layout.step_x, x1 = std::min(x0 + layout.step_x, layout.width);
  const index_t y0 = cy * layout.step_y, y1 = std::min(y0 + layout.step_y, layout.height);
  sum = {};
  for (index_t y = y0; y < y1; ++y)
    for (index_t x = x0; x < x1; ++x) {
      const std::uint8_t* rgb = image.rgb.data() + (y * layout.width + x) * 3;
      for (std::size_t k = 0; k < 3; ++k) sum[k] += rgb[k];
    }
  return static_cast<int>((x1 - x0) * (y1 - y0));
}

}  // namespace

Image image_of_planes(const PlaneLayout& layout, std::span<const std::byte> planes) {
  const ToRgb table(layout.full_range);
  Image image(layout.width, layout.height);
  const index_t chroma_pitch = layout.chroma_width(), chroma_size = chroma_pitch * layout.chroma_height();
  const auto* luma = reinterpret_cast<const std::uint8_t*>(planes.data());
  const std::uint8_t* chroma = luma + layout.width * layout.height;
  std::uint8_t* rgb = image.rgb.data();
  for (index_t y = 0; y < layout.height; ++y)
    for (index_t x = 0; x < layout.width; ++x, rgb += 3) {
      const index_t at = y / layout.step_y * chroma_pitch + x / layout.step_x;
      const std::uint8_t u = layout.mono ? 128 : chroma[at], v = layout.mono ? 128 : chroma[at + chroma_size];
      const int light = table.y[*luma++];
      rgb[0] = level(light + table.red_v[v]);
      rgb[1] = level(light + table.green_u[u] + table.green_v[v]);
      rgb[2] = level(light + table.blue_u[u]);
    }
  return image;
}

void planes_of_image(const Image& image, const PlaneLayout& layout, std::span<std::byte> planes) {
  const Range range = range_of(layout.full_range);
  const double luma = range.luma / 255, chroma = range.chroma / 255;
  const Weights to_y{fixed(kr * luma), fixed(kg * luma), fixed(kb * luma)};
  const double blue = chroma / (2 * (1 - kb)), red = chroma / (2 * (1 - kr));
  const Weights to_u{fixed(-kr * blue), fixed(-kg * blue), fixed((1 - kb) * blue)};
  const Weights to_v{fixed((1 - kr) * red), fixed(-kg * red), fixed(-kb * red)};

  auto* out = reinterpret_cast<std::uint8_t*>(planes.data());
  const int black = fixed(range.black) + half;
  for (std::size_t i = 0; i < image.rgb.size(); i += 3)
    *out++ = level(to_y.of({image.rgb[i], image.rgb[i + 1], image.rgb[i + 2]}) + black);
  const index_t chroma_size = layout.chroma_width() * layout.chroma_height();
  const int grey = fixed(128) + half;
  std::array<int, 3> sum{};
  for (index_t cy = 0; cy < layout.chroma_height(); ++cy)
    for (index_t cx = 0; cx < layout.chroma_width(); ++cx, ++out) {
      const int count = block_sum(image, layout, cx, cy, sum);
      out[0] = level(to_u.of(sum) / count + grey);
      out[chroma_size] = level(to_v.of(sum) / count + grey);
    }
}

}  // namespace slimneck::io
