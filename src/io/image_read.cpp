#include <algorithm>
#include <array>
#include <cstring>

#include "io/files.hpp"
#include "io/image_detail.hpp"

namespace slimneck {
namespace {

bool begins_with(std::span<const std::byte> content, std::string_view magic, std::size_t at = 0) {
  return content.size() >= at + magic.size() && std::memcmp(content.data() + at, magic.data(), magic.size()) == 0;
}

// The name of a format that is known but not read.
std::string_view foreign_format(std::span<const std::byte> content) {
  struct Magic {
    std::string_view bytes, name;
    std::size_t at = 0;
  };
  using namespace std::string_view_literals;
  static constexpr std::array<Magic, 16> known{{{"GIF8"sv, "GIF"},
                                                {"WEBP"sv, "WebP", 8},
                                                {"II*\0"sv, "TIFF"},
                                                {"MM\0*"sv, "TIFF"},
                                                {"8BPS"sv, "PSD"},
                                                {"#?RADIANCE"sv, "HDR"},
                                                {"PF"sv, "PFM"},
                                                {"Pf"sv, "PFM"},
                                                {"P7"sv, "PAM"},
                                                {"ftypavif"sv, "AVIF", 4},
                                                {"ftyp"sv, "HEIF", 4},
                                                {"\xff\x0a"sv, "JPEG XL"},
                                                {"\0\0\0\x0cjP  "sv, "JPEG 2000"},
                                                {"%PDF"sv, "PDF"},
                                                {"YUV4MPEG2 "sv, "a Y4M video, whose name must end with .y4m"},
                                                {"version https://git-lfs"sv, "Git LFS pointer"}}};
  for (const Magic& magic : known)
    if (begins_with(content, magic.bytes, magic.at)) return magic.name;
  return "unknown";
}

bool is_pnm(std::span<const std::byte> content) {
  return content.size() > 2 && begins_with(content, "P") && content[1] >= std::byte{'1'} &&
         content[1] <= std::byte{'6'} && (content[2] <= std::byte{' '} || content[2] == std::byte{'#'});
}

}  // namespace

Image::Image(index_t columns, index_t rows, Colour fill) : width(columns), height(rows) {
  if (std::min(columns, rows) < 1 || std::max(columns, rows) > io::max_extent || columns * rows > io::max_pixels)
    throw ShapeError("Image: " + std::to_string(columns) + "x" + std::to_string(rows) +
                     " pixels, wanted extents in 1..65535 and at most 64 Mi pixels");
  rgb.resize(static_cast<std::size_t>(columns * rows) * 3);
  if (fill == Colour{}) return;
  for (std::size_t i = 0; i < rgb.size(); i += 3) {
    rgb[i] = fill.r;
    rgb[i + 1] = fill.g;
    rgb[i + 2] = fill.b;
  }
}

Image decode_image(std::span<const std::byte> content, std::string_view name) {
  if (content.empty()) throw FormatError(std::string(name) + ": empty file, wanted a JPEG, PNG, BMP or PNM picture");
  if (begins_with(content, "\xff\xd8\xff")) return io::decode_jpeg(content, name);
  if (begins_with(content, "\x89PNG\r\n\x1a\n")) return io::decode_png(content, name);
  if (begins_with(content, "BM")) return io::decode_bmp(content, name);
  if (is_pnm(content)) return io::decode_pnm(content, name);
  throw FormatError(std::string(name) + ": picture format not supported (" + std::string(foreign_format(content)) +
                    "), wanted JPEG, PNG, BMP or PNM");
}

Image read_image(const std::filesystem::path& path) {
  return decode_image(io::read_file(path, io::max_picture_bytes), path.string());
}

namespace io {

std::uint32_t big_endian(std::span<const std::byte> bytes) noexcept {
  std::uint32_t value = 0;
  for (const std::byte b : bytes) value = value << 8 | std::to_integer<std::uint32_t>(b);
  return value;
}

void bad_picture(std::string_view name, std::string_view format, const std::string& what) {
  throw FormatError(std::string(name) + ": " + std::string(format) + ": " + what);
}

void check_extents(index_t width, index_t height, std::string_view name, std::string_view format) {
  if (std::min(width, height) < 1 || std::max(width, height) > max_extent || width * height > max_pixels)
    bad_picture(name, format,
                std::to_string(width) + "x" + std::to_string(height) +
                    " pixels, wanted extents in 1..65535 and at most 64 Mi pixels");
}

void check_memory(std::uint64_t bytes, std::string_view name, std::string_view format) {
  constexpr unsigned mebi = 20;
  constexpr std::uint64_t most = 448;  // besides it there is the program itself
  if (bytes >> mebi >= most)
    bad_picture(
        name, format,
        "decoding takes " + std::to_string(bytes >> mebi) + " MiB of memory, the limit is " + std::to_string(most));
}

void check_image(const Image& image, const char* function) {
  const bool whole = image.width > 0 && image.height > 0 && image.width <= max_extent && image.height <= max_extent &&
                     image.rgb.size() == static_cast<std::size_t>(image.width * image.height) * 3;
  if (!whole)
    throw ShapeError(std::string(function) + ": a picture of " + std::to_string(image.width) + "x" +
                     std::to_string(image.height) + " pixels with " + std::to_string(image.rgb.size()) + " bytes");
}

int exif_orientation(std::span<const std::byte> tiff) noexcept {
  const bool little = begins_with(tiff, std::string_view("II*\0", 4));
  if (!little && !begins_with(tiff, std::string_view("MM\0*", 4))) return 1;
  const auto number = [&](std::size_t at, std::size_t count) {
    std::array<std::byte, 4> bytes{};
    std::copy_n(tiff.begin() + static_cast<std::ptrdiff_t>(at), count, bytes.begin());
    if (little) std::reverse(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
    return big_endian(std::span(bytes).first(count));
  };
  constexpr std::size_t field = 12;  // bytes of one directory entry: tag 2, type 2, count 4, value 4
  if (tiff.size() < 8) return 1;
  const std::size_t directory = number(4, 4);
  if (directory > tiff.size() - 2 || tiff.size() < 10) return 1;
  const std::size_t fields = number(directory, 2);
  for (std::size_t i = 0; i < fields; ++i) {
    const std::size_t at = directory + 2 + i * field;
    if (at + field > tiff.size()) return 1;
    if (number(at, 2) != 0x0112) continue;
    const std::uint32_t value = number(at + 8, 2);
    return number(at + 2, 2) == 3 && value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(Image image, int value) {
  if (value <= 1 || value > 8) return image;
  // Values 5..8 exchange rows and columns; beyond that each value is a pair of mirrors.
  const bool swap = value >= 5;
  const bool mirror_x = value == 2 || value == 3 || value == 7 || value == 8;  // in the stored picture
  const bool mirror_y = value == 3 || value == 4 || value == 6 || value == 7;
  Image out(swap ? image.height : image.width, swap ? image.width : image.height);
  for (index_t y = 0; y < out.height; ++y)
    for (index_t x = 0; x < out.width; ++x) {
      const index_t u = swap ? y : x, v = swap ? x : y;
      const index_t from = (mirror_y ? image.height - 1 - v : v) * image.width + (mirror_x ? image.width - 1 - u : u);
      std::copy_n(image.rgb.begin() + from * 3, 3, out.rgb.begin() + (y * out.width + x) * 3);
    }
  return out;
}

}  // namespace io
}  // namespace slimneck
