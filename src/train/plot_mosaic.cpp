// Mosaics of a batch, as YOLOv5's plot_images.
#include <algorithm>
#include <cmath>

#include "slimneck/error.hpp"
#include "train/plot_chart.hpp"

namespace slimneck {
namespace {

constexpr index_t most_pixels = 1920;
constexpr std::size_t most_tiles = 16;

void draw_tile(train::Canvas& canvas, const Tile& tile, const train::Area& area, double gain,
               std::span<const std::string> names, bool scores) {
  const auto scaled = [gain](index_t v) { return std::max<index_t>(std::lrint(static_cast<double>(v) * gain), 1); };
  Image picture = gain == 1 ? tile.image
                            : resize_bilinear(tile.image, std::min(scaled(tile.image.width), area.width),
                                              std::min(scaled(tile.image.height), area.height));
  const auto g = static_cast<float>(gain);
  for (auto d = tile.boxes.rbegin(); d != tile.boxes.rend(); ++d) {  // the first ones lie on top
    std::string label = train::name_of_class(names, d->cls);
    if (scores) {
      std::array<char, 16> text{};
      std::snprintf(text.data(), text.size(), " %.1f", static_cast<double>(d->score));
      label += text.data();
    }
    draw_box(picture, {d->x1 * g, d->y1 * g, d->x2 * g, d->y2 * g}, label, class_colour(d->cls), 2);
  }
  canvas.paste(picture, area.left, area.top);
  canvas.frame({area.left, area.top, area.width, area.height}, train::style::paper);
  const std::string caption = train::shortened(
      tile.caption, static_cast<std::size_t>(std::max<index_t>(area.width / train::text_width("x") - 1, 2)));
  canvas.fill({area.left + 1, area.top + 1, train::text_width(caption) + 6, train::text_height() + 4},
              train::style::ink, 0.6F);
  canvas.text(area.left + 4, area.top + 4, caption, train::Align::left, train::style::paper);
}

}  // namespace

Image plot_mosaic(std::span<const Tile> tiles, std::span<const std::string> names, bool scores) {
  if (tiles.empty()) throw ShapeError("plot_mosaic: no tiles");
  const std::span<const Tile> shown = tiles.first(std::min(tiles.size(), most_tiles));
  index_t width = 1, height = 1;
  for (const Tile& tile : shown) {
    width = std::max(width, tile.image.width);
    height = std::max(height, tile.image.height);
  }
  const auto across = static_cast<index_t>(std::ceil(std::sqrt(static_cast<double>(shown.size()))));
  const double gain =
      std::min(1.0, static_cast<double>(most_pixels) / static_cast<double>(across * std::max(width, height)));
  const auto cell = [gain](index_t v) {
    return std::max<index_t>(static_cast<index_t>(std::ceil(static_cast<double>(v) * gain)), 1);
  };
  const index_t w = cell(width), h = cell(height);
  const index_t rows = (static_cast<index_t>(shown.size()) + across - 1) / across;
  train::Canvas canvas(across * w, rows * h);
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const auto at = static_cast<index_t>(i);
    draw_tile(canvas, shown[i], {at % across * w, at / across * h, w, h}, gain, names, scores);
  }
  return canvas.take();
}

}  // namespace slimneck
