#include "train/plot_canvas.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "io/font.hpp"
#include "io/image_detail.hpp"

namespace slimneck::train {

namespace style {

Colour series(std::size_t number) {
  // Dark enough for white paper; beyond ten lines nobody tells them apart anyway, so they begin again.
  static constexpr std::array<Colour, 10> colours{{{31, 95, 178},
                                                   {214, 116, 22},
                                                   {0, 128, 96},
                                                   {188, 52, 60},
                                                   {128, 84, 176},
                                                   {122, 82, 62},
                                                   {206, 80, 160},
                                                   {104, 116, 128},
                                                   {146, 140, 0},
                                                   {0, 150, 178}}};
  return colours[number % colours.size()];
}

Colour shade(double part) {
  const double p = std::clamp(part, 0.0, 1.0);
  const auto mix = [p](std::uint8_t from, std::uint8_t to) {
    return static_cast<std::uint8_t>(std::lrint(from + p * (to - from)));
  };
  return {mix(paper.r, accent.r / 2), mix(paper.g, accent.g / 2), mix(paper.b, accent.b)};
}

}  // namespace style

namespace {

std::uint8_t* pixel(Image& image, index_t x, index_t y) { return image.rgb.data() + (y * image.width + x) * 3; }

double distance(const Point& p, const Point& a, const Point& b) {
  const double dx = b.x - a.x, dy = b.y - a.y, length = dx * dx + dy * dy;
  const double t = length > 0 ? std::clamp(((p.x - a.x) * dx + (p.y - a.y) * dy) / length, 0.0, 1.0) : 0;
  return std::hypot(p.x - a.x - t * dx, p.y - a.y - t * dy);
}

bool finite(const Point& p) { return std::isfinite(p.x) && std::isfinite(p.y); }

/// How much each pixel of a picture is covered.
class Mask {
 public:
  Mask(index_t width, index_t height)
      : width_(width), height_(height), cover_(static_cast<std::size_t>(width * height), 0) {}

  void segment(const Point& a, const Point& b, double thickness) {
    const double reach = thickness / 2 + 1;
    const auto low = [reach](double v, double w) { return std::max(std::floor(std::min(v, w) - reach), 0.0); };
    const auto high = [reach](double v, double w, index_t limit) {
      return std::min(std::ceil(std::max(v, w) + reach), static_cast<double>(limit));
    };
    for (auto y = static_cast<index_t>(low(a.y, b.y)); static_cast<double>(y) < high(a.y, b.y, height_); ++y)
      for (auto x = static_cast<index_t>(low(a.x, b.x)); static_cast<double>(x) < high(a.x, b.x, width_); ++x) {
        const double off = distance({static_cast<double>(x) + 0.5, static_cast<double>(y) + 0.5}, a, b);
        float& cover = cover_[static_cast<std::size_t>(y * width_ + x)];
        cover = std::max(cover, static_cast<float>(std::clamp(thickness / 2 - off + 0.5, 0.0, 1.0)));
      }
  }
  void blend(Image& image, Colour colour, float most) const {
    for (std::size_t i = 0; i < cover_.size(); ++i)
      if (cover_[i] > 0) io::blend(image.rgb.data() + i * 3, colour, cover_[i] * most);
  }

 private:
  index_t width_, height_;
  std::vector<float> cover_;
};

index_t aligned(index_t at, index_t extent, Align align) {
  return align == Align::left ? at : align == Align::centre ? at - extent / 2 : at - extent;
}

}  // namespace

index_t text_width(std::string_view text, index_t scale) {
  return static_cast<index_t>(text.size()) * io::glyph_advance * scale;
}

index_t text_height(index_t scale) { return io::glyph_rows * scale; }

std::string shortened(const std::string& text, std::size_t letters) {
  return text.size() <= letters ? text : text.substr(0, std::max<std::size_t>(letters, 2) - 2) + "..";
}

void Canvas::fill(const Area& area, Colour colour, float cover) {
  for (index_t y = std::max<index_t>(area.top, 0); y < std::min(area.bottom(), image_.height); ++y)
    for (index_t x = std::max<index_t>(area.left, 0); x < std::min(area.right(), image_.width); ++x)
      io::blend(pixel(image_, x, y), colour, cover);
}

void Canvas::frame(const Area& area, Colour colour) {
  fill({area.left, area.top, area.width, 1}, colour);
  fill({area.left, area.bottom() - 1, area.width, 1}, colour);
  fill({area.left, area.top, 1, area.height}, colour);
  fill({area.right() - 1, area.top, 1, area.height}, colour);
}

void Canvas::path(const std::vector<Point>& points, double thickness, Colour colour, float cover) {
  Mask mask(image_.width, image_.height);
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (!finite(points[i])) continue;
    const bool joined = i > 0 && finite(points[i - 1]);
    mask.segment(joined ? points[i - 1] : points[i], points[i], thickness);
  }
  mask.blend(image_, colour, cover);
}

void Canvas::text(index_t x, index_t y, std::string_view text, Align align, Colour colour, index_t scale) {
  draw_text(image_, aligned(x, text_width(text, scale), align), y, text, colour, scale);
}

void Canvas::text_upwards(index_t x, index_t y, std::string_view text, Align align, Colour colour, index_t scale) {
  if (text.empty()) return;
  // A strip of the picture, turned so that the text runs to the right, and turned back.
  Image strip(text_width(text, scale), text_height(scale), style::paper);
  const index_t bottom = y - aligned(0, strip.width, align);
  const auto turned = [&](const auto& move) {
    for (index_t along = 0; along < strip.width; ++along)
      for (index_t across = 0; across < strip.height; ++across) {
        const index_t px = x + across, py = bottom - 1 - along;
        if (px >= 0 && px < image_.width && py >= 0 && py < image_.height)
          move(pixel(strip, along, across), pixel(image_, px, py));
      }
  };
  turned([](std::uint8_t* own, const std::uint8_t* at) { std::copy_n(at, 3, own); });
  draw_text(strip, 0, 0, text, colour, scale);
  turned([](const std::uint8_t* own, std::uint8_t* at) { std::copy_n(own, 3, at); });
}

void Canvas::paste(const Image& image, index_t x, index_t y) {
  const index_t first = std::max<index_t>(-x, 0), columns = std::min(image.width, image_.width - x) - first;
  if (columns <= 0) return;
  for (index_t row = std::max<index_t>(-y, 0); row < std::min(image.height, image_.height - y); ++row)
    std::copy_n(image.rgb.begin() + (row * image.width + first) * 3, columns * 3,
                image_.rgb.begin() + ((y + row) * image_.width + x + first) * 3);
}

}  // namespace slimneck::train
