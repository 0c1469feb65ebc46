// PNG. Telling a damaged file from a whole one takes everything that decoding takes (checksums, inflated length, filter
// numbers, palette indices), so this file decodes as it checks. Only two rows are held besides the picture.
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "io/image_detail.hpp"

namespace slimneck::io {
namespace {

using Bytes = std::span<const std::byte>;

constexpr std::string_view signature = "\x89PNG\r\n\x1a\n";
constexpr std::size_t chunk_frame = 12;  // length, type, checksum
constexpr int max_chunks = 1 << 20;
constexpr std::size_t max_surplus = std::size_t{1} << 20;  // inflated bytes beyond the last row

[[noreturn]] void fail(std::string_view name, const std::string& what) { bad_picture(name, "PNG", what); }

std::uint32_t checksum(Bytes bytes) {
  return static_cast<std::uint32_t>(
      ::crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<z_size_t>(bytes.size())));
}

struct Header {
  index_t width = 0, height = 0;
  unsigned depth = 0, colour_type = 0;
  bool interlaced = false;

  [[nodiscard]] unsigned channels() const { return std::array{1U, 0U, 3U, 1U, 2U, 0U, 4U}.at(colour_type); }
  [[nodiscard]] std::size_t pixel_bits() const { return std::size_t{channels()} * depth; }
  [[nodiscard]] bool indexed() const { return colour_type == 3; }
};

struct Parts {
  Header header;
  Bytes palette;
  std::vector<Bytes> data;
  int orientation = 1;
};

Header read_header(Bytes body, std::string_view name) {
  if (body.size() != 13) fail(name, "IHDR of " + std::to_string(body.size()) + " bytes, wanted 13");
  const auto byte = [&](std::size_t i) { return std::to_integer<unsigned>(body[i]); };
  Header h;
  h.width = big_endian(body.first(4));
  h.height = big_endian(body.subspan(4, 4));
  h.depth = byte(8);
  h.colour_type = byte(9);
  h.interlaced = byte(12) == 1;
  check_extents(h.width, h.height, name, "PNG");
  constexpr std::array<unsigned, 7> depths{0x1f, 0, 0x18, 0x0f, 0x18, 0, 0x18};  // bit i: depth 2^i is allowed
  const bool power = h.depth != 0 && h.depth <= 16 && (h.depth & (h.depth - 1)) == 0;
  const unsigned bit = power ? static_cast<unsigned>(__builtin_ctz(h.depth)) : 31U;
  if (h.colour_type >= depths.size() || (depths[h.colour_type] >> bit & 1) == 0)
    fail(name, "colour type " + std::to_string(h.colour_type) + " with " + std::to_string(h.depth) + " bits");
  if (byte(10) != 0 || byte(11) != 0 || byte(12) > 1) fail(name, "unknown compression, filter or interlace method");
  return h;
}

// Walks all chunks up to IEND: order, checksums, and where the pixels' data lies.
Parts read_chunks(Bytes content, std::string_view name) {
  Parts parts;
  bool seen_header = false, data_over = false;
  int chunks = 0;
  for (std::size_t at = signature.size();;) {
    if (++chunks > max_chunks) fail(name, "more than a million chunks");
    if (content.size() - at < chunk_frame) fail(name, "truncated: no IEND");
    const std::size_t length = big_endian(content.subspan(at, 4));
    if (length > content.size() - at - chunk_frame) fail(name, "truncated inside a chunk");
    const Bytes body = content.subspan(at + 8, length);
    const std::string_view type(reinterpret_cast<const char*>(content.data()) + at + 4, 4);
    if (checksum(content.subspan(at + 4, length + 4)) != big_endian(content.subspan(at + 8 + length, 4)))
      fail(name, "damaged: checksum of the chunk at byte " + std::to_string(at));
    at += length + chunk_frame;
    if (seen_header == (type == "IHDR")) fail(name, "IHDR is missing, not first or twice");
    if (type == "IDAT") {
      if (data_over) fail(name, "IDAT chunks are not together");
      parts.data.push_back(body);
      continue;
    }
    data_over = !parts.data.empty();
    if (type == "IHDR") {
      parts.header = read_header(body, name);
      seen_header = true;
    } else if (type == "PLTE") {
      if (data_over || !parts.palette.empty() || length == 0 || length % 3 != 0 || length > 768)
        fail(name, "PLTE of " + std::to_string(length) + " bytes, late or twice");
      parts.palette = body;
    } else if (type == "eXIf") {
      if (length < max_exif_bytes) parts.orientation = exif_orientation(body);
    } else if (type == "IEND") {
      break;
    } else if ((type[0] & 0x20) == 0) {
      fail(name, "unknown critical chunk at byte " + std::to_string(at - length - chunk_frame));
    }
  }
  if (parts.data.empty()) fail(name, "no IDAT");
  if (parts.header.indexed() && parts.palette.empty()) fail(name, "no PLTE");
  return parts;
}

// The inflated stream of all IDAT chunks.
class Inflater {
 public:
  Inflater(const std::vector<Bytes>& parts, std::string_view name) : parts_(parts), name_(name) {
    if (::inflateInit(&stream_) != Z_OK) throw std::bad_alloc();
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  ~Inflater() { ::inflateEnd(&stream_); }

  void read(std::span<std::uint8_t> out) {
    if (fill(out) != out.size()) fail(name_, "the compressed data ends before the last row");
  }

  // Reads on to the stream's end and so to its checksum.
  void finish() {
    std::vector<std::uint8_t> surplus(max_surplus);
    if (!ended_ && fill(surplus) == surplus.size()) fail(name_, "far more data than pixels");
  }

 private:
  // Inflates until `out` is full or the stream ends; returns the number of bytes.
  std::size_t fill(std::span<std::uint8_t> out) {
    stream_.next_out = out.data();
    stream_.avail_out = static_cast<uInt>(out.size());
    while (stream_.avail_out > 0 && !ended_) {
      if (stream_.avail_in == 0) {
        if (next_ == parts_.size()) fail(name_, "the compressed data is truncated");
        stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(parts_[next_].data()));
        stream_.avail_in = static_cast<uInt>(parts_[next_++].size());
        continue;
      }
      const int result = ::inflate(&stream_, Z_NO_FLUSH);
      if (result != Z_OK && result != Z_STREAM_END)
        fail(name_, std::string("damaged data: ") + (stream_.msg != nullptr ? stream_.msg : "cannot inflate"));
      ended_ = result == Z_STREAM_END;
    }
    return out.size() - stream_.avail_out;
  }

  const std::vector<Bytes>& parts_;
  std::string_view name_;
  z_stream stream_{};
  std::size_t next_ = 0;
  bool ended_ = false;
};

int paeth(int a, int b, int c) {
  const int pa = std::abs(b - c), pb = std::abs(a - c), pc = std::abs(a + b - 2 * c);
  if (pa <= pb && pa <= pc) return a;
  return pb <= pc ? b : c;
}

// Undoes a row's filter in place. `above` is the row before (zeros for the first), `step` the bytes of a whole pixel.
void unfilter(unsigned filter, std::span<std::uint8_t> row, std::span<const std::uint8_t> above, std::size_t step) {
  for (std::size_t i = 0; i < row.size(); ++i) {
    const int left = i < step ? 0 : row[i - step];
    const int up = above[i];
    const int corner = i < step ? 0 : above[i - step];
    const std::array<int, 5> guess{0, left, up, (left + up) / 2, filter == 4 ? paeth(left, up, corner) : 0};
    row[i] = static_cast<std::uint8_t>(row[i] + guess[filter]);
  }
}

// Turns rows of samples into RGB pixels.
class Painter {
 public:
  Painter(const Parts& parts, std::string_view name) : parts_(parts), name_(name) {}

  // Pixel i of a row, at the three bytes `out`.
  void paint(std::span<const std::uint8_t> row, std::size_t i, std::uint8_t* out) const {
    const Header& h = parts_.header;
    const std::size_t first = i * h.channels();
    if (h.indexed()) {
      const std::size_t index = sample(row, first);
      if (index * 3 >= parts_.palette.size()) fail(name_, "colour " + std::to_string(index) + " is not in PLTE");
      std::memcpy(out, parts_.palette.data() + index * 3, 3);
    } else if (h.channels() >= 3) {
      for (std::size_t c = 0; c < 3; ++c) out[c] = static_cast<std::uint8_t>(sample(row, first + c));
    } else {
      const unsigned white = h.depth < 8 ? (1U << h.depth) - 1 : 255U;
      std::fill_n(out, 3, static_cast<std::uint8_t>(sample(row, first) * 255U / white));
    }
  }

 private:
  // Sample i of a row; of 16 bits the high byte.
  [[nodiscard]] unsigned sample(std::span<const std::uint8_t> row, std::size_t i) const {
    const std::size_t depth = parts_.header.depth;
    if (depth >= 8) return row[i * depth / 8];
    const std::size_t bit = i * depth;
    return (row[bit / 8] >> (8 - depth - bit % 8)) & ((1U << depth) - 1);
  }

  const Parts& parts_;
  std::string_view name_;
};

// A regular grid of the picture's pixels that is stored like a picture of its own.
struct Pass {
  index_t x, y, dx, dy;
};
constexpr std::array<Pass, 1> progressive{{{0, 0, 1, 1}}};
constexpr std::array<Pass, 7> adam7{
    {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}}};

void read_pass(const Pass& pass, const Parts& parts, Inflater& source, Image& image, std::string_view name) {
  const auto count = [](index_t all, index_t first, index_t step) { return (all - first + step - 1) / step; };
  const index_t columns = count(image.width, pass.x, pass.dx), rows = count(image.height, pass.y, pass.dy);
  if (columns <= 0 || rows <= 0) return;
  const std::size_t bits = parts.header.pixel_bits();
  const std::size_t length = (static_cast<std::size_t>(columns) * bits + 7) / 8;
  std::vector<std::uint8_t> row(length + 1), above(length + 1);  // the filter's number first
  const Painter painter(parts, name);
  for (index_t y = 0; y < rows; ++y) {
    source.read(row);
    if (row[0] > 4) fail(name, "row filter " + std::to_string(row[0]) + " does not exist");
    const auto samples = std::span(row).subspan(1);
    unfilter(row[0], samples, std::span(above).subspan(1), std::max<std::size_t>(bits / 8, 1));
    std::uint8_t* out = image.rgb.data() + ((pass.y + y * pass.dy) * image.width + pass.x) * 3;
    for (index_t x = 0; x < columns; ++x) painter.paint(samples, static_cast<std::size_t>(x), out + x * pass.dx * 3);
    std::swap(row, above);
  }
}

void append(std::vector<std::byte>& out, std::uint32_t number) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::byte>(number >> shift & 0xff));
}

/// A chunk with what append_body() adds to the file.
template <class AppendBody>
void append_chunk_of(std::vector<std::byte>& out, std::string_view type, AppendBody append_body) {
  const std::size_t start = out.size();
  append(out, 0);
  const Bytes letters = std::as_bytes(std::span(type));
  out.insert(out.end(), letters.begin(), letters.end());
  append_body(out);
  std::vector<std::byte> length;
  append(length, static_cast<std::uint32_t>(out.size() - start - 8));
  std::copy(length.begin(), length.end(), out.begin() + static_cast<std::ptrdiff_t>(start));
  append(out, checksum(Bytes(out).subspan(start + 4)));
}

void append_chunk(std::vector<std::byte>& out, std::string_view type, Bytes body) {
  append_chunk_of(out, type,
                  [body](std::vector<std::byte>& file) { file.insert(file.end(), body.begin(), body.end()); });
}

/// Appends the rows of the picture, each as difference to the one above it (filter 2), deflated.
void append_deflated(std::vector<std::byte>& out, const Image& image) {
  constexpr std::size_t part = std::size_t{1} << 16;
  z_stream stream{};
  if (::deflateInit(&stream, Z_DEFAULT_COMPRESSION) != Z_OK) throw std::bad_alloc();
  const std::unique_ptr<z_stream, int (*)(z_streamp)> guard(&stream, &::deflateEnd);
  const auto pitch = static_cast<std::size_t>(image.width) * 3;
  // What is not written to takes no memory, and growing would take it twice.
  out.reserve(out.size() +
              ::deflateBound(&stream, static_cast<uLong>((pitch + 1) * static_cast<std::size_t>(image.height))));
  std::vector<std::uint8_t> row(pitch + 1);
  std::vector<std::byte> packed(part);
  row[0] = 2;
  for (index_t y = 0; y < image.height; ++y) {
    const std::uint8_t* from = image.rgb.data() + static_cast<std::size_t>(y) * pitch;
    for (std::size_t i = 0; i < pitch; ++i)
      row[i + 1] = static_cast<std::uint8_t>(from[i] - (y > 0 ? *(from + i - pitch) : 0));
    stream.next_in = row.data();
    stream.avail_in = static_cast<uInt>(row.size());
    do {
      stream.next_out = reinterpret_cast<Bytef*>(packed.data());
      stream.avail_out = static_cast<uInt>(part);
      ::deflate(&stream, y + 1 == image.height ? Z_FINISH : Z_NO_FLUSH);
      out.insert(out.end(), packed.begin(), packed.end() - static_cast<std::ptrdiff_t>(stream.avail_out));
    } while (stream.avail_out == 0);
  }
}

}  // namespace

Image decode_png(Bytes content, std::string_view name) {
  const Parts parts = read_chunks(content, name);
  const auto pixels = static_cast<std::uint64_t>(parts.header.width * parts.header.height);
  check_memory(content.size() + pixels * (parts.orientation > 1 ? 6 : 3), name, "PNG");
  Image image(parts.header.width, parts.header.height);
  Inflater source(parts.data, name);
  const std::span<const Pass> passes = parts.header.interlaced ? std::span<const Pass>(adam7) : progressive;
  for (const Pass& pass : passes) read_pass(pass, parts, source, image, name);
  source.finish();
  return upright(std::move(image), parts.orientation);
}

std::vector<std::byte> encode_png(const Image& image) {
  std::vector<std::byte> header;
  append(header, static_cast<std::uint32_t>(image.width));
  append(header, static_cast<std::uint32_t>(image.height));
  for (const int value : {8, 2, 0, 0, 0}) header.push_back(static_cast<std::byte>(value));  // 8-bit RGB, not interlaced
  const Bytes magic = std::as_bytes(std::span(signature));
  std::vector<std::byte> out(magic.begin(), magic.end());
  append_chunk(out, "IHDR", header);
  append_chunk_of(out, "IDAT", [&image](std::vector<std::byte>& file) { append_deflated(file, image); });
  append_chunk(out, "IEND", {});
  return out;
}

}  // namespace slimneck::io
