#include "train/shape_mask.hpp"

#include <algorithm>
#include <span>

namespace slimneck::train {

namespace {

constexpr index_t unit = 4096;  ///< radius of the outlines below
constexpr index_t lines = 4;    ///< in a row of pixels

constexpr std::array<Point, 4> square{{{-2896, -2896}, {2896, -2896}, {2896, 2896}, {-2896, 2896}}};
constexpr std::array<Point, 3> triangle{{{0, -4096}, {3547, 2048}, {-3547, 2048}}};
constexpr std::array<Point, 6> hexagon{
    {{4096, 0}, {2048, 3547}, {-2048, 3547}, {-4096, 0}, {-2048, -3547}, {2048, -3547}}};
constexpr std::array<Point, 10> star{{{0, -4096},
                                      {1011, -1392},
                                      {3895, -1266},
                                      {1636, 532},
                                      {2408, 3314},
                                      {0, 1720},
                                      {-2408, 3314},
                                      {-1636, 532},
                                      {-3895, -1266},
                                      {-1011, -1392}}};
constexpr std::array<Point, 12> cross{{{-1250, -3900},
                                       {1250, -3900},
                                       {1250, -1250},
                                       {3900, -1250},
                                       {3900, 1250},
                                       {1250, 1250},
                                       {1250, 3900},
                                       {-1250, 3900},
                                       {-1250, 1250},
                                       {-3900, 1250},
                                       {-3900, -1250},
                                       {-1250, -1250}}};
constexpr std::array<Point, 7> arrow{
    {{4096, 0}, {600, 2900}, {600, 1150}, {-3900, 1150}, {-3900, -1150}, {600, -1150}, {600, -2900}}};

/// Of the classes in their order; empty: made of circles.
constexpr std::array<std::span<const Point>, 8> outlines{{{}, square, triangle, hexagon, star, cross, {}, arrow}};

index_t floor_div(index_t a, index_t b) noexcept { return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0); }

Point turned(const Point& p, index_t scale, const Turn& turn, const Point& centre) noexcept {
  const index_t whole = unit * 16384;
  return {centre.x + floor_div((p.x * turn.cosine - p.y * turn.sine) * scale, whole),
          centre.y + floor_div((p.x * turn.sine + p.y * turn.cosine) * scale, whole)};
}

/// The largest number whose square is not above `value`.
index_t root(index_t value) noexcept {
  index_t result = 0;
  for (index_t bit = index_t{1} << 30; bit > 0; bit >>= 1)
    if ((result + bit) * (result + bit) <= value) result += bit;
  return result;
}

/// Where the line y enters and leaves the shape, in order.
std::vector<index_t> crossings(const Shape2d& shape, index_t y) {
  std::vector<index_t> found;
  const index_t dy = y - shape.centre.y;
  for (const index_t radius : shape.circles)
    if (dy > -radius && dy < radius) {
      const index_t reach = root(radius * radius - dy * dy);
      found.push_back(shape.centre.x - reach);
      found.push_back(shape.centre.x + reach);
    }
  for (std::size_t i = 0; i < shape.corners.size(); ++i) {
    const Point &a = shape.corners[i], &b = shape.corners[(i + 1) % shape.corners.size()];
    if ((a.y <= y) != (b.y <= y)) found.push_back(a.x + floor_div((b.x - a.x) * (y - a.y), b.y - a.y));
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// The rectangle of pixels around a shape.
Mask empty_mask(const Shape2d& shape) {
  Point low = shape.centre, high = shape.centre;
  const auto include = [&](const Point& p) {
    low = {std::min(low.x, p.x), std::min(low.y, p.y)};
    high = {std::max(high.x, p.x), std::max(high.y, p.y)};
  };
  for (const Point& corner : shape.corners) include(corner);
  for (const index_t radius : shape.circles) {
    include({shape.centre.x - radius, shape.centre.y - radius});
    include({shape.centre.x + radius, shape.centre.y + radius});
  }
  Mask mask;
  mask.left = floor_div(low.x, subpixels);
  mask.top = floor_div(low.y, subpixels);
  mask.width = floor_div(high.x, subpixels) + 1 - mask.left;
  mask.height = floor_div(high.y, subpixels) + 1 - mask.top;
  mask.cover.resize(static_cast<std::size_t>(mask.width * mask.height));
  return mask;
}

/// Adds a line from a to b, in subpixels from the row's begin.
void add_line(index_t a, index_t b, std::uint8_t* row) noexcept {
  for (index_t at = a; at < b;) {
    const index_t pixel = at / subpixels, end = std::min(b, (pixel + 1) * subpixels);
    row[pixel] = static_cast<std::uint8_t>(row[pixel] + end - at);
    at = end;
  }
}

}  // namespace

Turn draw_turn(Random& random) noexcept {
  constexpr index_t one = 16384, q = 256;
  const index_t p = random.below(2 * q) - q, whole = q * q + p * p;
  Turn turn{floor_div((q * q - p * p) * one, whole), floor_div(2 * p * q * one, whole)};
  for (index_t quarter = random.below(4); quarter > 0; --quarter) turn = {-turn.sine, turn.cosine};
  return turn;
}

Shape2d class_shape(int cls, const Point& centre, index_t radius, const Turn& turn) {
  Shape2d shape{centre, {}, {}};
  const std::span<const Point> outline = outlines.at(static_cast<std::size_t>(cls));
  for (const Point& p : outline) shape.corners.push_back(turned(p, radius, turn, centre));
  if (outline.empty()) shape.circles.push_back(radius);
  if (cls == ring_class) shape.circles.push_back(radius * 9 / 16);
  return shape;
}

Shape2d bar_shape(const Point& centre, index_t length, index_t width, const Turn& turn) {
  Shape2d shape{centre, {}, {}};
  for (const Point& p : {Point{-length, -width}, {length, -width}, {length, width}, {-length, width}})
    shape.corners.push_back(turned(p, unit / 2, turn, centre));
  return shape;
}

Mask mask_of(const Shape2d& shape) {
  Mask mask = empty_mask(shape);
  for (index_t line = 0; line < mask.height * lines; ++line) {
    const index_t y = mask.top * subpixels + line * (subpixels / lines) + subpixels / lines / 2;
    const std::vector<index_t> at = crossings(shape, y);
    for (std::size_t i = 0; i + 1 < at.size(); i += 2)
      add_line(at[i] - mask.left * subpixels, at[i + 1] - mask.left * subpixels,
               mask.cover.data() + line / lines * mask.width);
  }
  return mask;
}

}  // namespace slimneck::train
