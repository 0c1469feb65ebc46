// RGB to luma and chroma and back, 8 bits, by ITU-R BT.601.
#pragma once

#include <cstddef>
#include <span>

#include "slimneck/image.hpp"

namespace slimneck::io {

/// How the planes Y, U and V of a picture lie one behind the other, without gaps. A chroma sample stands for
/// step_x * step_y pixels, fewer at the right and lower edge.
struct PlaneLayout {
  index_t width = 0, height = 0;
  index_t step_x = 1, step_y = 1;
  bool mono = false;        ///< no U and V
  bool full_range = false;  ///< 0..255 for all; else Y is in 16..235, U and V in 16..240

  [[nodiscard]] index_t chroma_width() const noexcept { return mono ? 0 : (width + step_x - 1) / step_x; }
  [[nodiscard]] index_t chroma_height() const noexcept { return mono ? 0 : (height + step_y - 1) / step_y; }
  [[nodiscard]] std::size_t bytes() const noexcept {
    return static_cast<std::size_t>(width * height + 2 * chroma_width() * chroma_height());
  }
};

/// `planes` has layout.bytes() bytes.
Image image_of_planes(const PlaneLayout& layout, std::span<const std::byte> planes);
/// The picture has the layout's extents, `planes` its bytes.
void planes_of_image(const Image& image, const PlaneLayout& layout, std::span<std::byte> planes);

}  // namespace slimneck::io
