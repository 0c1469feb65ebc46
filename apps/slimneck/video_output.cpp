#include "video_output.hpp"

#include <charconv>
#include <numeric>

#include "cli.hpp"

namespace slimneck::cli {

namespace {

/// So many frames per second, `stride` times slower; "0:0", unknown, where that is no number of nine digits.
std::string slower(const std::string& rate, index_t stride) {
  constexpr index_t most = 999'999'999;
  const std::size_t colon = rate.find(':');
  index_t frames = 0, seconds = 0;
  std::from_chars(rate.data(), rate.data() + colon, frames);
  std::from_chars(rate.data() + colon + 1, rate.data() + rate.size(), seconds);
  const index_t common = std::gcd(frames, stride);
  if (frames == 0 || seconds > most / (stride / common)) return "0:0";
  return std::to_string(frames / common) + ":" + std::to_string(seconds * (stride / common));
}

void write_output(std::span<const std::byte> bytes) {
  print(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

}  // namespace

VideoFormat output_format(const Image& first, const std::optional<VideoFormat>& source, index_t stride) {
  VideoFormat format = source.value_or(VideoFormat{});
  format.width = first.width;
  format.height = first.height;
  if (format.chroma == "mono") format.chroma = "420jpeg";
  if (source && stride > 1) format.rate = slower(format.rate, stride);
  return format;
}

VideoOutput::VideoOutput(const std::filesystem::path& target, const VideoFormat& format)
    : file_(target == "-" ? nullptr : std::make_unique<GrowingFile>(target)),
      writer_(file_ ? WriteBytes([file = file_.get()](std::span<const std::byte> bytes) {
                const Uninterrupted shield;
                file->append(bytes);
              })
                    : WriteBytes(write_output),
              format) {}

void VideoOutput::write(const Image& frame) {
  writer_.write(frame);
  if (!file_) flush_output();
}

void VideoOutput::finish() {
  if (file_) file_->finish();
}

}  // namespace slimneck::cli
