#include <doctest/doctest.h>
#include <unistd.h>
#include <zlib.h>

#ifdef SLIMNECK_WITH_TURBOJPEG
#include <turbojpeg.h>
#endif

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <set>

#include "io/font.hpp"
#include "io/image_detail.hpp"
#include "picture_data.hpp"
#include "shared_data.hpp"
#include "slimneck/image.hpp"
#include "slimneck/weights.hpp"

using namespace slimneck;
using namespace slimneck::test;
namespace fs = std::filesystem;

namespace {

std::string refusal(const Bytes& content) {
  try {
    decode_image(content, "p");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "accepted";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

#define CHECK_PICTURE_REFUSED(content, reason) \
  do {                                         \
    const std::string got = refusal(content);  \
    CHECK_MESSAGE(contains(got, reason), got); \
  } while (false)

Colour at(const Image& image, index_t x, index_t y) {
  const std::uint8_t* p = image.rgb.data() + (y * image.width + x) * 3;
  return {p[0], p[1], p[2]};
}

}  // namespace

TEST_CASE("png: what is written is read back, and any damage is noticed") {
  const Image image = noise(7, 5, 1);
  const Bytes whole = io::encode_png(image);
  CHECK(decode_image(whole, "p").rgb == image.rgb);
  for (std::size_t length = 0; length < whole.size(); ++length)
    CHECK(refusal(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length))) != "accepted");
  for (std::size_t i = 0; i < whole.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      Bytes damaged = whole;
      damaged[i] ^= static_cast<std::byte>(1 << bit);
      CHECK(refusal(damaged) != "accepted");
    }
  Bytes trailing = whole;
  trailing.resize(whole.size() + 9, std::byte{7});
  CHECK(refusal(trailing) == "accepted");
}

TEST_CASE("png: every colour type and depth, with and without interlace") {
  struct Kind {
    unsigned type, depth;
    std::string row;  // the samples of one row of 3 pixels, after its filter number
    std::array<Colour, 3> pixels;
  };
  const std::string palette("\x01\x02\x03\xff\x00\x80\x09\x09\x09", 9);
  const std::vector<Kind> kinds{
      {0, 1, "\xa0", {{{255, 255, 255}, {0, 0, 0}, {255, 255, 255}}}},
      {0, 2, "\x6c", {{{85, 85, 85}, {170, 170, 170}, {255, 255, 255}}}},
      {0, 4, std::string("\x0f\x30", 2), {{{0, 0, 0}, {255, 255, 255}, {51, 51, 51}}}},
      {0, 8, std::string("\x00\x05\xff", 3), {{{0, 0, 0}, {5, 5, 5}, {255, 255, 255}}}},
      {0, 16, std::string("\x01\xff\x80\x00\xff\x7f", 6), {{{1, 1, 1}, {128, 128, 128}, {255, 255, 255}}}},
      {2, 8, "abcdefghi", {{{'a', 'b', 'c'}, {'d', 'e', 'f'}, {'g', 'h', 'i'}}}},
      {2, 16, "a0b0c0d0e0f0g0h0i0", {{{'a', 'b', 'c'}, {'d', 'e', 'f'}, {'g', 'h', 'i'}}}},
      {3, 2, "\x18", {{{1, 2, 3}, {255, 0, 128}, {9, 9, 9}}}},
      {3, 8, std::string("\x02\x01\x00", 3), {{{9, 9, 9}, {255, 0, 128}, {1, 2, 3}}}},
      {4, 8, "aXbYcZ", {{{'a', 'a', 'a'}, {'b', 'b', 'b'}, {'c', 'c', 'c'}}}},
      {4, 16, "a0X0b0Y0c0Z0", {{{'a', 'a', 'a'}, {'b', 'b', 'b'}, {'c', 'c', 'c'}}}},
      {6, 8, "abcXdefYghiZ", {{{'a', 'b', 'c'}, {'d', 'e', 'f'}, {'g', 'h', 'i'}}}},
      {6, 16, "a0b0c0X0d0e0f0Y0g0h0i0Z0", {{{'a', 'b', 'c'}, {'d', 'e', 'f'}, {'g', 'h', 'i'}}}}};
  for (const Kind& kind : kinds) {
    CAPTURE(kind.type);
    CAPTURE(kind.depth);
    const Image image =
        decode_image(Png{3, 1, kind.depth, kind.type, palette}.file(std::string(1, '\0') + kind.row), "p");
    REQUIRE(image.width == 3);
    for (index_t x = 0; x < 3; ++x) CHECK(at(image, x, 0) == kind.pixels[static_cast<std::size_t>(x)]);
  }
  // Interlaced 3x3 grey: passes hold (0,0) | - | - | (2,0) | (0,2)(2,2) | (1,0) / (1,2) | the middle row.
  Png interlaced{3, 3, 8, 0, ""};
  interlaced.interlace = 1;
  const Image image = decode_image(interlaced.file(std::string("\0A\0C\0GI\0B\0H\0DEF", 15)), "p");
  for (index_t i = 0; i < 9; ++i) CHECK(at(image, i % 3, i / 3).r == 'A' + i);
}

TEST_CASE("png: filters") {
  // Rows of two grey pixels: plain, left, above, mean, Paeth.
  const std::string rows("\x00\x0a\x14\x01\x05\x05\x02\x01\x01\x03\x01\x01\x04\x02\x03", 15);
  const Image image = decode_image(Png{2, 5, 8, 0, ""}.file(rows), "p");
  const std::array<int, 10> wanted{10, 20, 5, 10, 6, 11, 4, 8, 6, 11};
  for (index_t i = 0; i < 10; ++i) CHECK(at(image, i % 2, i / 2).g == wanted[static_cast<std::size_t>(i)]);
}

TEST_CASE("png: well-formed chunks with wrong content are refused") {
  const std::string row(4, '\0');
  const Png good{3, 1, 8, 0, ""};
  CHECK(refusal(good.file(row)) == "accepted");
  CHECK_PICTURE_REFUSED(good.file(row.substr(1)), "ends before the last row");
  CHECK_PICTURE_REFUSED(good.file("\x05" + row.substr(1)), "row filter 5");
  CHECK(refusal(good.file(row + "surplus")) == "accepted");
  CHECK_PICTURE_REFUSED(good.file(row + std::string(2 << 20, 'x')), "far more data");
  CHECK_PICTURE_REFUSED((Png{3, 1, 8, 3, std::string(6, 'c')}.file(std::string("\0\0\1\2", 4))),
                        "colour 2 is not in PLTE");
  CHECK_PICTURE_REFUSED((Png{3, 1, 8, 3, ""}.file(row)), "no PLTE");
  CHECK_PICTURE_REFUSED((Png{3, 1, 8, 3, "1234"}.file(row)), "PLTE of 4 bytes");
  CHECK_PICTURE_REFUSED((Png{3, 1, 7, 0, ""}.file(row)), "7 bits");
  CHECK_PICTURE_REFUSED((Png{3, 1, 4, 2, ""}.file(row)), "colour type 2 with 4 bits");
  CHECK_PICTURE_REFUSED((Png{3, 1, 8, 5, ""}.file(row)), "colour type 5");
  CHECK_PICTURE_REFUSED((Png{0, 1, 8, 0, ""}.file(row)), "0x1 pixels");
  CHECK_PICTURE_REFUSED((Png{65536, 1, 8, 0, ""}.file(row)), "65536x1 pixels");
  CHECK_PICTURE_REFUSED((Png{65535, 65535, 8, 0, ""}.file(row)), "at most 64 Mi pixels");
  CHECK_PICTURE_REFUSED((Png{0xffffffff, 0xffffffff, 8, 0, ""}.file(row)), "pixels");
  Png odd = good;
  odd.interlace = 2;
  CHECK_PICTURE_REFUSED(odd.file(row), "interlace");

  const std::string stream = deflated(row);
  const auto with = [&](std::initializer_list<std::pair<const char*, std::string>> chunks) {
    Bytes file = png_signature();
    for (const auto& [type, body] : chunks) add_chunk(file, type, body);
    return file;
  };
  std::string bad_sum = stream;
  bad_sum.back() = static_cast<char>(bad_sum.back() ^ 1);
  CHECK(refusal(with({{"IHDR", good.header()}, {"teXt", "x"}, {"IDAT", stream}, {"IEND", ""}})) == "accepted");
  CHECK_PICTURE_REFUSED(with({{"IHDR", good.header()}, {"IDAT", bad_sum}, {"IEND", ""}}), "incorrect data check");
  CHECK_PICTURE_REFUSED(with({{"IHDR", good.header()}, {"IDAT", stream.substr(0, 5)}, {"IEND", ""}}), "truncated");
  CHECK_PICTURE_REFUSED(with({{"IHDR", good.header()}, {"IDAT", "garbage"}, {"IEND", ""}}), "damaged data");
  CHECK_PICTURE_REFUSED(with({{"IHDR", good.header()}, {"IDAT", stream}}), "no IEND");
  CHECK_PICTURE_REFUSED(with({{"IHDR", good.header()}, {"IEND", ""}}), "no IDAT");
  CHECK_PICTURE_REFUSED(with({{"IDAT", stream}, {"IHDR", good.header()}, {"IEND", ""}}), "IHDR");
  CHECK_PICTURE_REFUSED(with({{"IHDR", good.header()}, {"IHDR", good.header()}}), "IHDR");
  CHECK_PICTURE_REFUSED(with({{"IHDR", "short"}}), "IHDR of 5 bytes");
  CHECK_PICTURE_REFUSED(with({{"IHDR", good.header()}, {"ABCD", ""}}), "unknown critical chunk at byte 33");
  CHECK_PICTURE_REFUSED(with({{"IHDR", good.header()}, {"IDAT", stream}, {"teXt", ""}, {"IDAT", ""}}), "not together");
}

TEST_CASE("pictures: the EXIF orientation is applied") {
  // Stored: A B C / D E F. What each value must show, row by row.
  const std::array<std::string, 10> upright{"ABC/DEF",  "ABC/DEF",  "CBA/FED",  "FED/CBA",  "DEF/ABC",
                                            "AD/BE/CF", "DA/EB/FC", "FC/EB/DA", "CF/BE/AD", "ABC/DEF"};
  for (unsigned value = 0; value < upright.size(); ++value)
    for (const bool little : {true, false}) {
      CAPTURE(value);
      Png png{3, 2, 8, 0, ""};
      png.exif = tiff_orientation(value, little);
      const Image image = decode_image(png.file(std::string("\0ABC\0DEF", 8)), "p");
      std::string shown;
      for (index_t y = 0; y < image.height; ++y) {
        if (y > 0) shown += '/';
        for (index_t x = 0; x < image.width; ++x) shown += static_cast<char>(at(image, x, y).r);
      }
      CHECK(shown == upright[value]);
    }
  // The same through JPEG's APP1 segment.
  const Bytes jpeg = io::encode_jpeg(Image(16, 8, {90, 90, 90}), 95);
  CHECK(decode_image(with_segment(jpeg, 0xe1, std::string("Exif\0\0", 6) + tiff_orientation(6, false)), "p").width ==
        8);
  // Garbage changes nothing.
  const std::string tiff = tiff_orientation(6, true);
  for (std::size_t length = 0; length < tiff.size(); ++length) {
    const std::string part = tiff.substr(0, length);
    const int value = io::exif_orientation(std::as_bytes(std::span(part)));
    CHECK((value == 1 || value == 6));
  }
  const std::string far("II*\0\xff\xff\xff\xff\1\0\0\0", 12);  // the directory lies outside
  CHECK(io::exif_orientation(std::as_bytes(std::span(far))) == 1);
}

TEST_CASE("jpeg: what is written is read back, and truncation at any byte is noticed") {
  // Four 32x32 fields of pure colours: each pixel must come back nearer to its own colour than to any other.
  const std::array<Colour, 4> colours{{{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 255}}};
  Image image(64, 64);
  for (index_t i = 0; i < 64 * 64; ++i) {
    const Colour c = colours[static_cast<std::size_t>(i % 64 / 32 + i / 64 / 32 * 2)];
    const std::array<std::uint8_t, 3> rgb{c.r, c.g, c.b};
    std::copy(rgb.begin(), rgb.end(), image.rgb.begin() + i * 3);
  }
  const Bytes whole = io::encode_jpeg(image, 95);
  const Image back = decode_image(whole, "p");
  REQUIRE(back.rgb.size() == image.rgb.size());
  for (std::size_t i = 0; i < image.rgb.size(); ++i) REQUIRE((back.rgb[i] > 127) == (image.rgb[i] > 127));
  CHECK(decode_image(io::encode_jpeg(Image(9, 3, {77, 77, 77}), 95), "p").rgb == Image(9, 3, {77, 77, 77}).rgb);

  const Bytes noisy = io::encode_jpeg(noise(40, 24, 3), 90);
  for (std::size_t length = 0; length < noisy.size(); ++length)
    CHECK(refusal(Bytes(noisy.begin(), noisy.begin() + static_cast<std::ptrdiff_t>(length))) != "accepted");
  Bytes trailing = noisy;
  trailing.resize(noisy.size() + 9, std::byte{7});
  CHECK(refusal(trailing) == "accepted");
}

TEST_CASE("jpeg: flipped bits give an error or a whole picture, never a crash") {
  const Bytes whole = io::encode_jpeg(noise(24, 16, 4), 80);
  int refused = 0;
  for (std::size_t i = 0; i < whole.size(); ++i)
    for (int bit = 0; bit < 8; bit += 3) {
      Bytes damaged = whole;
      damaged[i] ^= static_cast<std::byte>(1 << bit);
      try {
        const Image image = decode_image(damaged, "p");
        CHECK(image.rgb.size() == static_cast<std::size_t>(image.width * image.height * 3));
      } catch (const FormatError&) {
        ++refused;
      }
    }
  CHECK(refused > 100);
  if (jpeg_decoder() == "libjpeg-turbo") {
    // A scan that ends too early although all markers are there.
    const std::size_t scan = find_marker(whole, 0xda);
    Bytes hollow(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(scan + 2 + 12 + 20));
    hollow.push_back(std::byte{0xff});
    hollow.push_back(std::byte{0xd9});
    CHECK_PICTURE_REFUSED(hollow, "damaged");
  }
}

TEST_CASE("jpeg: kinds that are not read, and headers that do not fit, are named") {
  const Bytes whole = io::encode_jpeg(noise(16, 16, 5), 80);
  const std::size_t frame = find_marker(whole, 0xc0);
  const auto changed = [&](std::size_t offset, int value) {
    Bytes copy = whole;
    copy[frame + offset] = static_cast<std::byte>(value);
    return copy;
  };
  CHECK_PICTURE_REFUSED(changed(1, 0xc3), "lossless coding is not supported");
  CHECK_PICTURE_REFUSED(changed(1, 0xc5), "hierarchical coding is not supported");
  CHECK_PICTURE_REFUSED(changed(1, 0xc9), "arithmetic coding is not supported");
  CHECK_PICTURE_REFUSED(changed(4, 12), "12 bits per sample");
  CHECK_PICTURE_REFUSED(changed(6, 0), "16x0 pixels");
  CHECK_PICTURE_REFUSED(changed(9, 2), "2 components");
  CHECK_PICTURE_REFUSED(changed(9, 4), "frame header of");
  CHECK_PICTURE_REFUSED(changed(1, 0xe0), "before the frame header");
  CHECK_PICTURE_REFUSED(with_segment(whole, 0xcc, "x"), "arithmetic coding");
  const std::string second(reinterpret_cast<const char*>(whole.data()) + frame + 4, 15);
  CHECK_PICTURE_REFUSED(with_segment(whole, 0xc0, second), "two frame headers");
  Bytes huge = changed(5, 0xff);
  for (const std::size_t i : {6UL, 7UL, 8UL}) huge[frame + i] = std::byte{0xff};
  CHECK_PICTURE_REFUSED(huge, "at most 64 Mi pixels");
  Bytes no_tables(whole.begin(), whole.begin() + 2);
  no_tables.insert(no_tables.end(), whole.begin() + static_cast<std::ptrdiff_t>(frame),
                   whole.begin() + static_cast<std::ptrdiff_t>(frame + 19));
  const std::size_t scan = find_marker(whole, 0xda);
  no_tables.insert(no_tables.end(), whole.begin() + static_cast<std::ptrdiff_t>(scan), whole.end());
  CHECK_PICTURE_REFUSED(no_tables, "no DHT or DQT");
  const std::array<unsigned char, 4> bare{0xff, 0xd8, 0xff, 0xd9};
  const auto* bytes = reinterpret_cast<const std::byte*>(bare.data());
  CHECK_PICTURE_REFUSED(Bytes(bytes, bytes + 4), "no picture data");
}

#ifdef SLIMNECK_WITH_TURBOJPEG
TEST_CASE("jpeg: ink colours become red, green and blue") {
  constexpr int size = 16;
  std::vector<unsigned char> ink;
  for (int i = 0; i < size * size; ++i)
    for (const int level : {255, 100, 0, 200}) ink.push_back(static_cast<unsigned char>(level));  // inverted C M Y K
  const std::unique_ptr<void, int (*)(tjhandle)> handle(tjInitCompress(), tjDestroy);
  unsigned long length = tjBufSize(size, size, TJSAMP_444);
  Bytes file(length);
  auto* memory = reinterpret_cast<unsigned char*>(file.data());
  REQUIRE(tjCompress2(handle.get(), ink.data(), size, 0, size, TJPF_CMYK, &memory, &length, TJSAMP_444, 100,
                      TJFLAG_NOREALLOC) == 0);
  file.resize(length);
  const Colour shown = at(decode_image(file, "p"), 8, 8);
  // One level for the way through the luminance of YCCK, and none more as the picture is flat and the quality 100.
  CHECK(std::abs(shown.r - 200) <= 1);
  CHECK(std::abs(shown.g - 200 * 100 / 255) <= 1);
  CHECK(shown.b <= 1);
}

TEST_CASE("jpeg: a progressive picture without its last scans is refused, though a decoder would show it") {
  const std::unique_ptr<void, decltype(&tjDestroy)> handle(tjInitCompress(), &tjDestroy);
  constexpr int size = 32;
  std::vector<unsigned char> rgb(std::size_t{3} * size * size);
  for (std::size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<unsigned char>(i * i % 251);
  unsigned long length = tjBufSize(size, size, TJSAMP_420);
  Bytes file(length);
  auto* memory = reinterpret_cast<unsigned char*>(file.data());
  REQUIRE(tjCompress2(handle.get(), rgb.data(), size, 0, size, TJPF_RGB, &memory, &length, TJSAMP_420, 90,
                      TJFLAG_NOREALLOC | TJFLAG_PROGRESSIVE) == 0);
  file.resize(length);
  CHECK(decode_image(file, "p").width == size);
  int scans = 0;
  for (std::size_t at = 0; at + 1 < file.size(); ++at) {
    if (file[at] != std::byte{0xff} || file[at + 1] != std::byte{0xda}) continue;  // SOS
    Bytes cut(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(at));
    cut.insert(cut.end(), {std::byte{0xff}, std::byte{0xd9}});  // EOI
    const std::string message = refusal(cut);
    CHECK(contains(message, scans++ == 0 ? "no picture data" : "scans are missing"));
  }
  CHECK(scans > 3);
}
#endif

TEST_CASE("pictures: other formats are refused by name") {
  const auto named = [](const std::string& start) {
    const std::string content = start + std::string(20, '\0');
    const auto bytes = std::as_bytes(std::span(content));
    return refusal(Bytes(bytes.begin(), bytes.end()));
  };
  CHECK(contains(named("GIF89a"), "p: picture format not supported (GIF), wanted JPEG, PNG, BMP or PNM"));
  CHECK(contains(named("RIFF1234WEBPVP8 "), "(WebP)"));
  CHECK(contains(named(std::string("II*\0", 4)), "(TIFF)"));
  CHECK(contains(named("PF\n"), "(PFM)"));
  CHECK(contains(named("8BPS"), "(PSD)"));
  CHECK(contains(named("P7\n"), "(PAM)"));
  CHECK(contains(named("version https://git-lfs.github.com"), "(Git LFS pointer)"));
  CHECK(contains(named("hello"), "(unknown)"));
  CHECK(contains(refusal({}), "empty file"));
}

TEST_CASE("pictures: files are written whole, by extension, or not at all") {
  const fs::path folder = fs::temp_directory_path() / ("slimneck_img_" + std::to_string(::getpid()));
  fs::create_directories(folder);
  const Image image = noise(20, 10, 6);
  write_image(folder / "a.png", image);
  CHECK(read_image(folder / "a.png").rgb == image.rgb);
  write_image(folder / "b.JPG", image);
  CHECK(read_image(folder / "b.JPG").width == 20);
  CHECK_THROWS_AS(write_image(folder / "c.gif", image), FormatError);
  CHECK_THROWS_AS(write_image(folder / "none" / "c.png", image), IoError);
  CHECK_THROWS_AS(write_image(folder / "d.png", Image()), ShapeError);
  CHECK_THROWS_AS(read_image(folder), IoError);
  CHECK(std::distance(fs::directory_iterator(folder), fs::directory_iterator()) == 2);
  fs::remove_all(folder);
  CHECK_THROWS_AS(Image(0, 5), ShapeError);
  CHECK_THROWS_AS(Image(65536, 1), ShapeError);
  CHECK_THROWS_AS(Image(65535, 65535), ShapeError);
}

TEST_CASE("resize: known values, identity, halving, and one level of the exact interpolation") {
  Image two(2, 1);
  two.rgb = {0, 0, 0, 255, 255, 255};
  const Image four = resize_bilinear(two, 4, 1);
  for (const index_t x : {0, 1, 2, 3})
    CHECK(at(four, x, 0).r == std::array{0, 64, 191, 255}[static_cast<std::size_t>(x)]);
  const Image picture = noise(24, 20, 8);
  CHECK(resize_bilinear(picture, 24, 20).rgb == picture.rgb);
  const Image half = resize_bilinear(picture, 12, 10);
  CHECK(half.rgb[0] == (picture.rgb[0] + picture.rgb[3] + picture.rgb[72] + picture.rgb[75] + 2) / 4);
  const Image flat(13, 7, {10, 200, 255});
  for (const auto& [w, h] : {std::pair<index_t, index_t>{1, 1}, {40, 3}, {5, 60}}) {
    CHECK(resize_bilinear(flat, w, h).rgb == Image(w, h, {10, 200, 255}).rgb);
    const Image out = resize_bilinear(picture, w, h);
    for (index_t y = 0; y < h; ++y)
      for (index_t x = 0; x < w; ++x) {
        const auto place = [](index_t i, index_t from, index_t to) {
          const double f = (static_cast<double>(i) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5;
          return std::clamp(f, 0.0, static_cast<double>(from - 1));
        };
        const double u = place(x, 24, w), v = place(y, 20, h);
        const auto x0 = static_cast<index_t>(u), y0 = static_cast<index_t>(v);
        const index_t x1 = std::min<index_t>(x0 + 1, 23), y1 = std::min<index_t>(y0 + 1, 19);
        const double a = u - static_cast<double>(x0), b = v - static_cast<double>(y0);
        const double exact = (at(picture, x0, y0).g * (1 - a) + at(picture, x1, y0).g * a) * (1 - b) +
                             (at(picture, x0, y1).g * (1 - a) + at(picture, x1, y1).g * a) * b;
        CHECK(std::abs(at(out, x, y).g - exact) <= 1.0);
      }
  }
  CHECK_THROWS_AS(resize_bilinear(Image(), 4, 4), ShapeError);
  CHECK_THROWS_AS(resize_bilinear(picture, 0, 4), ShapeError);
}

TEST_CASE("resize: equal to OpenCV's pictures") {
  const auto path = golden_data("post/cv2_images.safetensors");
  if (!path) {
    MESSAGE("skipped: golden/post/cv2_images.safetensors is not here");
    return;
  }
  const SafeTensors file = SafeTensors::read(*path);
  const auto image_of = [&](const char* name) {
    const auto* entry = file.find(name);
    REQUIRE(entry != nullptr);
    Image image(entry->dims[1], entry->dims[0]);  // three channels in some order, all treated alike
    std::memcpy(image.rgb.data(), entry->bytes.data(), image.rgb.size());
    return image;
  };
  const Image source = image_of("bgr");
  CHECK(resize_bilinear(source, 33, 27).rgb == image_of("resize_linear_33x27").rgb);
  CHECK(resize_bilinear(source, 11, 13).rgb == image_of("resize_linear_11x13").rgb);
  CHECK(resize_area(source, 11, 13).rgb == image_of("resize_area_11x13").rgb);
}

TEST_CASE("resize by areas: means of what is covered") {
  Image image(6, 4);
  for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<std::uint8_t>(i * 3);
  const auto mean = [&](index_t x, index_t y, index_t w, index_t h) {
    double sum = 0;
    for (index_t v = y; v < y + h; ++v)
      for (index_t u = x; u < x + w; ++u) sum += at(image, u, v).g;
    return sum / static_cast<double>(w * h);
  };
  CHECK(at(resize_area(image, 2, 2), 1, 1).g == std::nearbyint(mean(3, 2, 3, 2)));
  CHECK(at(resize_area(image, 3, 2), 2, 0).g == std::floor(mean(4, 0, 2, 2) + 0.5));
  // 6 to 4 columns: the second one covers half of column 1 and the whole of column 2.
  CHECK(at(resize_area(image, 4, 4), 1, 2).g == std::nearbyint((at(image, 1, 2).g + 2.0 * at(image, 2, 2).g) / 3));
  CHECK(resize_area(image, 6, 4).rgb == image.rgb);
  CHECK(resize_area(image, 9, 3).rgb == resize_bilinear(image, 9, 3).rgb);
  CHECK_THROWS_AS(resize_area(image, 0, 3), ShapeError);
}

TEST_CASE("letterbox: geometry, padding and numbers") {
  const Letterbox wide = letterbox_geometry(720, 1280, 640, 640, true);
  CHECK(wide.gain == 0.5);
  CHECK(wide.out_h() == 384);
  CHECK(wide.top == 12);
  const Letterbox odd = letterbox_geometry(375, 500, 640, 640, false, false);
  CHECK(odd.top == 132);
  CHECK(odd.bottom == 133);
  CHECK(letterbox_geometry(1, 10000, 64, 64, false).resized_h == 1);
  CHECK_THROWS_AS(letterbox_geometry(0, 10, 64, 64, false), ShapeError);

  const Image out = letterbox(Image(20, 10, {255, 0, 51}), letterbox_geometry(10, 20, 16, 16, false));
  CHECK(out.width == 16);
  CHECK(out.height == 16);
  CHECK(at(out, 0, 3) == Colour{114, 114, 114});
  CHECK(at(out, 0, 4) == Colour{255, 0, 51});
  CHECK(at(out, 15, 11) == Colour{255, 0, 51});
  CHECK(at(out, 15, 12) == Colour{114, 114, 114});
  const Tensor tensor = image_to_tensor(out);
  CHECK(tensor.shape() == Shape{1, 3, 16, 16});
  CHECK(tensor.view<float>().at(0, 0, 4, 0) == 1.0F);
  CHECK(tensor.view<float>().at(0, 1, 4, 0) == 0.0F);
  CHECK(tensor.view<float>().at(0, 2, 4, 0) == 51.0F / 255.0F);
  Tensor wrong({1, 3, 15, 16});
  CHECK_THROWS_AS(image_to_tensor(out, wrong.view<float>()), ShapeError);
}

TEST_CASE("letterbox: golden geometry is identical") {
  const auto path = golden_data("post/geometry.json");
  if (!path) {
    MESSAGE("skipped: golden/post/geometry.json is not here");
    return;
  }
  std::ifstream stream(*path);
  const auto cases = nlohmann::json::parse(stream).at("letterbox");
  REQUIRE(cases.size() >= 10);
  for (const auto& c : cases) {
    const Letterbox box = letterbox_geometry(c["h"], c["w"], c["new"][0], c["new"][1], c["auto"], c["scaleup"]);
    CHECK(box.gain == c["ratio"].get<double>());
    CHECK(nlohmann::json{box.resized_w, box.resized_h} == c["resized_wh"]);
    CHECK(nlohmann::json{box.pad_w, box.pad_h} == c["pad_dwdh"]);
    CHECK(nlohmann::json{box.top, box.bottom, box.left, box.right} ==
          nlohmann::json{c["top"], c["bottom"], c["left"], c["right"]});
    CHECK(nlohmann::json{box.out_h(), box.out_w()} == c["out_hw"]);
  }
}

TEST_CASE("pictures: the network's input is the reference's to the last bit") {
  const auto path = shared_data("data/reference/detections_bus_zidane.json");
  if (!path || jpeg_decoder() != "libjpeg-turbo") {
    MESSAGE("skipped: needs the reference pictures and libjpeg-turbo");
    return;
  }
  std::ifstream stream(*path);
  const auto modes = nlohmann::json::parse(stream);
  for (const auto& item : modes.items()) {
    const std::string mode = item.key();
    const auto& reference = item.value();
    CAPTURE(mode);
    const Image image = read_image(path->parent_path() / reference["image"].get<std::string>());
    const index_t size = contains(mode, "320") ? 320 : 640;
    const Image input =
        letterbox(image, letterbox_geometry(image.height, image.width, size, size, contains(mode, "rect")));
    std::vector<std::uint8_t> planes;
    for (std::size_t c = 0; c < 3; ++c)
      for (std::size_t i = c; i < input.rgb.size(); i += 3) planes.push_back(input.rgb[i]);
    CHECK(sha256(planes) == reference["input_sha256"].get<std::string>());
  }
}

TEST_CASE("draw: frame, plate and text stand where they should") {
  Image image(200, 100, {10, 20, 30});
  CHECK(line_width(image) == 2);
  CHECK(line_width(Image(1280, 720)) == 3);
  const Colour red{255, 0, 0};
  draw_box(image, {40, 40, 120, 90}, "", red, 2);
  for (const auto& [x, y] : {std::pair<index_t, index_t>{39, 60}, {40, 60}, {119, 60}, {120, 60}, {80, 39}, {80, 89}})
    CHECK(at(image, x, y) == red);
  for (const auto& [x, y] : {std::pair<index_t, index_t>{38, 60}, {41, 60}, {118, 60}, {121, 60}, {80, 60}})
    CHECK(at(image, x, y) == Colour{10, 20, 30});

  draw_box(image, {40, 40, 120, 90}, "ab", red, 2);
  CHECK(at(image, 39, 20) == red);  // the plate above: 9 rows of text and two margins, all twofold
  const auto white = [](const Image& where, index_t x0, index_t y0, index_t x1, index_t y1) {
    int count = 0;
    for (index_t y = y0; y < y1; ++y)
      for (index_t x = x0; x < x1; ++x) count += at(where, x, y) == Colour{255, 255, 255};
    return count;
  };
  CHECK(white(image, 39, 17, 65, 39) > 30);

  const Image before = image;
  draw_box(image, {500, 500, 600, 600}, "", red, 2);
  draw_box(image, {std::nanf(""), 0, 10, 10}, "x", red, 2);
  draw_box(image, {0, 0, HUGE_VALF, 10}, "x", red, 2);
  CHECK(image.rgb == before.rgb);
  draw_box(image, {-1e30F, -1e30F, 1e30F, 1e30F}, "all over", red, 2);  // only the plate shows
  CHECK(at(image, 0, 0) == red);
  draw_box(image, {-50, 95, 20, 300}, std::string(500, 'W'), red, 3);  // a label longer than the picture
  CHECK_THROWS_AS(draw_box(image, {0, 0, 1, 1}, "", red, 0), ShapeError);
  Image small(1, 1);
  draw_box(small, {0, 0, 1, 1}, "label", red, 5);
  CHECK(at(small, 0, 0) == red);
}

TEST_CASE("draw: every printable character has a shape of its own, classes have colours of their own") {
  std::set<io::Glyph> glyphs;
  for (char c = ' '; c <= '~'; ++c) glyphs.insert(io::glyph_of(c));
  CHECK(glyphs.size() == 95);
  CHECK(io::glyph_of('\n') == io::glyph_of('?'));
  CHECK(io::glyph_of('\xe4') == io::glyph_of('?'));
  const auto distance = [](Colour a, Colour b) {
    return std::abs(a.r - b.r) + std::abs(a.g - b.g) + std::abs(a.b - b.b);
  };
  for (int cls = 0; cls < 80; ++cls) CHECK(distance(class_colour(cls), class_colour(cls + 1)) > 100);
  std::set<std::array<int, 3>> colours;
  for (int cls = 0; cls < 80; ++cls) colours.insert({class_colour(cls).r, class_colour(cls).g, class_colour(cls).b});
  CHECK(colours.size() == 80);

  Image page(60, 20);
  draw_text(page, 0, 0, "|", {255, 255, 255}, 2);
  CHECK(at(page, 4, 6) == Colour{255, 255, 255});
  CHECK(at(page, 5, 6) == Colour{255, 255, 255});
  CHECK(at(page, 0, 6) == Colour{0, 0, 0});
  draw_text(page, -1000, -1000, "out of sight", {255, 255, 255}, 2);
  CHECK_THROWS_AS(draw_text(page, 0, 0, "x", {}, 0), ShapeError);
}
