#include <algorithm>
#include <cmath>

#include "io/font.hpp"
#include "io/image_detail.hpp"

namespace slimneck {
namespace {

// Pixels left..right-1, top..bottom-1.
struct Rectangle {
  index_t left, top, right, bottom;
};

std::uint8_t* pixel(Image& image, index_t x, index_t y) { return image.rgb.data() + (y * image.width + x) * 3; }

void fill(Image& image, const Rectangle& area, Colour colour) {
  for (index_t y = std::max<index_t>(area.top, 0); y < std::min(area.bottom, image.height); ++y)
    for (index_t x = std::max<index_t>(area.left, 0); x < std::min(area.right, image.width); ++x)
      io::blend(pixel(image, x, y), colour, 1);
}

// How much of the glyph covers the point (x, y), in glyph pixels: the bitmap is smoothed between pixel centres and cut
// at one half, over a slope about one picture pixel wide. So corners come out round and slanted strokes without stairs.
float coverage(const io::Glyph& glyph, float x, float y, float scale) {
  const auto bit = [&](int column, int row) {
    const bool inside = column >= 0 && column < io::glyph_columns && row >= 0 && row < io::glyph_rows;
    return inside ? static_cast<float>(glyph[static_cast<std::size_t>(row)] >> (io::glyph_columns - 1 - column) & 1)
                  : 0.0F;
  };
  const float left = std::floor(x - 0.5F), top = std::floor(y - 0.5F);
  const float u = x - 0.5F - left, v = y - 0.5F - top;
  const int column = static_cast<int>(left), row = static_cast<int>(top);
  const float upper = bit(column, row) * (1 - u) + bit(column + 1, row) * u;
  const float lower = bit(column, row + 1) * (1 - u) + bit(column + 1, row + 1) * u;
  return std::clamp((upper * (1 - v) + lower * v - 0.5F) * scale + 0.5F, 0.0F, 1.0F);
}

void draw_glyph(Image& image, index_t left, index_t top, const io::Glyph& glyph, Colour colour, index_t scale) {
  const auto real = [](index_t v) { return static_cast<float>(v); };
  for (index_t y = std::max<index_t>(-top, 0); y < std::min(io::glyph_rows * scale, image.height - top); ++y)
    for (index_t x = std::max<index_t>(-left, 0); x < std::min(io::glyph_columns * scale, image.width - left); ++x) {
      const float cover = coverage(glyph, (real(x) + 0.5F) / real(scale), (real(y) + 0.5F) / real(scale), real(scale));
      io::blend(pixel(image, left + x, top + y), colour, cover);
    }
}

// Black or white, whichever stands out from `ground` (weights: how bright the eye sees each primary).
Colour contrast(Colour ground) {
  const double light = 0.299 * ground.r + 0.587 * ground.g + 0.114 * ground.b;
  return light > 140 ? Colour{0, 0, 0} : Colour{255, 255, 255};
}

// Room for the label's plate: above the frame, else inside it; moved left when it would leave the picture.
void draw_label(Image& image, const Rectangle& frame, std::string_view label, Colour colour, index_t thickness) {
  // Text as high as YOLOv5's for the same thickness, but a long label must not be wider than the picture.
  const auto letters = static_cast<index_t>(label.size()) * io::glyph_advance;
  const index_t fitting = image.width / std::max<index_t>(letters + 1, 1);
  const index_t scale = std::clamp<index_t>(fitting, 1, thickness);
  const index_t margin = scale;
  const index_t width = letters * scale + margin, height = io::glyph_rows * scale + 2 * margin;
  const index_t left = std::max<index_t>(std::min(frame.left, image.width - width), 0);
  const index_t top = frame.top >= height ? frame.top - height : std::max<index_t>(frame.top, 0);
  fill(image, {left, top, left + width, top + height}, colour);
  draw_text(image, left + margin, top + margin, label, contrast(colour), scale);
}

}  // namespace

void io::blend(std::uint8_t* at, Colour colour, float cover) noexcept {
  const auto mix = [cover](std::uint8_t old, std::uint8_t fresh) {
    return static_cast<std::uint8_t>(std::lrint(static_cast<float>(old) + cover * static_cast<float>(fresh - old)));
  };
  at[0] = mix(at[0], colour.r);
  at[1] = mix(at[1], colour.g);
  at[2] = mix(at[2], colour.b);
}

Colour class_colour(int cls) noexcept {
  // Hues a golden section of the circle apart never come close soon; every second turn is paler.
  const double turns = 0.02 + 0.6180339887498949 * static_cast<double>(cls);
  const double hue = 6 * (turns - std::floor(turns));
  const double low = (cls / 5) % 2 == 0 ? 40 : 110, high = 255;
  const auto primary = [&](double offset) {
    const double distance = std::abs(std::fmod(hue + offset, 6.0) - 3) - 1;  // 0 and below: off, 1 and above: full
    return static_cast<std::uint8_t>(std::lrint(low + (high - low) * std::clamp(distance, 0.0, 1.0)));
  };
  return {primary(0), primary(4), primary(2)};
}

index_t line_width(const Image& image) {
  const double mean = static_cast<double>(image.width + image.height) / 2;
  return std::max<index_t>(static_cast<index_t>(std::nearbyint(mean * 0.003)), 2);
}

void draw_text(Image& image, index_t x, index_t y, std::string_view text, Colour colour, index_t scale) {
  io::check_image(image, "draw_text");
  if (scale < 1 || scale > io::max_extent) throw ShapeError("draw_text: scale " + std::to_string(scale));
  for (const char c : text) {
    if (x >= image.width) return;
    draw_glyph(image, x, y, io::glyph_of(c), colour, scale);
    x += io::glyph_advance * scale;
  }
}

void draw_box(Image& image, const std::array<float, 4>& xyxy, std::string_view label, Colour colour,
              index_t thickness) {
  io::check_image(image, "draw_box");
  if (thickness < 1 || thickness > io::max_extent) throw ShapeError("draw_box: thickness " + std::to_string(thickness));
  if (!std::all_of(xyxy.begin(), xyxy.end(), [](float v) { return std::isfinite(v); })) return;
  const auto whole = [](float v) {
    constexpr float far = 1 << 20;  // beyond every picture
    return static_cast<index_t>(std::clamp(v, -far, far));
  };
  // The frame's middle lies on the box, as cv2.rectangle draws it.
  const index_t out = thickness / 2, in = thickness - out;
  const Rectangle outer{whole(xyxy[0]) - out, whole(xyxy[1]) - out, whole(xyxy[2]) + in, whole(xyxy[3]) + in};
  fill(image, {outer.left, outer.top, outer.right, outer.top + thickness}, colour);
  fill(image, {outer.left, outer.bottom - thickness, outer.right, outer.bottom}, colour);
  fill(image, {outer.left, outer.top, outer.left + thickness, outer.bottom}, colour);
  fill(image, {outer.right - thickness, outer.top, outer.right, outer.bottom}, colour);
  if (!label.empty()) draw_label(image, outer, label, colour, thickness);
}

}  // namespace slimneck
