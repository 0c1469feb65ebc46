// JPEG through libjpeg-turbo, with the settings that OpenCV uses: accurate integer DCT, smooth chroma upsampling.
#ifdef SLIMNECK_WITH_TURBOJPEG
#include <turbojpeg.h>

#include <memory>
#include <new>

#include "io/image_detail.hpp"

namespace slimneck {

std::string_view jpeg_decoder() noexcept { return "libjpeg-turbo"; }

namespace io {
namespace {

struct Close {
  void operator()(void* handle) const noexcept { tjDestroy(handle); }
};
using Handle = std::unique_ptr<void, Close>;

// libjpeg goes on after most damage and only warns. A strange marker version harms nothing; every other warning means
// that pixels were made up.
bool harmless(std::string_view warning) {
  return warning.find("unknown JFIF revision") != std::string_view::npos ||
         warning.find("Unknown Adobe color transform") != std::string_view::npos;
}

void decode(tjhandle handle, std::span<const std::byte> content, std::uint8_t* out, const JpegHeader& header,
            TJPF format, std::string_view name) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(content.data());
  const int result =
      tjDecompress2(handle, bytes, static_cast<unsigned long>(content.size()), out, static_cast<int>(header.width), 0,
                    static_cast<int>(header.height), format, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS);
  if (result == 0) return;
  const std::string message = tjGetErrorStr2(handle);
  if (tjGetErrorCode(handle) != TJERR_WARNING || !harmless(message)) bad_picture(name, "JPEG", "damaged: " + message);
}

}  // namespace

Image decode_jpeg(std::span<const std::byte> content, std::string_view name) {
  const JpegHeader header = check_jpeg(content, name);
  std::vector<std::byte> ended;
  if (!header.ends) {  // with the marker a scan that is not whole gives a warning, and a whole one none
    check_memory(2 * content.size() + static_cast<std::uint64_t>(header.width * header.height) * 7, name, "JPEG");
    ended.assign(content.begin(), content.end());
    ended.insert(ended.end(), {std::byte{0xff}, std::byte{0xd9}});
    content = ended;
  }
  const Handle handle(tjInitDecompress());
  if (!handle) throw std::bad_alloc();
  Image image(header.width, header.height);
  if (header.components == 4) {
    // Stored inverted, as Adobe's programs write it: 255 is no ink.
    std::vector<std::uint8_t> cmyk(image.rgb.size() / 3 * 4);
    decode(handle.get(), content, cmyk.data(), header, TJPF_CMYK, name);
    for (std::size_t i = 0; i < cmyk.size() / 4; ++i)
      for (std::size_t c = 0; c < 3; ++c) {
        const int key = cmyk[i * 4 + 3];
        image.rgb[i * 3 + c] = static_cast<std::uint8_t>(key - ((255 - cmyk[i * 4 + c]) * key >> 8));
      }
  } else {
    decode(handle.get(), content, image.rgb.data(), header, TJPF_RGB, name);
  }
  return upright(std::move(image), header.orientation);
}

std::vector<std::byte> encode_jpeg(const Image& image, int quality) {
  const Handle handle(tjInitCompress());
  if (!handle) throw std::bad_alloc();
  const auto width = static_cast<int>(image.width), height = static_cast<int>(image.height);
  unsigned long size = tjBufSize(width, height, TJSAMP_420);
  std::vector<std::byte> out(size);
  auto* memory = reinterpret_cast<unsigned char*>(out.data());
  if (tjCompress2(handle.get(), image.rgb.data(), width, 0, height, TJPF_RGB, &memory, &size, TJSAMP_420, quality,
                  TJFLAG_NOREALLOC | TJFLAG_ACCURATEDCT) != 0)
    throw Error(std::string("cannot encode JPEG: ") + tjGetErrorStr2(handle.get()));
  out.resize(size);
  return out;
}

}  // namespace io
}  // namespace slimneck
#endif
