// Pictures made of other pictures.
#pragma once

#include "slimneck/image.hpp"
#include "train/picture_box.hpp"

namespace slimneck::train {

/// A rectangle of pixels; x2 and y2 are behind its last ones.
struct PixelRect {
  index_t x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  friend bool operator==(const PixelRect&, const PixelRect&) = default;
};

/// Where a picture goes in a mosaic.
struct MosaicTile {
  PixelRect canvas, source;   ///< pixels of `source` go to `canvas`
  index_t left = 0, top = 0;  ///< where the whole picture would begin
};

/// The place of picture `corner` (0 top left, 1 top right, 2 bottom left, 3 bottom right), which touches the point
/// (x, y) of a canvas of `extent` x `extent`.
MosaicTile mosaic_tile(int corner, index_t extent, index_t x, index_t y, const Extents& picture) noexcept;

/// Copies the tile's pixels.
void paste(const Image& picture, const MosaicTile& tile, Image& canvas) noexcept;

/// Every level becomes share * first + (1 - share) * second, rounded down. Both have the same extents.
void mix(Image& first, const Image& second, double share) noexcept;

/// Left becomes right; top becomes bottom.
void mirror_x(Image& image) noexcept;
void mirror_y(Image& image) noexcept;

}  // namespace slimneck::train
