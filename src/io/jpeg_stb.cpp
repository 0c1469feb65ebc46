// JPEG through stb, for builds without libjpeg-turbo. Only this file sees stb's code.
#ifndef SLIMNECK_WITH_TURBOJPEG
#include <cstdlib>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wall"
#pragma GCC diagnostic ignored "-Wextra"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-function"
#define STBI_ONLY_JPEG
#define STBI_NO_STDIO
#define STBI_MAX_DIMENSIONS 65535
// Zeroed, so that a damaged file never shows what the memory held before.
#define STBI_MALLOC(size) std::calloc(1, size)
#define STBI_REALLOC(memory, size) std::realloc(memory, size)
#define STBI_FREE(memory) std::free(memory)
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#include <stb/stb_image.h>
#define STBI_WRITE_NO_STDIO
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

#include <algorithm>
#include <memory>

#include "io/image_detail.hpp"

namespace slimneck {

std::string_view jpeg_decoder() noexcept { return "stb"; }

namespace io {

Image decode_jpeg(std::span<const std::byte> content, std::string_view name) {
  const JpegHeader header = check_jpeg(content, name);
  // It would make up what is missing.
  if (!header.ends) bad_picture(name, "JPEG", "truncated: no end marker (EOI)");
  int width = 0, height = 0, channels = 0;
  const std::unique_ptr<stbi_uc, decltype(&stbi_image_free)> pixels(
      stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(content.data()), static_cast<int>(content.size()), &width,
                            &height, &channels, 3),
      &stbi_image_free);
  if (!pixels) bad_picture(name, "JPEG", std::string("damaged: ") + stbi_failure_reason());
  if (width != header.width || height != header.height) bad_picture(name, "JPEG", "damaged: extents differ");
  Image image(width, height);
  std::copy_n(pixels.get(), image.rgb.size(), image.rgb.begin());
  return upright(std::move(image), header.orientation);
}

std::vector<std::byte> encode_jpeg(const Image& image, int quality) {
  std::vector<std::byte> out;
  const auto append = [](void* target, void* data, int size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    auto& all = *static_cast<std::vector<std::byte>*>(target);
    all.insert(all.end(), bytes, bytes + size);
  };
  if (stbi_write_jpg_to_func(append, &out, static_cast<int>(image.width), static_cast<int>(image.height), 3,
                             image.rgb.data(), quality) == 0)
    throw Error("cannot encode JPEG");
  return out;
}

}  // namespace io
}  // namespace slimneck
#endif
