// PBM, PGM and PPM, in letters (P1 P2 P3) and in bytes (P4 P5 P6).
#include <array>

#include "io/image_detail.hpp"

namespace slimneck::io {
namespace {

class Reader {
 public:
  Reader(std::span<const std::byte> content, std::string_view name) : content_(content), name_(name) {}

  Image read() {
    kind_ = take() == 'P' ? take() - '0' : 0;
    const index_t width = number("the width"), height = number("the height");
    check_extents(width, height, name_, "PNM");
    if (!bitmap()) most_ = number("the largest value");
    if (most_ < 1 || most_ > 65535) fail("largest value " + std::to_string(most_) + ", wanted 1..65535");
    if (letters())
      skip_space();
    else if (!is_space(take()))
      fail("damaged: no space before the pixels");
    // Before memory is taken: a picture in letters has at least a byte a number.
    const auto numbers = static_cast<std::size_t>(width * height) * (colour() ? 3 : 1);
    const std::size_t least = kind_ == 4  ? static_cast<std::size_t>((width + 7) / 8 * height)
                              : letters() ? numbers
                                          : numbers * (most_ > 255 ? 2 : 1);
    if (least > content_.size() - at_) fail("truncated");
    Image image(width, height);
    fill(image);
    return image;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { bad_picture(name_, "PNM", what); }
  [[nodiscard]] bool letters() const { return kind_ <= 3; }
  [[nodiscard]] bool bitmap() const { return kind_ == 1 || kind_ == 4; }
  [[nodiscard]] bool colour() const { return kind_ == 3 || kind_ == 6; }
  static bool is_space(int c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

  int take() {
    if (at_ == content_.size()) fail("truncated");
    return std::to_integer<int>(content_[at_++]);
  }
  [[nodiscard]] int peek() const { return at_ < content_.size() ? std::to_integer<int>(content_[at_]) : -1; }

  /// Spaces, and comments from # to the end of their line.
  void skip_space() {
    while (is_space(peek()) || peek() == '#')
      if (take() == '#')
        while (peek() >= 0 && peek() != '\n' && peek() != '\r') ++at_;
  }
  index_t number(const char* what) {
    skip_space();
    index_t value = 0;
    if (peek() < '0' || peek() > '9')
      fail(std::string(peek() < 0 ? "truncated" : "damaged") + ": no number for " + what);
    while (peek() >= '0' && peek() <= '9') {
      value = value * 10 + (take() - '0');
      if (value > max_pixels) fail(std::string("damaged: the number for ") + what + " is too large");
    }
    return value;
  }

  void fill(Image& image) {
    for (index_t y = 0; y < image.height; ++y)
      for (index_t x = 0; x < image.width; ++x) {
        std::uint8_t* rgb = image.rgb.data() + (y * image.width + x) * 3;
        if (kind_ == 4) {
          if (x % 8 == 0) byte_ = take();
          rgb[0] = ink(byte_ >> (7 - x % 8) & 1);
        } else {
          rgb[0] = sample();
        }
        rgb[1] = colour() ? sample() : rgb[0];
        rgb[2] = colour() ? sample() : rgb[0];
      }
  }
  /// In bitmaps 1 is ink.
  static std::uint8_t ink(int bit) { return bit != 0 ? 0 : 255; }

  std::uint8_t sample() {
    if (kind_ == 1) {  // digits need no space between them
      skip_space();
      const int digit = take();
      if (digit != '0' && digit != '1') fail("damaged: a pixel that is neither 0 nor 1");
      return ink(digit - '0');
    }
    index_t value = letters() ? number("a pixel") : take();
    if (!letters() && most_ > 255) value = value << 8 | take();
    if (value > most_)
      fail("damaged: " + std::to_string(value) + " is above the largest value " + std::to_string(most_));
    // Of 16 bits the high byte is kept, as in PNG.
    return static_cast<std::uint8_t>(most_ == 65535 ? value >> 8 : (value * 255 + most_ / 2) / most_);
  }

  std::span<const std::byte> content_;
  std::string_view name_;
  std::size_t at_ = 0;
  int kind_ = 0, byte_ = 0;
  index_t most_ = 1;
};

}  // namespace

Image decode_pnm(std::span<const std::byte> content, std::string_view name) { return Reader(content, name).read(); }

}  // namespace slimneck::io
