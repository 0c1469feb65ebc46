// Pictures and pieces of picture files for tests.
#pragma once

#include <zlib.h>

#ifdef SLIMNECK_WITH_TURBOJPEG
#include <turbojpeg.h>
#endif

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "slimneck/image.hpp"

namespace slimneck::test {

using Bytes = std::vector<std::byte>;

inline Image noise(index_t width, index_t height, unsigned seed) {
  Image image(width, height);
  std::mt19937 engine(seed);
  for (auto& level : image.rgb) level = static_cast<std::uint8_t>(engine() & 255U);
  return image;
}

inline std::string big_endian_text(std::uint32_t value) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(value >> shift & 255U);
  return text;
}

inline void add(Bytes& file, const std::string& text) {
  for (const char c : text) file.push_back(static_cast<std::byte>(c));
}

inline Bytes png_signature() {
  Bytes file;
  add(file, "\x89PNG\r\n\x1a\n");
  return file;
}

/// A chunk with a right checksum, whatever it holds.
inline void add_chunk(Bytes& file, const std::string& type, const std::string& body) {
  const std::string summed = type + body;
  add(file, big_endian_text(static_cast<std::uint32_t>(body.size())) + summed);
  const auto* bytes = reinterpret_cast<const Bytef*>(summed.data());
  add(file, big_endian_text(static_cast<std::uint32_t>(::crc32(0, bytes, static_cast<uInt>(summed.size())))));
}

inline std::string deflated(const std::string& text) {
  uLongf size = ::compressBound(static_cast<uLong>(text.size()));
  std::string packed(size, '\0');
  ::compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(text.data()),
             static_cast<uLong>(text.size()));
  packed.resize(size);
  return packed;
}

/// A PNG file around given rows (each with its filter number), honest or not.
struct Png {
  std::uint32_t width, height;
  unsigned depth, colour_type;
  std::string palette;
  unsigned interlace = 0;
  std::string exif = {};

  [[nodiscard]] std::string header() const {
    std::string text = big_endian_text(width) + big_endian_text(height);
    for (const unsigned value : {depth, colour_type, 0U, 0U, interlace}) text += static_cast<char>(value);
    return text;
  }
  [[nodiscard]] Bytes file(const std::string& rows) const {
    Bytes content = png_signature();
    add_chunk(content, "IHDR", header());
    if (!exif.empty()) add_chunk(content, "eXIf", exif);
    if (!palette.empty()) add_chunk(content, "PLTE", palette);
    const std::string stream = deflated(rows);
    add_chunk(content, "IDAT", stream.substr(0, 3));
    add_chunk(content, "IDAT", "");
    add_chunk(content, "IDAT", stream.substr(3));
    add_chunk(content, "IEND", "");
    return content;
  }
};

/// A TIFF structure whose only field is the orientation.
inline std::string tiff_orientation(unsigned value, bool little) {
  const auto number = [little](unsigned v, std::size_t bytes) {
    std::string text = big_endian_text(v).substr(4 - bytes);
    return little ? std::string(text.rbegin(), text.rend()) : text;
  };
  return (little ? "II" : "MM") + number(42, 2) + number(8, 4) + number(1, 2) + number(0x0112, 2) + number(3, 2) +
         number(1, 4) + number(value, 2) + number(0, 2) + number(0, 4);
}

/// A JPEG file with one more segment after its first marker.
inline Bytes with_segment(const Bytes& jpeg, unsigned marker, const std::string& body) {
  Bytes file(jpeg.begin(), jpeg.begin() + 2);
  file.push_back(std::byte{0xff});
  file.push_back(static_cast<std::byte>(marker));
  add(file, big_endian_text(static_cast<std::uint32_t>(body.size() + 2)).substr(2) + body);
  file.insert(file.end(), jpeg.begin() + 2, jpeg.end());
  return file;
}

/// Where a marker's 0xff byte lies.
inline std::size_t find_marker(const Bytes& jpeg, unsigned marker) {
  std::size_t i = 0;
  while (jpeg[i] != std::byte{0xff} || jpeg[i + 1] != static_cast<std::byte>(marker)) ++i;
  return i;
}

#ifdef SLIMNECK_WITH_TURBOJPEG
/// A progressive JPEG of some colours; `whole_chroma`: 4:4:4 instead of 4:2:0.
inline Bytes progressive_jpeg(int width, int height, bool whole_chroma = false) {
  const std::unique_ptr<void, decltype(&tjDestroy)> handle(tjInitCompress(), &tjDestroy);
  std::vector<unsigned char> rgb(std::size_t{3} * static_cast<std::size_t>(width * height));
  for (std::size_t i = 0; i < rgb.size(); ++i) rgb[i] = static_cast<unsigned char>(i * i % 251);
  const TJSAMP chroma = whole_chroma ? TJSAMP_444 : TJSAMP_420;
  unsigned long length = tjBufSize(width, height, chroma);
  Bytes file(length);
  auto* memory = reinterpret_cast<unsigned char*>(file.data());
  if (tjCompress2(handle.get(), rgb.data(), width, 0, height, TJPF_RGB, &memory, &length, chroma, 90,
                  TJFLAG_NOREALLOC | TJFLAG_PROGRESSIVE) != 0)
    return {};
  file.resize(length);
  return file;
}
#endif

/// SHA-256 in hexadecimal digits (FIPS 180-4). The constants are the first 32 bits of the fractional parts of square
/// and cube roots of primes; they are computed here rather than listed.
inline std::string sha256(std::vector<std::uint8_t> data) {
  using Word = std::uint32_t;
  std::array<Word, 8> state{};
  std::array<Word, 64> constants{};
  const auto fraction = [](long double v) { return static_cast<Word>((v - std::floor(v)) * 4294967296.0L); };
  for (unsigned candidate = 2, found = 0; found < 64; ++candidate) {
    bool prime = true;
    for (unsigned d = 2; d * d <= candidate; ++d) prime = prime && candidate % d != 0;
    if (!prime) continue;
    if (found < 8) state[found] = fraction(std::sqrt(static_cast<long double>(candidate)));
    constants[found++] = fraction(std::cbrt(static_cast<long double>(candidate)));
  }
  const std::uint64_t bits = data.size() * 8;
  data.push_back(0x80);
  while (data.size() % 64 != 56) data.push_back(0);
  for (int shift = 56; shift >= 0; shift -= 8) data.push_back(static_cast<std::uint8_t>(bits >> shift));
  for (std::size_t block = 0; block < data.size(); block += 64) {
    std::array<Word, 64> w{};
    for (std::size_t i = 0; i < 64; ++i) w[i / 4] = w[i / 4] << 8 | data[block + i];
    for (std::size_t i = 16; i < 64; ++i) {
      const Word a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ a >> 3) +
             (std::rotr(b, 17) ^ std::rotr(b, 19) ^ b >> 10);
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t i = 0; i < 64; ++i) {
      const Word t1 =
          h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) + constants[i] + w[i];
      const Word t2 = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const std::array<Word, 8> sum{a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) state[i] += sum[i];
  }
  std::string text;
  for (const Word word : state)
    for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 15];
  return text;
}

}  // namespace slimneck::test
