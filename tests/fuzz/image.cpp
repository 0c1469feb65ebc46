// Pictures of every format, their extents, and Y4M streams. A fuzzer does not find checksums: a PNG file is read as it
// is, and once more with its chunks' checksums put right.
#include "slimneck/image.hpp"

#include <zlib.h>

#include <algorithm>
#include <optional>

#include "slimneck/video.hpp"
#include "target.hpp"

using namespace slimneck;

namespace {

constexpr index_t most_pixels = index_t{1} << 20;  // more of them take time and show nothing new
constexpr std::string_view png = "\x89PNG\r\n\x1a\n";

bool is_whole(const Image& image) {
  return image.width > 0 && image.height > 0 &&
         image.rgb.size() == static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height) * 3;
}

void check_picture(std::string_view content) {
  const std::vector<std::byte> bytes = fuzz::bytes_of(content);
  std::optional<Extents> extents;
  fuzz::accepts([&] { extents = image_extents(bytes, "a"); });
  if (extents && extents->width * extents->height > most_pixels) return;
  std::optional<Image> image;
  fuzz::accepts([&] { image = decode_image(bytes, "a"); });
  if (!image) return;
  fuzz::require(is_whole(*image) && extents && *extents == Extents{image->width, image->height});
}

std::string with_right_checksums(std::string content) {
  constexpr std::size_t frame = 12;  // length, type, checksum
  for (std::size_t at = png.size(); content.size() - at >= frame;) {
    std::size_t length = 0;
    for (std::size_t i = 0; i < 4; ++i) length = length << 8 | static_cast<unsigned char>(content[at + i]);
    if (length > content.size() - at - frame) break;
    const auto* summed = reinterpret_cast<const Bytef*>(content.data() + at + 4);
    const auto sum = ::crc32_z(0, summed, length + 4);
    for (std::size_t i = 0; i < 4; ++i) content[at + 8 + length + i] = static_cast<char>(sum >> (24 - 8 * i) & 0xff);
    at += frame + length;
  }
  return content;
}

void check_video(std::string_view content) {
  const auto read = [&content](std::span<std::byte> target) {
    const std::size_t count = std::min(target.size(), content.size());
    std::transform(content.begin(), content.begin() + static_cast<std::ptrdiff_t>(count), target.begin(),
                   [](char c) { return static_cast<std::byte>(c); });
    content.remove_prefix(count);
    return count;
  };
  fuzz::accepts([&] {
    VideoReader video(read, "a.y4m");
    constexpr int most_frames = 8;
    for (int i = 0; i < most_frames; ++i) {
      const std::optional<Image> image = video.next();
      if (!image) break;
      fuzz::require(is_whole(*image) && image->width == video.format().width);
    }
  });
}

}  // namespace

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view content = fuzz::text_of(data, size);
  check_picture(content);
  if (content.starts_with(png)) check_picture(with_right_checksums(std::string(content)));
  check_video(content);
  return 0;
}
