// What the picture files share: limits, codecs, scaling into foreign memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "slimneck/image.hpp"

namespace slimneck::io {

inline constexpr index_t max_extent = 65535;
inline constexpr index_t max_pixels = index_t{64} << 20;
inline constexpr std::uint64_t max_picture_bytes = std::uint64_t{256} << 20;  ///< of a file

inline constexpr std::size_t max_exif_bytes = std::size_t{1} << 16;  ///< as much as a segment of a JPEG holds

/// A big-endian number of `bytes.size()` bytes.
std::uint32_t big_endian(std::span<const std::byte> bytes) noexcept;

/// Throws FormatError: "<name>: <format>: <what>".
[[noreturn]] void bad_picture(std::string_view name, std::string_view format, const std::string& what);

/// Throws FormatError unless a decoder may allocate a picture of these extents.
void check_extents(index_t width, index_t height, std::string_view name, std::string_view format);

/// Throws FormatError when decoding takes more than a program with a limit of 512 MiB can spare.
void check_memory(std::uint64_t bytes, std::string_view name, std::string_view format);

/// Throws ShapeError unless the picture is whole.
void check_image(const Image& image, const char* function);

/// Value 1..8 of the EXIF orientation in a TIFF structure; 1 when there is none or the structure is garbage.
int exif_orientation(std::span<const std::byte> tiff) noexcept;

/// The picture turned and mirrored as EXIF orientation `value` demands.
Image upright(Image image, int value);

Image decode_png(std::span<const std::byte> content, std::string_view name);
std::vector<std::byte> encode_png(const Image& image);

/// Of the kinds BM, and P1 to P6.
Image decode_bmp(std::span<const std::byte> content, std::string_view name);
Image decode_pnm(std::span<const std::byte> content, std::string_view name);

Image decode_jpeg(std::span<const std::byte> content, std::string_view name);
std::vector<std::byte> encode_jpeg(const Image& image, int quality);

/// What a JPEG's markers say, after they were found to be complete and of a kind that is read here.
struct JpegHeader {
  index_t width = 0, height = 0;
  int components = 0;
  int orientation = 1;
  bool ends = true;  ///< with its marker; else it ends within its last scan, of which all or a part may be there
  /// Where the last JFIF segment has its major revision, and the last Adobe segment its colour transform; 0: nowhere.
  std::size_t revision_at = 0, transform_at = 0;
};
JpegHeader check_jpeg(std::span<const std::byte> content, std::string_view name);

/// Covers the pixel at `at` with the colour: 0 not at all, 1 wholly.
void blend(std::uint8_t* at, Colour colour, float cover) noexcept;

/// resize_bilinear into rows that lie `pitch` bytes apart, beginning at `out`.
void resize_into(const Image& image, std::uint8_t* out, index_t pitch, index_t width, index_t height);

}  // namespace slimneck::io
