// BMP: uncompressed, with 1 to 32 bits a pixel. The format has no checksums; what can be checked is that sizes agree,
// that the pixels lie inside the file and that every palette index has a colour.
#include <array>
#include <bit>
#include <limits>

#include "io/image_detail.hpp"

namespace slimneck::io {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::size_t file_header = 14;

[[noreturn]] void fail(std::string_view name, const std::string& what) { bad_picture(name, "BMP", what); }

std::uint32_t little_endian(Bytes bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = bytes.size(); i-- > 0;) value = value << 8 | std::to_integer<std::uint32_t>(bytes[i]);
  return value;
}

/// One channel of a pixel of 16 or 32 bits.
struct Mask {
  std::uint32_t bits = 0;

  [[nodiscard]] std::uint8_t of(std::uint32_t pixel) const {
    if (bits == 0) return 0;
    const int shift = std::countr_zero(bits);
    const std::uint64_t value = (pixel & bits) >> shift, most = bits >> shift;
    return static_cast<std::uint8_t>((value * 255 + most / 2) / most);
  }
  [[nodiscard]] bool in_one_piece() const {
    const std::uint32_t moved = bits == 0 ? 0 : bits >> std::countr_zero(bits);
    return (moved & (moved + 1)) == 0;
  }
};

struct Header {
  index_t width = 0, height = 0;
  bool top_down = false;
  unsigned bits = 0;
  std::array<Mask, 3> masks{};  ///< red, green, blue of 16 and 32 bits
  Bytes palette;                ///< blue, green, red and, in all but the oldest kind, a byte that says nothing
  std::size_t palette_step = 4;
  std::size_t pixels = 0;  ///< first byte of the pixels
};

class Reader {
 public:
  Reader(Bytes content, std::string_view name) : content_(content), name_(name) {}

  Image read() {
    read_header();
    const std::size_t pitch = (static_cast<std::size_t>(h_.width) * h_.bits + 31) / 32 * 4;
    const auto rows = static_cast<std::size_t>(h_.height);
    if (h_.pixels > content_.size() || pitch > (content_.size() - h_.pixels) / rows) truncated();
    Image image(h_.width, h_.height);
    for (std::size_t y = 0; y < rows; ++y) {
      const std::size_t target = h_.top_down ? y : rows - 1 - y;
      row(content_.subspan(h_.pixels + y * pitch, pitch),
          image.rgb.data() + target * static_cast<std::size_t>(h_.width) * 3);
    }
    return image;
  }

 private:
  [[noreturn]] void truncated() const { fail(name_, "truncated"); }

  std::uint32_t number(std::size_t at, std::size_t count) const {
    if (content_.size() < at + count) truncated();
    return little_endian(content_.subspan(at, count));
  }

  void read_header() {
    constexpr std::size_t oldest = 12;
    h_.pixels = number(10, 4);
    const std::size_t size = number(file_header, 4);
    const std::size_t end = file_header + size;
    if (size == oldest) {
      h_.width = number(18, 2);
      h_.height = number(20, 2);
      h_.palette_step = 3;
      check_kind(number(22, 2), number(24, 2), 0);
      read_palette(end, 0);
    } else if (size >= 40 && size <= 124) {
      h_.width = static_cast<std::int32_t>(number(18, 4));
      const index_t height = static_cast<std::int32_t>(number(22, 4));
      h_.top_down = height < 0;
      h_.height = height < 0 ? -height : height;
      const std::uint32_t compression = number(30, 4);
      check_kind(number(26, 2), number(28, 2), compression);
      const bool masks = compression == bit_fields || compression == bit_fields_alpha;
      read_masks(masks);
      // In the 40-byte kind the masks stand behind the header, later ones hold them.
      const std::size_t behind = masks && size == 40 ? (compression == bit_fields ? 12 : 16) : 0;
      read_palette(end + behind, number(46, 4));
    } else {
      fail(name_, "header of " + std::to_string(size) + " bytes is of no known kind");
    }
    if (h_.pixels < end) fail(name_, "damaged: pixels inside the header");
  }

  void check_kind(std::uint32_t planes, std::uint32_t bits, std::uint32_t compression) {
    constexpr std::array<const char*, 7> kinds{"", "RLE8", "RLE4", "", "JPEG", "PNG", ""};
    check_extents(h_.width, h_.height, name_, "BMP");
    if (planes != 1) fail(name_, "damaged: " + std::to_string(planes) + " planes");
    if (compression >= kinds.size()) fail(name_, "compression " + std::to_string(compression) + " is not known");
    if (*kinds[compression] != '\0') fail(name_, std::string(kinds[compression]) + " compression is not supported");
    const bool masks = compression != 0;
    const bool known = bits == 16 || bits == 32 || (!masks && (bits == 1 || bits == 4 || bits == 8 || bits == 24));
    if (!known) fail(name_, std::to_string(bits) + " bits per pixel");
    h_.bits = bits;
  }

  void read_masks(bool given) {
    if (given)
      for (std::size_t i = 0; i < 3; ++i) h_.masks[i].bits = number(54 + 4 * i, 4);
    else if (h_.bits == 16)
      h_.masks = {Mask{0x7c00}, Mask{0x03e0}, Mask{0x001f}};
    else
      h_.masks = {Mask{0xff0000}, Mask{0x00ff00}, Mask{0x0000ff}};
    for (const Mask& mask : h_.masks)
      if (!mask.in_one_piece() || (h_.bits == 16 && mask.bits > 0xffff)) fail(name_, "damaged: strange colour masks");
  }

  void read_palette(std::size_t at, std::size_t colours) {
    if (h_.bits > 8) return;
    const std::size_t most = std::size_t{1} << h_.bits;
    if (colours > most) fail(name_, "a palette of " + std::to_string(colours) + " colours");
    if (colours == 0) colours = most;
    const std::size_t length = colours * h_.palette_step;
    if (at > content_.size() || length > content_.size() - at) truncated();
    if (at + length > h_.pixels) fail(name_, "damaged: pixels inside the palette");
    h_.palette = content_.subspan(at, length);
  }

  void row(Bytes line, std::uint8_t* out) const {
    for (std::size_t x = 0; x < static_cast<std::size_t>(h_.width); ++x, out += 3) {
      if (h_.bits <= 8) {
        const std::size_t bit = x * h_.bits;
        const unsigned byte = std::to_integer<unsigned>(line[bit / 8]);
        const std::size_t index = byte >> (8 - h_.bits - bit % 8) & ((1U << h_.bits) - 1);
        if ((index + 1) * h_.palette_step > h_.palette.size())
          fail(name_, "damaged: colour " + std::to_string(index) + " is not in the palette");
        reversed(h_.palette.subspan(index * h_.palette_step, 3), out);
      } else if (h_.bits == 24) {
        reversed(line.subspan(x * 3, 3), out);
      } else {
        const std::uint32_t pixel = little_endian(line.subspan(x * h_.bits / 8, h_.bits / 8));
        for (std::size_t c = 0; c < 3; ++c) out[c] = h_.masks[c].of(pixel);
      }
    }
  }

  static void reversed(Bytes bgr, std::uint8_t* rgb) {
    for (std::size_t c = 0; c < 3; ++c) rgb[c] = std::to_integer<std::uint8_t>(bgr[2 - c]);
  }

  static constexpr std::uint32_t bit_fields = 3, bit_fields_alpha = 6;

  Bytes content_;
  std::string_view name_;
  Header h_;
};

}  // namespace

Image decode_bmp(Bytes content, std::string_view name) { return Reader(content, name).read(); }

}  // namespace slimneck::io
