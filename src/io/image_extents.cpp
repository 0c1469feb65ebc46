// Extents of pictures from their headers: a data set of many thousands is looked through without decoding it.
#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <limits>

#include "io/files.hpp"
#include "io/image_detail.hpp"

namespace slimneck {
namespace {

using Bytes = std::vector<std::byte>;

constexpr int most_parts = 1 << 20;  // chunks or markers: a file of nothing else is no picture

/// A file or memory of which parts are read.
struct Source {
  std::uint64_t size = 0;
  std::function<void(std::uint64_t, std::span<std::byte>)> read;
  std::string_view name;

  /// Bytes from `at` on; fewer than `count` at the end.
  [[nodiscard]] Bytes bytes(std::uint64_t at, std::size_t count) const {
    Bytes out(at < size ? static_cast<std::size_t>(std::min<std::uint64_t>(count, size - at)) : 0);
    if (!out.empty()) read(at, out);
    return out;
  }
  [[nodiscard]] Bytes exactly(std::uint64_t at, std::size_t count, std::string_view format) const {
    Bytes out = bytes(at, count);
    if (out.size() != count) io::bad_picture(name, format, "truncated");
    return out;
  }
};

bool begins_with(const Bytes& bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

Extents turned(index_t width, index_t height, int orientation, const Source& source, std::string_view format) {
  io::check_extents(width, height, source.name, format);
  return orientation >= 5 ? Extents{height, width} : Extents{width, height};
}

/// Segments up to the first scan: the frame header has the extents, APP1 the orientation.
Extents jpeg_extents(const Source& source) {
  constexpr std::string_view exif{"Exif\0\0", 6}, format = "JPEG";
  constexpr unsigned app1 = 0xe1, sos = 0xda, eoi = 0xd9;
  index_t width = 0, height = 0;
  int orientation = 1, parts = 0;
  for (std::uint64_t at = 2;;) {
    if (++parts > most_parts) io::bad_picture(source.name, format, "damaged: more than a million markers");
    const Bytes head = source.exactly(at, 4, format);
    const auto marker = std::to_integer<unsigned>(head[1]);
    if (head[0] != std::byte{0xff})
      io::bad_picture(source.name, format, "damaged: no marker at byte " + std::to_string(at));
    if (marker == 0xff) {  // a fill byte
      ++at;
      continue;
    }
    if (marker == sos || marker == eoi) break;
    const std::size_t length = io::big_endian(std::span(head).subspan(2));
    if (length < 2) io::bad_picture(source.name, format, "damaged: segment of " + std::to_string(length) + " bytes");
    const bool frame = marker >= 0xc0 && marker <= 0xcf && marker != 0xc4 && marker != 0xc8 && marker != 0xcc;
    if (frame) {
      const Bytes body = source.exactly(at + 4, 5, format);
      height = io::big_endian(std::span(body).subspan(1, 2));
      width = io::big_endian(std::span(body).subspan(3, 2));
    } else if (marker == app1) {
      const Bytes body = source.exactly(at + 4, length - 2, format);
      if (begins_with(body, exif)) orientation = io::exif_orientation(std::span(body).subspan(exif.size()));
    }
    at += 2 + length;
  }
  return turned(width, height, orientation, source, format);
}

/// IHDR comes first; the orientation is in a chunk anywhere before IEND.
Extents png_extents(const Source& source) {
  constexpr std::string_view format = "PNG";
  const Bytes header = source.exactly(16, 8, format);
  int orientation = 1, parts = 0;
  for (std::uint64_t at = 8;;) {
    if (++parts > most_parts) io::bad_picture(source.name, format, "more than a million chunks");
    const Bytes head = source.exactly(at, 8, format);
    const std::size_t length = io::big_endian(std::span(head).first(4));
    const std::string_view type(reinterpret_cast<const char*>(head.data()) + 4, 4);
    if (type == "IEND") break;
    if (type == "eXIf" && length < io::max_exif_bytes)
      orientation = io::exif_orientation(source.exactly(at + 8, length, format));
    at += length + 12;
  }
  return turned(io::big_endian(std::span(header).first(4)), io::big_endian(std::span(header).subspan(4)), orientation,
                source, format);
}

Extents extents_of(const Source& source) {
  const Bytes magic = source.bytes(0, 8);
  if (begins_with(magic, "\xff\xd8\xff")) return jpeg_extents(source);
  if (begins_with(magic, "\x89PNG\r\n\x1a\n")) return png_extents(source);
  // The other kinds are rare and their headers of many forms: their own readers know them.
  Bytes all(static_cast<std::size_t>(source.size));
  if (!all.empty()) source.read(0, all);
  const Image image = decode_image(all, source.name);
  return {image.width, image.height};
}

}  // namespace

Extents read_extents(const std::filesystem::path& path) {
  const std::string name = path.string();
  io::InputFile file(path, io::max_picture_bytes);
  // Headers are mostly within the first few kilobytes: one read serves them all.
  Bytes front(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 4096)));
  file.read_at(0, front);
  const auto read = [&](std::uint64_t at, std::span<std::byte> out) {
    if (at + out.size() <= front.size())
      std::copy_n(front.begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
    else
      file.read_at(at, out);
  };
  return extents_of({file.size(), read, name});
}

Extents image_extents(std::span<const std::byte> content, std::string_view name) {
  const auto read = [content](std::uint64_t at, std::span<std::byte> out) {
    std::copy_n(content.begin() + static_cast<std::ptrdiff_t>(at), out.size(), out.begin());
  };
  return extents_of({content.size(), read, name});
}

}  // namespace slimneck
