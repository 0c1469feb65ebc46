// JPEG through libjpeg-turbo, with the settings that OpenCV uses: accurate integer DCT, smooth chroma upsampling.
#ifdef SLIMNECK_WITH_TURBOJPEG
#include <turbojpeg.h>

#include <algorithm>
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

// What libjpeg warns of although no pixel is made up, said in a usual way: no end marker, a revision of JFIF other than
// 1, and a colour transform that is none, for which it takes the one put here. Empty when all of it is usual.
std::vector<std::byte> in_usual_words(std::span<const std::byte> content, const JpegHeader& header,
                                      std::string_view name) {
  constexpr std::byte jfif{1}, none{0};
  const std::byte transform{static_cast<unsigned char>(header.components == 4 ? 2 : 1)};
  const auto at = [&](std::size_t place) { return content[place]; };
  const bool revision = header.revision_at != 0 && at(header.revision_at) != jfif;
  const bool colours =
      header.transform_at != 0 && at(header.transform_at) != none && at(header.transform_at) != transform;
  if (header.ends && !revision && !colours) return {};
  check_memory(2 * content.size() + static_cast<std::uint64_t>(header.width * header.height) * 7, name, "JPEG");
  std::vector<std::byte> copy(content.size() + (header.ends ? 0 : 2));
  std::copy(content.begin(), content.end(), copy.begin());
  if (revision) copy[header.revision_at] = jfif;
  if (colours) copy[header.transform_at] = transform;
  if (!header.ends) {
    copy[content.size()] = std::byte{0xff};
    copy[content.size() + 1] = std::byte{0xd9};
  }
  return copy;
}

// libjpeg goes on after most damage and only warns, and of several warnings it tells the first. So there must be none:
// each means that pixels were made up.
void decode(tjhandle handle, std::span<const std::byte> content, std::uint8_t* out, const JpegHeader& header,
            TJPF format, std::string_view name) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(content.data());
  const int result =
      tjDecompress2(handle, bytes, static_cast<unsigned long>(content.size()), out, static_cast<int>(header.width), 0,
                    static_cast<int>(header.height), format, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS);
  if (result == 0) return;
  bad_picture(name, "JPEG", std::string("damaged: ") + tjGetErrorStr2(handle));
}

}  // namespace

Image decode_jpeg(std::span<const std::byte> content, std::string_view name) {
  const JpegHeader header = check_jpeg(content, name);
  const std::vector<std::byte> usual = in_usual_words(content, header, name);
  if (!usual.empty()) content = usual;
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
