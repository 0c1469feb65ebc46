// BMP and PNM pictures: every kind that is read, and everything that is damaged.
#include <doctest/doctest.h>

#include <chrono>
#include <fstream>

#include "python.hpp"
#include "slimneck/image.hpp"
#include "temporary_folder.hpp"

using namespace slimneck;
using namespace std::string_literals;

namespace {

std::string little(std::int64_t value, int count) {
  std::string out;
  for (int i = 0; i < count; ++i)
    out += static_cast<char>(i < 8 ? static_cast<std::uint64_t>(value) >> (8 * i) & 0xff : 0);
  return out;
}

struct Bmp {
  std::int32_t width = 3, height = 2;
  int bits = 24, compression = 0, colours = 0, header = 40;
  std::string masks = {}, palette = {}, pixels = {};

  [[nodiscard]] std::string file() const {
    const std::string rest = masks + palette;
    const std::size_t offset = 14 + static_cast<std::size_t>(header) + rest.size();
    std::string dib = header == 12
                          ? little(12, 4) + little(width, 2) + little(height, 2) + little(1, 2) + little(bits, 2)
                          : little(header, 4) + little(width, 4) + little(height, 4) + little(1, 2) + little(bits, 2) +
                                little(compression, 4) + little(0, 12) + little(colours, 4) + little(0, 4);
    dib.resize(static_cast<std::size_t>(header), '\0');
    return "BM" + little(static_cast<std::int64_t>(offset + pixels.size()), 4) + little(0, 4) +
           little(static_cast<std::int64_t>(offset), 4) + dib + rest + pixels;
  }
};

Image decode(const std::string& content) { return decode_image(std::as_bytes(std::span(content)), "p"); }

std::string refusal(const std::string& content) {
  try {
    static_cast<void>(decode(content));
  } catch (const FormatError& problem) {
    return problem.what();
  }
  return "accepted";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

using Rgb = std::vector<std::uint8_t>;

// Two rows of three pixels, from the top: red, green, blue; black, grey, white.
const Rgb six{255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 128, 128, 128, 255, 255, 255};
const std::string top = "\0\0\xff\0\xff\0\xff\0\0"s, bottom = "\0\0\0\x80\x80\x80\xff\xff\xff"s, fill = "\0\0\0"s;
const std::string colours = "\0\0\xff\0\0\xff\0\0\xff\0\0\0\0\0\0\0\x80\x80\x80\0\xff\xff\xff\0"s;

std::vector<Bmp> kinds() {
  std::string oldest;
  for (std::size_t i = 0; i < colours.size(); i += 4) oldest += colours.substr(i, 3);
  const std::string wide = "\0\0\xff\0\0\xff\0\0\xff\0\0\0"s, wide_bottom = "\0\0\0\0\x80\x80\x80\0\xff\xff\xff\0"s;
  return {{.pixels = bottom + fill + top + fill},
          {.height = -2, .pixels = top + fill + bottom + fill},
          {.header = 12, .pixels = bottom + fill + top + fill},
          {.header = 124, .pixels = bottom + fill + top + fill},
          {.bits = 32, .pixels = wide_bottom + wide},
          {.bits = 8, .colours = 6, .palette = colours, .pixels = "\3\4\5\0\0\1\2\0"s},
          {.bits = 4, .colours = 6, .palette = colours, .pixels = "\x34\x50\0\0\x01\x20\0\0"s},
          {.bits = 8, .header = 12, .palette = oldest + std::string(250 * 3, '\0'), .pixels = "\3\4\5\0\0\1\2\0"s},
          // Red in the lowest byte.
          {.bits = 32,
           .compression = 3,
           .masks = "\xff\0\0\0\0\xff\0\0\0\0\xff\0"s,
           .pixels = "\0\0\0\0\x80\x80\x80\0\xff\xff\xff\0\xff\0\0\0\0\xff\0\0\0\0\xff\0"s}};
}

std::vector<std::pair<std::string, Rgb>> bitmaps() {
  const std::string rgb(six.begin(), six.end());
  std::string wide;
  for (const char c : rgb) wide += std::string(1, c) + "\x7f";
  return {{"P6\n3 2\n255\n" + rgb, six},
          {"P6 3 2 65535 " + wide, six},
          {"P3\n# a comment\n3 2 # another\n255\n255 0 0  0 255 0  0 0 255\n0 0 0 128 128 128 255 255 255", six},
          {"P5 2 1 255\n\x01\xfe"s, {1, 1, 1, 254, 254, 254}},
          {"P5 2 1 15\n\x01\x0f"s, {17, 17, 17, 255, 255, 255}},
          {"P2 2 1 100 50 100", {128, 128, 128, 255, 255, 255}},
          {"P4 3 2\n\xa0\x40"s, {0, 0, 0, 255, 255, 255, 0, 0, 0, 255, 255, 255, 0, 0, 0, 255, 255, 255}},
          {"P1 3 1 10\n1", {0, 0, 0, 255, 255, 255, 0, 0, 0}}};
}

}  // namespace

TEST_SUITE_BEGIN("io_bitmap");

TEST_CASE("bmp: every kind gives the same picture, and no truncated one is taken") {
  for (const Bmp& bmp : kinds()) {
    CAPTURE(bmp.bits);
    CAPTURE(bmp.header);
    CAPTURE(bmp.compression);
    const std::string file = bmp.file();
    const Image image = decode(file);
    CHECK(image.width == 3);
    CHECK(image.height == 2);
    CHECK(image.rgb == six);
    for (std::size_t length = 2; length < file.size(); ++length) CHECK(refusal(file.substr(0, length)) != "accepted");
    CHECK(decode(file + "more").rgb == six);
  }
  // 5 bits a colour: 31 is full, 16 a little more than half; one bit: the first and the last pixel of a row of nine.
  CHECK(decode(Bmp{.width = 2, .height = 1, .bits = 16, .pixels = little(0x7c10, 4)}.file()).rgb ==
        Rgb{255, 0, 132, 0, 0, 0});
  const Image bits = decode(Bmp{
      .width = 9, .height = 1, .bits = 1, .colours = 2, .palette = "\0\0\0\0\xff\xff\xff\0"s, .pixels = "\x80\x80\0\0"s}
                                .file());
  for (std::size_t x = 0; x < 9; ++x) CHECK(bits.rgb[3 * x] == (x == 0 || x == 8 ? 255 : 0));
}

TEST_CASE("bmp: what is damaged or not read is named") {
  const auto refused = [](Bmp bmp, const std::string& cause) {
    bmp.pixels.resize(64);
    const std::string message = refusal(bmp.file());
    CAPTURE(message);
    CHECK(contains(message, "p: BMP: "));
    CHECK(contains(message, cause));
  };
  refused({.bits = 8, .compression = 1, .colours = 2, .palette = colours}, "RLE8 compression is not supported");
  refused({.bits = 4, .compression = 2, .colours = 2, .palette = colours}, "RLE4 compression is not supported");
  refused({.compression = 4}, "JPEG compression is not supported");
  refused({.compression = 9}, "compression 9 is not known");
  refused({.bits = 7}, "7 bits per pixel");
  refused({.bits = 24, .compression = 3}, "24 bits per pixel");
  refused({.width = 0}, "0x2 pixels");
  refused({.width = -3}, "-3x2 pixels");
  refused({.width = 65536}, "65536x2 pixels");
  refused({.width = 60000, .height = 60000}, "at most 64 Mi pixels");
  refused({.height = std::int32_t(-2147483647 - 1)}, "2147483648 pixels");
  refused({.width = 1000, .height = 1000}, "truncated");
  refused({.header = 39}, "header of 39 bytes");
  refused({.bits = 8, .colours = 300, .palette = colours}, "a palette of 300 colours");
  refused({.bits = 8, .colours = 10, .palette = colours}, "pixels inside the palette");
  refused({.bits = 32, .compression = 3, .masks = "\x05\0\0\0\0\xff\0\0\0\0\xff\0"s}, "strange colour masks");
  CHECK(contains(refusal(Bmp{.bits = 8, .colours = 6, .palette = colours, .pixels = "\3\4\6\0\0\1\2\0"s}.file()),
                 "colour 6 is not in the palette"));
}

TEST_CASE("pnm: every kind, comments, any largest value; no truncated one is taken") {
  for (const auto& bitmap : bitmaps()) {
    const std::string& file = bitmap.first;
    CAPTURE(file.substr(0, 10));
    CHECK(decode(file).rgb == bitmap.second);
    const bool letters = file[1] <= '3';
    // A shorter last number is a number, too.
    for (std::size_t length = 3; length < file.size() - (letters ? 2 : 0); ++length)
      CHECK(refusal(file.substr(0, length)) != "accepted");
  }
}

TEST_CASE("pnm: what is damaged is named, and a small file cannot ask for much") {
  const auto refused = [](const std::string& file, const std::string& cause) {
    const std::string message = refusal(file);
    CAPTURE(message);
    CHECK(contains(message, "p: PNM: "));
    CHECK(contains(message, cause));
  };
  refused("P6 0 2 255 ", "0x2 pixels");
  refused("P6 70000 1 255 ", "70000x1 pixels");
  refused("P6 99999999999999999999 1 255 ", "too large");
  refused("P6 x", "no number for the width");
  refused("P6 1 1 0 abc", "largest value 0");
  refused("P6 1 1 65536 abcdef", "largest value 65536");
  refused("P6 1 1 255#abc", "no space before the pixels");
  refused("P5 1 1 100 \xff", "255 is above the largest value 100");
  refused("P2 1 1 100 101", "101 is above the largest value 100");
  refused("P1 1 1 2", "neither 0 nor 1");
  refused("P3 1 1 255 1 2 x", "no number for a pixel");
  refused("P6 8000 8000 255 abc", "truncated");
  refused("P3 8000 8000 255 1 2 3", "truncated");
  const auto begin = std::chrono::steady_clock::now();
  refused("P1 " + std::string(1 << 22, '#'), "truncated");
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10));
}

TEST_CASE("bitmaps: OpenCV sees the same pictures") {
  const test::Python python("cv2");
  if (!python) return;
  const test::TemporaryFolder folder("bitmap");
  std::vector<std::string> files;
  for (const Bmp& bmp : kinds())
    if (bmp.compression == 0) files.push_back(bmp.file());
  for (const auto& [file, rgb] : bitmaps()) {
    // OpenCV scales no other largest values, and wants an end of the last number.
    const bool full = contains(file, " 255") || contains(file, "\n255") || contains(file, "65535");
    if (full || file[1] == '1' || file[1] == '4') files.push_back(file + "\n");
  }
  for (std::size_t i = 0; i < files.size(); ++i) {
    std::ofstream(folder / (std::to_string(i) + ".bin"), std::ios::binary) << files[i];
    write_image(folder / (std::to_string(i) + ".png"), decode(files[i]));
  }
  std::ofstream(folder / "check.py") << R"(
import cv2, sys
for i in range(int(sys.argv[2])):
    theirs, ours = (cv2.imread(f'{sys.argv[1]}/{i}.{e}') for e in ('bin', 'png'))
    assert theirs.shape == ours.shape and (theirs == ours).all(), (i, theirs, ours)
)";
  CHECK(python.run((folder / "check.py").string() + " " + folder.path().string() + " " +
                   std::to_string(files.size())) == 0);
}

TEST_SUITE_END();
