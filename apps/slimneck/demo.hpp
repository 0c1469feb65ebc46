// The parts of `slimneck demo`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "slimneck/image.hpp"

namespace slimneck::cli {

/// A street of coloured shapes, 640 x 420; the same for the same seed on every machine.
Image drawn_picture(std::uint64_t seed);

/// Pictures of one size side by side, each under its title.
struct Panel {
  Image image;
  std::string title;
};
Image side_by_side(std::span<const Panel> panels);

/// Mean magnitude over the channels of a 1 x c x h x w map, as colours from black (least) to white (most), each cell
/// enlarged to size/h x size/w pixels.
Image heat_map(View<const float> map, index_t size);

}  // namespace slimneck::cli
