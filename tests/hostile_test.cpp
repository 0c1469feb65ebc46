// Inputs made to exhaust the program: each one takes at most 512 MiB of memory and ten seconds of a processor, and ends
// with a result or one message.
#include <doctest/doctest.h>

#include "picture_data.hpp"
#include "slimneck/image.hpp"
#include "watched_run.hpp"
#include "workplace.hpp"

#ifdef SLIMNECK_CLI

using namespace slimneck;
using namespace slimneck::test;
using namespace std::string_literals;

namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool sanitized = true;  // takes several times the memory and time
#else
constexpr bool sanitized = false;
#endif

std::string repeated(const std::string& piece, std::size_t bytes) {
  std::string text;
  text.reserve(bytes + piece.size());
  while (text.size() + piece.size() <= bytes) text += piece;
  return text;
}

constexpr std::size_t mebi = std::size_t{1} << 20;

class Place : public Workplace {
 public:
  Place() : Workplace("hostile") {}

  void bytes(const std::string& name, const Bytes& content) const {
    text(name, {reinterpret_cast<const char*>(content.data()), content.size()});
  }
  /// Runs within the limits; fails with `cause` in the message, or works when that is empty.
  void bounded(const std::string& arguments, const std::string& cause) const {
    CAPTURE(arguments);
    const Watched run =
        watch(*this, arguments, {.variables = {{"OMP_NUM_THREADS", "1"}}, .cpu_seconds = sanitized ? rlim_t{120} : 10});
    CAPTURE(run.err);
    if (cause.empty()) {
      CHECK(run.signal == 0);
      CHECK(run.code == 0);
    } else {
      check_one_error(run);
      CHECK(contains(run.err, cause));
    }
    if (!sanitized) CHECK(run.peak < 512 * 1024);
  }
};

}  // namespace

TEST_SUITE_BEGIN("hostile");

TEST_CASE("model files of the largest size") {
  const Place place;
  std::string keys, replaced = "depth_multiple: 1\nwidth_multiple: 1\nneck: {", rows = "backbone: []\nhead: [";
  for (int i = 0; i < 45000; ++i) keys += "key" + std::to_string(i) + ": 1\n";
  for (int i = 0; i < 38000; ++i) replaced += "m" + std::to_string(i) + ": Conv, ";
  rows += repeated("[-1,1,a,[]],", 12 * 4096);
  const std::size_t most = mebi - 100;
  const std::vector<Failure> files{{repeated("[", most), "levels of nesting"},
                                   {repeated("{a: ", most), "levels of nesting"},
                                   {repeated("- ", most), "levels of nesting"},
                                   {repeated("? ", most), "hostile.yaml:"},
                                   {repeated("a: ", most), "hostile.yaml:"},
                                   {repeated("a:\n ", most), "hostile.yaml:"},
                                   {repeated("&a ", most), "hostile.yaml:"},
                                   {repeated("*a ", most), "hostile.yaml:"},
                                   {repeated("!a ", most), "hostile.yaml:"},
                                   {repeated("- &a b\n", most), "values"},
                                   {repeated("a\n", most), "hostile.yaml:"},
                                   {"a: [" + repeated("[],", most), "values"},
                                   {"a: \"" + repeated("\\", most), "hostile.yaml:"},
                                   {"a: '" + repeated("'", most), "hostile.yaml:"},
                                   {"a: |\n" + repeated(" \n", most), "is missing"},
                                   {"a: >\n" + repeated("  b\n\n", most), "is missing"},
                                   {repeated("# \n", most), "the file is empty"},
                                   {repeated("---\n", most), "second document"},
                                   {repeated("%YAML 1.2\n", most), "hostile.yaml:"},
                                   {"nc: " + repeated("9", most), "is missing"},
                                   {keys, "is missing"},
                                   {replaced + "}\n" + rows + "]\n", "to replace"}};
  for (const Failure& file : files) {
    const std::string begin = file.arguments.substr(0, 40);
    CAPTURE(begin);
    place.text("hostile.yaml", file.arguments);
    place.bounded("info --cfg hostile.yaml", file.cause);
  }
}

TEST_CASE("weights") {
  const Place place;
  const auto header = [](const std::string& text) {
    std::string length;
    for (std::size_t i = 0; i < 8; ++i) length += static_cast<char>(text.size() >> (8 * i) & 0xff);
    return length + text;
  };
  write_image(place / "a.png", Image(8, 8));
  place.text("names.safetensors", header(R"({"__metadata__":{"names":")" + repeated("[", 3 * mebi) + "\"}}"));
  place.bounded("detect --cfg detector.yaml --weights names.safetensors --source a.png --nosave",
                "not the weights of this network");
  place.text("deep.safetensors", header(repeated("{\"a\":", 40 * mebi)));
  place.bounded("convert deep.safetensors a.pt", "nested deeper");
  place.text("long.safetensors", header("{\"" + repeated("a", 40 * mebi)));
  place.bounded("convert long.safetensors a.pt", "longer than 4 MiB");
}

TEST_CASE("pictures that promise much") {
  const Place place;
  const std::string detect = "detect --cfg detector.yaml --init seed=1 --img 32 --nosave --source ";
  constexpr std::uint32_t side = 8192;
  const std::string rows = repeated(std::string(side * 3 + 1, '\0'), (side * 3 + 1) * std::size_t{side});
  place.bytes("whole.png", Png{side, side, 8, 2, ""}.file(rows));
  place.bounded(detect + "whole.png", "");
  place.bytes("turned.png", Png{side, side, 8, 2, "", 0, tiff_orientation(6, true)}.file(rows));
  place.bounded(detect + "turned.png", "");
  place.bytes("short.png", Png{side, side, 8, 2, ""}.file(std::string(1000, '\0')));
  place.bounded(detect + "short.png", "ends before the last row");
  place.bytes("long.png", Png{1, 1, 8, 2, ""}.file(rows));
  place.bounded(detect + "long.png", "far more data than pixels");
  place.bytes("large.png", Png{65535, 65535, 8, 2, ""}.file(""));
  place.bounded(detect + "large.png", "at most 64 Mi pixels");

  Bytes chunks = png_signature();
  add_chunk(chunks, "IHDR", Png{1, 1, 8, 2, ""}.header());
  Bytes empty;
  add_chunk(empty, "IDAT", "");
  for (int i = 0; i < 1100000; ++i) chunks.insert(chunks.end(), empty.begin(), empty.end());
  place.bytes("chunks.png", chunks);
  place.bounded(detect + "chunks.png", "more than a million chunks");

  place.text("letters.ppm", "P3 8000 8000 255\n");
  place.bounded(detect + "letters.ppm", "truncated");
  place.text("sparse.ppm", "P6 8192 8192 255\n");
  std::filesystem::resize_file(place / "sparse.ppm", 17 + std::uintmax_t{3} * side * side);
  place.bounded(detect + "sparse.ppm", "");
  std::filesystem::resize_file(place / "sparse.ppm", std::uintmax_t{1} << 30);
  place.bounded(detect + "sparse.ppm", "the limit is 268435456");
  place.text("huge.y4m", "YUV4MPEG2 W60000 H1000 F25:1\nFRAME\n");
  place.bounded(detect + "huge.y4m", "huge.y4m");
}

#ifdef SLIMNECK_WITH_TURBOJPEG
TEST_CASE("progressive pictures, of which a decoder keeps every coefficient") {
  const Place place;
  const std::string detect = "detect --cfg detector.yaml --init seed=1 --img 32 --nosave --source ";
  const Bytes small = progressive_jpeg(32, 32, true);
  const auto enlarged = [&](std::uint32_t width, std::uint32_t height) {
    Bytes file = small;
    const std::string extents = big_endian_text(height).substr(2) + big_endian_text(width).substr(2);
    for (std::size_t i = 0; i < 4; ++i) file[find_marker(file, 0xc2) + 5 + i] = static_cast<std::byte>(extents[i]);
    return file;
  };
  place.bytes("large.jpg", enlarged(8192, 8192));
  place.bounded(detect + "large.jpg", "of memory, the limit is 448");
  place.bytes("smaller.jpg", enlarged(6000, 6000));
  place.bounded(detect + "smaller.jpg", "damaged");
}
#endif

TEST_SUITE_END();

#endif
