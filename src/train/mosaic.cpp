#include "train/mosaic.hpp"

#include <algorithm>

namespace slimneck::train {

MosaicTile mosaic_tile(int corner, index_t extent, index_t x, index_t y, const Extents& picture) noexcept {
  const auto along = [extent](bool before, index_t at, index_t size, index_t& to1, index_t& to2, index_t& from1,
                              index_t& from2) {
    to1 = before ? std::max<index_t>(at - size, 0) : at;
    to2 = before ? at : std::min(at + size, extent);
    from1 = before ? size - (to2 - to1) : 0;
    from2 = from1 + to2 - to1;
  };
  MosaicTile tile;
  PixelRect &to = tile.canvas, &from = tile.source;
  along(corner % 2 == 0, x, picture.width, to.x1, to.x2, from.x1, from.x2);
  along(corner < 2, y, picture.height, to.y1, to.y2, from.y1, from.y2);
  tile.left = to.x1 - from.x1;
  tile.top = to.y1 - from.y1;
  return tile;
}

void paste(const Image& picture, const MosaicTile& tile, Image& canvas) noexcept {
  const PixelRect &from = tile.source, &to = tile.canvas;
  for (index_t row = 0; row < to.y2 - to.y1; ++row)
    std::copy_n(picture.rgb.data() + ((from.y1 + row) * picture.width + from.x1) * 3, (to.x2 - to.x1) * 3,
                canvas.rgb.data() + ((to.y1 + row) * canvas.width + to.x1) * 3);
}

void mix(Image& first, const Image& second, double share) noexcept {
  for (std::size_t i = 0; i < first.rgb.size(); ++i)
    first.rgb[i] = static_cast<std::uint8_t>(first.rgb[i] * share + second.rgb[i] * (1 - share));
}

void mirror_x(Image& image) noexcept {
  for (index_t y = 0; y < image.height; ++y) {
    std::uint8_t* row = image.rgb.data() + y * image.width * 3;
    for (index_t x = 0; x < image.width / 2; ++x)
      std::swap_ranges(row + x * 3, row + x * 3 + 3, row + (image.width - 1 - x) * 3);
  }
}

void mirror_y(Image& image) noexcept {
  const index_t pitch = image.width * 3;
  for (index_t y = 0; y < image.height / 2; ++y)
    std::swap_ranges(image.rgb.data() + y * pitch, image.rgb.data() + (y + 1) * pitch,
                     image.rgb.data() + (image.height - 1 - y) * pitch);
}

}  // namespace slimneck::train
