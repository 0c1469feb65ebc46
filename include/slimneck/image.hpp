// Pictures: reading, writing, the way into a network (letterbox) and drawing of what it found.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "slimneck/export.hpp"
#include "slimneck/tensor.hpp"

namespace slimneck {

/// Red, green and blue, 0..255.
struct Colour {
  std::uint8_t r = 0, g = 0, b = 0;                                ///< red, green, blue
  friend bool operator==(const Colour&, const Colour&) = default;  ///< the same colour
};

/// 8-bit RGB, row by row, three bytes a pixel. Functions that take one throw ShapeError unless rgb has exactly
/// width * height * 3 bytes and the picture is not empty.
struct Image {
  index_t width = 0, height = 0;  ///< in pixels
  std::vector<std::uint8_t> rgb;  ///< r g b r g b ... from the top left corner, row by row

  Image() = default;
  /// A picture of one colour; throws ShapeError when an extent is not in 1..65535 or there are more than 64 Mi pixels.
  SLIMNECK_EXPORT Image(index_t columns, index_t rows, Colour fill = {});
};

/// Decodes a JPEG (baseline, extended, progressive; grey, colour, CMYK), a PNG (every kind), a BMP (uncompressed) or a
/// PBM, PGM or PPM. The format is told from the content; `name` is for messages. Grey becomes three equal channels,
/// alpha is dropped, of 16 bits the high byte is kept, and the EXIF orientation is applied, so that the picture stands
/// upright as in OpenCV. Throws FormatError on
/// other formats (by name), on truncated or damaged content, and when an extent is not in 1..65535 or there are more
/// than 64 Mi pixels; that is known before memory is taken. Bytes after the picture's end are ignored.
SLIMNECK_EXPORT Image decode_image(std::span<const std::byte> content, std::string_view name);

/// decode_image for a regular file of at most 256 MiB; IoError when it cannot be read.
SLIMNECK_EXPORT Image read_image(const std::filesystem::path& path);

/// Width and height in pixels of a picture that stands upright.
struct Extents {
  index_t width = 0, height = 0;                                     ///< in pixels
  friend bool operator==(const Extents&, const Extents&) = default;  ///< equal in both
};

/// The extents that read_image would give, from the headers of a file alone; only of a rare kind more than a few
/// kilobytes are read. Throws as read_image, but damage behind the headers is not noticed.
SLIMNECK_EXPORT Extents read_extents(const std::filesystem::path& path);
/// The same for a picture in memory.
SLIMNECK_EXPORT Extents image_extents(std::span<const std::byte> content, std::string_view name);

/// Writes .jpg/.jpeg (quality 95, 4:2:0) or .png. `path` is replaced when everything is on the disk, otherwise it stays
/// as it was. Throws FormatError on another extension, IoError when writing fails.
SLIMNECK_EXPORT void write_image(const std::filesystem::path& path, const Image& image);

/// Which library decodes JPEG: "libjpeg-turbo" or "stb". Pixels of the two may differ by a few levels, and stb does not
/// notice damage inside the compressed data.
SLIMNECK_EXPORT std::string_view jpeg_decoder() noexcept;

/// The picture with new extents: bilinear without antialiasing, in the fixed-point arithmetic (and with the 2x2 mean
/// for exact halving) of OpenCV's INTER_LINEAR. Throws ShapeError as Image's constructor does.
SLIMNECK_EXPORT Image resize_bilinear(const Image& image, index_t width, index_t height);

/// The picture made smaller: each new pixel is the mean of what it covers, as OpenCV's INTER_AREA computes it, which
/// YOLOv5 validates with. Where an extent grows it is resize_bilinear. Throws ShapeError as Image's constructor does.
SLIMNECK_EXPORT Image resize_area(const Image& image, index_t width, index_t height);

/// How a picture is fitted into a network's input without changing its aspect: scaled, then padded on all sides.
struct Letterbox {
  double gain = 1;                                   ///< network pixels per picture pixel
  index_t resized_w = 0, resized_h = 0;              ///< extents after scaling
  double pad_w = 0, pad_h = 0;                       ///< padding of one side before it is rounded
  index_t top = 0, bottom = 0, left = 0, right = 0;  ///< padding in pixels
  /// Width of the network's input.
  [[nodiscard]] index_t out_w() const noexcept { return resized_w + left + right; }
  /// Height of the network's input.
  [[nodiscard]] index_t out_h() const noexcept { return resized_h + top + bottom; }
};

/// YOLOv5's rule for a h x w picture and a new_h x new_w input. `minimum` (auto) pads only up to a multiple of `stride`
/// instead of the whole input; without `scaleup` a small picture is not enlarged. Throws ShapeError on extents < 1.
SLIMNECK_EXPORT Letterbox letterbox_geometry(index_t h, index_t w, index_t new_h, index_t new_w, bool minimum,
                                             bool scaleup = true, index_t stride = 32);

/// The scaled picture on grey (114) ground, out_w() x out_h().
SLIMNECK_EXPORT Image letterbox(const Image& image, const Letterbox& geometry);

/// Writes the picture as numbers 0..1 into `out`, a 1 x 3 x height x width view (channels R, G, B).
SLIMNECK_EXPORT void image_to_tensor(const Image& image, View<float> out);
/// The same as a new tensor.
SLIMNECK_EXPORT Tensor image_to_tensor(const Image& image);

/// A colour for each class number: neighbours differ clearly, and every colour is bright enough for the eye.
SLIMNECK_EXPORT Colour class_colour(int cls) noexcept;

/// Thickness of boxes that suits the picture's size: max(round((width + height) / 2 * 0.003), 2).
SLIMNECK_EXPORT index_t line_width(const Image& image);

/// Draws a frame `thickness` pixels wide around x1 y1 x2 y2 (pixels), and above it (inside where there is no room) a
/// filled plate with `label`, in ASCII; other bytes show as '?'. Parts outside the picture are cut off; a box with a
/// coordinate that is not finite is not drawn.
SLIMNECK_EXPORT void draw_box(Image& image, const std::array<float, 4>& xyxy, std::string_view label, Colour colour,
                              index_t thickness);

/// Draws one line of text whose capitals are 7 * scale pixels high, their top left corner at (x, y). Cut off at the
/// edges.
SLIMNECK_EXPORT void draw_text(Image& image, index_t x, index_t y, std::string_view text, Colour colour, index_t scale);

}  // namespace slimneck
