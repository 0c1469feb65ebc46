// Bilinear resize of 8-bit pictures with OpenCV's arithmetic, so that a network sees the same input to the last bit.
//
// Along x:  t = (s[i] * a0 + s[i+1] * a1) / 16           with a0 + a1 = 2048 (11 bits)
// Along y:  d = (t0 * b0 / 65536 + t1 * b1 / 65536 + 2) / 4, every division rounding down
// where i = floor(f), a1 = round((f - i) * 2048), f = (x + 1/2) * (source extent / new extent) - 1/2.
// Exact halving of both extents is the rounded mean of 2x2 pixels.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>

#include "io/image_detail.hpp"

namespace slimneck::io {
namespace {

constexpr float one = 2048;

// For one new coordinate: the two old ones, and their weights.
struct Tap {
  index_t first, second;
  int weight_first, weight_second;
};

Tap tap_at(index_t i, index_t from, index_t to, bool clamp_weight) {
  // The ratio is inverted twice as OpenCV does: the rounding of it shows.
  const double scale = 1.0 / (static_cast<double>(to) / static_cast<double>(from));
  auto f = static_cast<float>((static_cast<double>(i) + 0.5) * scale - 0.5);
  auto place = static_cast<index_t>(std::floor(f));
  f -= static_cast<float>(place);
  if (clamp_weight && (place < 0 || place >= from - 1)) f = 0;
  if (clamp_weight) place = std::clamp<index_t>(place, 0, from - 1);
  const auto clamped = [from](index_t at) { return std::clamp<index_t>(at, 0, from - 1); };
  return {clamped(place), clamped(place + 1), static_cast<int>(std::lrint((1.0F - f) * one)),
          static_cast<int>(std::lrint(f * one))};
}

void halve_row(const Image& image, index_t y, std::uint8_t* out, index_t width) {
  const std::uint8_t* upper = image.rgb.data() + 2 * y * image.width * 3;
  const std::uint8_t* lower = upper + image.width * 3;
  for (index_t x = 0; x < width; ++x)
    for (index_t c = 0; c < 3; ++c) {
      const index_t at = x * 6 + c;
      out[x * 3 + c] = static_cast<std::uint8_t>((upper[at] + upper[at + 3] + lower[at] + lower[at + 3] + 2) >> 2);
    }
}

// t of one source row, three channels a pixel. 255 * 2048 / 16 fits in 16 bits.
void blend_along(const std::uint8_t* row, const std::vector<Tap>& taps, std::int16_t* out) {
  for (const Tap& tap : taps) {
    const std::uint8_t* a = row + tap.first * 3;
    const std::uint8_t* b = row + tap.second * 3;
    for (int c = 0; c < 3; ++c)
      *out++ = static_cast<std::int16_t>((a[c] * tap.weight_first + b[c] * tap.weight_second) >> 4);
  }
}

// Two blended source rows; neighbouring output rows mostly need the same ones.
class RowPair {
 public:
  explicit RowPair(std::size_t length) : rows_{std::vector<std::int16_t>(length), std::vector<std::int16_t>(length)} {}

  void load(const Image& image, const Tap& tap, const std::vector<Tap>& columns) {
    if (held_[1] == tap.first) {
      std::swap(rows_[0], rows_[1]);
      std::swap(held_[0], held_[1]);
    }
    const std::array<index_t, 2> wanted{tap.first, tap.second};
    for (std::size_t k = 0; k < 2; ++k) {
      if (held_[k] != wanted[k]) blend_along(image.rgb.data() + wanted[k] * image.width * 3, columns, rows_[k].data());
      held_[k] = wanted[k];
    }
  }

  void blend_across(const Tap& tap, std::uint8_t* out) const {
    const std::int16_t *upper = rows_[0].data(), *lower = rows_[1].data();
    for (std::size_t i = 0; i < rows_[0].size(); ++i)
      out[i] = static_cast<std::uint8_t>(
          (((tap.weight_first * upper[i]) >> 16) + ((tap.weight_second * lower[i]) >> 16) + 2) >> 2);
  }

 private:
  std::array<std::vector<std::int16_t>, 2> rows_;
  std::array<index_t, 2> held_{-1, -1};
};

}  // namespace

void resize_into(const Image& image, std::uint8_t* out, index_t pitch, index_t width, index_t height) {
  check_image(image, "resize_bilinear");
  if (image.width == width && image.height == height) {
    for (index_t y = 0; y < height; ++y) std::copy_n(image.rgb.data() + y * width * 3, width * 3, out + y * pitch);
    return;
  }
  if (image.width == 2 * width && image.height == 2 * height) {
#pragma omp parallel for schedule(static)
    for (index_t y = 0; y < height; ++y) halve_row(image, y, out + y * pitch, width);
    return;
  }
  std::vector<Tap> columns;
  for (index_t x = 0; x < width; ++x) columns.push_back(tap_at(x, image.width, width, true));
  // Bands of rows, each with memory of its own that is taken here, where running out of it can be reported.
  const index_t bands = std::min<index_t>(height, 16);
  std::vector<RowPair> memory(static_cast<std::size_t>(bands), RowPair(static_cast<std::size_t>(width) * 3));
#pragma omp parallel for schedule(dynamic)
  for (index_t band = 0; band < bands; ++band) {
    RowPair& rows = memory[static_cast<std::size_t>(band)];
    for (index_t y = height * band / bands; y < height * (band + 1) / bands; ++y) {
      const Tap tap = tap_at(y, image.height, height, false);
      rows.load(image, tap, columns);
      rows.blend_across(tap, out + y * pitch);
    }
  }
}

}  // namespace slimneck::io

namespace slimneck {

Image resize_bilinear(const Image& image, index_t width, index_t height) {
  Image out(width, height);
  io::resize_into(image, out.rgb.data(), width * 3, width, height);
  return out;
}

}  // namespace slimneck
