// Y4M streams: read as they are meant, written so that they come back, and refused with the frame where they are
// broken.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "picture_data.hpp"
#include "slimneck/video.hpp"
#include "temporary_folder.hpp"

using namespace slimneck;

namespace {

/// A stream of so many bytes at a time.
ReadBytes reading(std::string text, std::size_t most = std::size_t{1} << 20) {
  return [text = std::move(text), most, at = std::size_t{0}](std::span<std::byte> target) mutable {
    const std::size_t count = std::min({target.size(), most, text.size() - at});
    std::memcpy(target.data(), text.data() + at, count);
    at += count;
    return count;
  };
}

std::string written(const VideoFormat& format, std::span<const Image> frames) {
  std::string text;
  VideoWriter writer(
      [&](std::span<const std::byte> bytes) { text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size()); },
      format);
  for (const Image& frame : frames) writer.write(frame);
  return text;
}

/// Reads everything; how many frames there were.
int read_all(const std::string& text, std::size_t most = std::size_t{1} << 20) {
  VideoReader reader(reading(text, most), "clip");
  int frames = 0;
  while (reader.next()) ++frames;
  return frames;
}

int worst(const Image& a, const Image& b) {
  REQUIRE(a.rgb.size() == b.rgb.size());
  int most = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) most = std::max(most, std::abs(a.rgb[i] - b.rgb[i]));
  return most;
}

/// Level of R, G or B by BT.601's equations in double.
double exact(int channel, double y, double u, double v, bool full) {
  const double luma = full ? y : (y - 16) * 255 / 219, scale = full ? 1.0 : 255.0 / 224;
  const double blue = luma + 1.772 * scale * (u - 128), red = luma + 1.402 * scale * (v - 128);
  const double green = (luma - 0.299 * red - 0.114 * blue) / 0.587;
  return std::clamp(channel == 0 ? red : channel == 1 ? green : blue, 0.0, 255.0);
}

}  // namespace

TEST_SUITE_BEGIN("io_video");

TEST_CASE("the header says everything, and tags may be missing") {
  VideoReader reader(reading("YUV4MPEG2 W4 H2 F30000:1001 Ip A1:1 C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE=FULL Zx\n"),
                     "a");
  const VideoFormat& format = reader.format();
  CHECK(format.width == 4);
  CHECK(format.height == 2);
  CHECK(format.rate == "30000:1001");
  CHECK(format.interlacing == "p");
  CHECK(format.aspect == "1:1");
  CHECK(format.chroma == "420mpeg2");
  CHECK(format.full_range);
  CHECK(format.frame_bytes() == 12);
  CHECK_FALSE(reader.next());
  const VideoReader least(reading("YUV4MPEG2 H3 W5\n"), "b");
  CHECK(least.format().chroma == "420jpeg");
  CHECK_FALSE(least.format().full_range);
  CHECK(least.format().frame_bytes() == 15 + 2 * 3 * 2);
}

TEST_CASE("colours are BT.601's, in both ranges") {
  for (const bool full : {false, true}) {
    std::string text = std::string("YUV4MPEG2 W16 H16 C444 XCOLORRANGE=") + (full ? "FULL" : "LIMITED") + "\nFRAME\n";
    std::array<std::string, 3> planes;
    for (int i = 0; i < 256; ++i)
      for (int k = 0; k < 3; ++k) planes[static_cast<std::size_t>(k)] += static_cast<char>(i * (5 + 32 * k) % 256);
    text += planes[0] + planes[1] + planes[2];
    const std::optional<Image> image = VideoReader(reading(text), "c").next();
    REQUIRE(image);
    double most = 0;
    for (std::size_t i = 0; i < 256; ++i)
      for (std::size_t k = 0; k < 3; ++k) {
        const auto at = [&](std::size_t plane) {
          return static_cast<double>(static_cast<unsigned char>(planes[plane][i]));
        };
        const double want = exact(static_cast<int>(k), at(0), at(1), at(2), full);
        most = std::max(most, std::abs(image->rgb[i * 3 + k] - want));
      }
    CHECK(most < 0.51);  // rounded once; the coefficients are right to 1/100 of a level
  }
}

TEST_CASE("what is written comes back") {
  const Image grey = [] {
    Image image(7, 5);
    for (std::size_t i = 0; i < image.rgb.size(); ++i) image.rgb[i] = static_cast<std::uint8_t>(i / 3 * 7);
    return image;
  }();
  const std::array<Image, 2> flat{Image(7, 5, {200, 30, 90}), Image(7, 5, {10, 240, 60})};
  for (const char* chroma : {"420", "420jpeg", "420mpeg2", "420paldv", "422", "444", "mono"})
    for (const bool full : {false, true}) {
      CAPTURE(chroma);
      CAPTURE(full);
      const VideoFormat format{.width = 7, .height = 5, .chroma = chroma, .full_range = full, .rate = "5:2"};
      const std::string text = written(format, std::array{grey, flat[0], flat[1]});
      VideoReader reader(reading(text, 3), "d");  // however it is cut into pieces
      CHECK(reader.format().rate == "5:2");
      // One level of luma is 255 / 219 of the picture's; rounding to it, and back.
      CHECK(worst(*reader.next(), grey) <= 1);
      if (format.chroma == "mono") continue;
      // Chroma is rounded to 1/2 level, which blue shows 1.772 * 255 / 224 times, beside luma's own rounding.
      for (const Image& frame : flat) CHECK(worst(*reader.next(), frame) <= 2);
      CHECK_FALSE(reader.next());
    }
  const Image noise = test::noise(6, 4, 1);
  VideoReader reader(
      reading(written({.width = 6, .height = 4, .chroma = "444", .full_range = true}, std::array{noise})), "e");
  CHECK(worst(*reader.next(), noise) <= 2);
  CHECK_THROWS_AS(written({.width = 5, .height = 4}, std::array{noise}), ShapeError);
}

TEST_CASE("frames can be passed over, and a file says how many it has") {
  const test::TemporaryFolder folder("io_video");
  const std::array<Image, 3> frames{Image(40, 20, {255, 255, 255}), Image(40, 20), Image(40, 20, {255, 255, 255})};
  const std::string text = written({.width = 40, .height = 20}, frames);
  std::FILE* file = std::fopen((folder / "a.y4m").c_str(), "wb");
  std::fwrite(text.data(), 1, text.size(), file);
  std::fclose(file);
  VideoReader reader(folder / "a.y4m");
  CHECK(reader.frames() == 3);
  CHECK(reader.skip());
  CHECK(reader.next()->rgb == frames[1].rgb);
  CHECK(reader.skip());
  CHECK_FALSE(reader.skip());
  CHECK_THROWS_AS(VideoReader(folder.path()), IoError);
  CHECK(VideoReader(reading(text), "stream").frames() == 0);
}

TEST_CASE("damaged headers are refused by what is wrong") {
  struct Case {
    std::string text, cause;
  };
  for (const Case& c : std::vector<Case>{
           {"", "empty"},
           {"RIFF....AVI ", "YUV4MPEG2"},
           {"YUV4MPEG2 W4 H2", "truncated"},
           {"YUV4MPEG2 W4\n", "4x0 pixels"},
           {"YUV4MPEG2 W65536 H1\n", "65536x1 pixels"},
           {"YUV4MPEG2 W65535 H65535\n", "64 Mi"},
           {"YUV4MPEG2 W99999999999999999999 H1\n", "'W99999999999999999999'"},
           {"YUV4MPEG2 W-4 H2\n", "'W-4'"},
           {"YUV4MPEG2 W4 H2 F25\n", "'F25'"},
           {"YUV4MPEG2 W4 H2 Ix\n", "'Ix'"},
           {"YUV4MPEG2 W4 H2 XCOLORRANGE=HALF\n", "HALF"},
           {"YUV4MPEG2 W4 H2 C420p10\n", "chroma '420p10'"},
           {"YUV4MPEG2 W4 H2 C411\n", "chroma '411'"},
           {"YUV4MPEG2 W4 H2 C444alpha\n", "chroma '444alpha'"},
           {"YUV4MPEG2 W4 H2 Cmono16\n", "chroma 'mono16'"},
           {"YUV4MPEG2 W4 H2 X" + std::string(5000, 'x'), "more than 1024 bytes"},
       })
    CHECK_THROWS_WITH_AS(VideoReader(reading(c.text), "f"), doctest::Contains(c.cause.c_str()), FormatError);
}

TEST_CASE("a stream that breaks off names the frame; those before it are whole") {
  const std::string text = written({.width = 6, .height = 4}, std::array{Image(6, 4), Image(6, 4, {9, 9, 9})});
  const std::size_t header = text.find('\n') + 1, frame = (text.size() - header) / 2;
  for (std::size_t size = header; size < text.size(); ++size) {
    const auto whole = static_cast<int>((size - header) / frame);
    VideoReader reader(reading(text.substr(0, size)), "g");
    for (int i = 0; i < whole; ++i) CHECK(reader.next());
    if ((size - header) % frame == 0) {
      CHECK_FALSE(reader.next());
      continue;
    }
    const std::string cause = "g: Y4M: frame " + std::to_string(whole + 1) + ": truncated";
    CHECK_THROWS_WITH_AS(reader.next(), doctest::Contains(cause.c_str()), FormatError);
  }
  std::string damaged = text;
  damaged[header + frame] = 'G';
  VideoReader reader(reading(damaged), "h");
  CHECK(reader.skip());
  CHECK_THROWS_WITH_AS(reader.next(), doctest::Contains("frame 2: damaged"), FormatError);
  CHECK_THROWS_AS(read_all(text.substr(0, header) + "FRA\n" + text), FormatError);
  CHECK(read_all(text.substr(0, header) + "FRAME Ip\n" + text.substr(header + 6)) == 2);
  // A header alone claims 192 MiB; no more is taken than arrives.
  CHECK_THROWS_WITH_AS(read_all("YUV4MPEG2 W8192 H8192 C444\nFRAME\nabc"), doctest::Contains("3 of 201326592"),
                       FormatError);
}

TEST_CASE("any byte may be changed: frames or an error, nothing else") {
  const std::string text = written({.width = 5, .height = 3}, std::array{Image(5, 3), Image(5, 3)});
  int refused = 0, read = 0;
  for (std::size_t i = 0; i < text.size(); ++i)
    for (const int bit : {0, 3, 7}) {
      std::string changed = text;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      try {
        const int frames = read_all(changed);  // outside of CHECK, which would catch
        CHECK(frames <= 60);
        ++read;
      } catch (const FormatError&) {
        ++refused;
      }
    }
  CHECK(refused > 50);
  CHECK(read > 50);
}

TEST_SUITE_END();
