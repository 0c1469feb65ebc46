// YUV4MPEG2: a line of tags, then for each frame the line "FRAME" and its planes Y, U, V.
// (mjpegtools, yuv4mpeg(5); XCOLORRANGE is ffmpeg's.)
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <memory>

#include "io/files.hpp"
#include "io/image_detail.hpp"
#include "io/yuv.hpp"
#include "slimneck/video.hpp"

namespace slimneck {
namespace {

constexpr std::string_view magic = "YUV4MPEG2 ";
constexpr std::string_view frame_magic = "FRAME";
constexpr std::size_t longest_line = 1024;
constexpr std::size_t buffer_bytes = std::size_t{1} << 16;

struct Chroma {
  std::string_view name;
  index_t step_x, step_y;
};
// Where exactly samples of the three kinds of 420 lie, half a pixel more to the left or not, makes no difference here.
constexpr std::array<Chroma, 7> chromas{{{"420", 2, 2},
                                         {"420jpeg", 2, 2},
                                         {"420mpeg2", 2, 2},
                                         {"420paldv", 2, 2},
                                         {"422", 2, 1},
                                         {"444", 1, 1},
                                         {"mono", 1, 1}}};

io::PlaneLayout layout_of(const VideoFormat& format) {
  const auto* const chroma =
      std::find_if(chromas.begin(), chromas.end(), [&](const Chroma& c) { return c.name == format.chroma; });
  if (chroma == chromas.end())
    throw FormatError("chroma " + io::in_quotes(format.chroma) +
                      " is not supported, wanted 420jpeg, 420mpeg2, 420paldv, 422, 444 or mono, of 8 bits");
  return {format.width, format.height, chroma->step_x, chroma->step_y, chroma->name == "mono", format.full_range};
}

/// The whole text as a number of at most nine digits; -1 when it is none.
index_t number(std::string_view text) {
  if (text.empty() || text.size() > 9) return -1;
  index_t value = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return -1;
    value = value * 10 + (c - '0');
  }
  return value;
}

bool is_ratio(std::string_view text) {
  const std::size_t colon = text.find(':');
  return colon != std::string_view::npos && number(text.substr(0, colon)) >= 0 && number(text.substr(colon + 1)) >= 0;
}

/// Takes one tag of the header; false when its value is damaged. What only concerns others is passed over.
bool take_tag(VideoFormat& format, std::string_view tag) {
  constexpr std::string_view range = "COLORRANGE=";
  const std::string_view value = tag.substr(1);
  switch (tag.front()) {
    case 'W': return (format.width = number(value)) >= 0;
    case 'H': return (format.height = number(value)) >= 0;
    case 'F': format.rate = value; return is_ratio(value);
    case 'A': format.aspect = value; return is_ratio(value);
    case 'I':
      format.interlacing = value;
      return value.size() == 1 && std::string_view("ptbm?").find(value) != std::string_view::npos;
    case 'C': format.chroma = value; return true;
    case 'X':
      if (!value.starts_with(range)) return true;
      format.full_range = value.substr(range.size()) == "FULL";
      return format.full_range || value.substr(range.size()) == "LIMITED";
    default: return true;
  }
}

std::string header_of(const VideoFormat& format) {
  return std::string(magic) + "W" + std::to_string(format.width) + " H" + std::to_string(format.height) + " F" +
         format.rate + " I" + format.interlacing + " A" + format.aspect + " C" + format.chroma +
         " XCOLORRANGE=" + (format.full_range ? "FULL" : "LIMITED") + "\n";
}

}  // namespace

std::size_t VideoFormat::frame_bytes() const {
  io::check_extents(width, height, "video", "Y4M");
  return layout_of(*this).bytes();
}

bool is_video(std::span<const std::byte> begin) noexcept {
  return begin.size() >= magic.size() && std::memcmp(begin.data(), magic.data(), magic.size()) == 0;
}

VideoReader::VideoReader(ReadBytes read, std::string name) : read_(std::move(read)), name_(std::move(name)) {
  read_header();
}

VideoReader::VideoReader(const std::filesystem::path& path) : name_(path.string()) {
  // Only a frame of it is ever in memory.
  const auto file =
      std::make_shared<io::InputFile>(path, static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()));
  read_ = [file](std::span<std::byte> target) { return file->read_some(target); };
  read_header();
  const std::uint64_t one = frame_magic.size() + 1 + format_.frame_bytes();
  frames_ = static_cast<index_t>((file->size() - std::min<std::uint64_t>(header_bytes_, file->size())) / one);
}

void VideoReader::fail(const std::string& what) const {
  io::bad_picture(name_, "Y4M", (frame_ == 0 ? "" : "frame " + std::to_string(frame_) + ": ") + what);
}

void VideoReader::read_header() {
  const std::optional<std::string> header = line();
  if (!header) fail("empty");
  if (!header->starts_with(magic)) fail("damaged: it does not begin with YUV4MPEG2");
  header_bytes_ = header->size() + 1;
  for (std::size_t at = magic.size(); at < header->size();) {
    const std::size_t end = std::min(header->find(' ', at), header->size());
    const std::string tag = header->substr(at, end - at);
    if (!tag.empty() && !take_tag(format_, tag)) fail("damaged: " + io::in_quotes(tag) + " in its first line");
    at = end + 1;
  }
  io::check_extents(format_.width, format_.height, name_, "Y4M");
  try {
    layout_of(format_);
  } catch (const FormatError& problem) {
    fail(problem.what());
  }
}

std::size_t VideoReader::take(std::span<std::byte> target) {
  std::size_t done = 0;
  while (done < target.size()) {
    if (used_ < buffered_) {
      const std::size_t count = std::min(buffered_ - used_, target.size() - done);
      std::memcpy(target.data() + done, buffer_.data() + used_, count);
      used_ += count;
      done += count;
      continue;
    }
    if (target.size() - done >= buffer_bytes) {
      const std::size_t count = read_(target.subspan(done));
      if (count == 0) break;
      done += count;
      continue;
    }
    buffer_.resize(buffer_bytes);
    used_ = 0;
    buffered_ = read_(buffer_);
    if (buffered_ == 0) break;
  }
  return done;
}

/// The next line without its end; nothing when there is not a byte more.
std::optional<std::string> VideoReader::line() {
  std::string text;
  std::byte byte{};
  while (take(std::span(&byte, 1)) == 1) {
    if (byte == std::byte{'\n'}) return text;
    if (text.size() == longest_line) fail("damaged: a line of more than " + std::to_string(longest_line) + " bytes");
    text += static_cast<char>(byte);
    // Whatever else is sent is told from a header at once, not after a kilobyte without a line's end.
    const std::string_view wanted = frame_ == 0 ? magic : frame_magic;
    if (text.size() <= wanted.size() && text.back() != wanted[text.size() - 1])
      fail("damaged: it does not begin with " + std::string(frame_ == 0 ? "YUV4MPEG2" : "FRAME"));
  }
  if (!text.empty()) fail("truncated");
  return std::nullopt;
}

bool VideoReader::skip() {
  ++frame_;
  const std::optional<std::string> header = line();
  if (!header) return false;
  if (!header->starts_with(frame_magic) ||
      (header->size() > frame_magic.size() && (*header)[frame_magic.size()] != ' '))
    fail("damaged: " + io::in_quotes(*header));
  // Memory grows with what arrives: extents alone are only a claim.
  constexpr std::size_t first = std::size_t{1} << 20;
  const std::size_t wanted = format_.frame_bytes();
  for (std::size_t done = 0; done < wanted;) {
    if (done == planes_.size()) planes_.resize(std::min(wanted, std::max(first, 2 * done)));
    const std::size_t count = take(std::span(planes_).subspan(done));
    done += count;
    if (done < planes_.size()) fail("truncated: " + std::to_string(done) + " of " + std::to_string(wanted) + " bytes");
  }
  return true;
}

std::optional<Image> VideoReader::next() {
  if (!skip()) return std::nullopt;
  return io::image_of_planes(layout_of(format_), planes_);
}

VideoWriter::VideoWriter(WriteBytes write, VideoFormat format) : write_(std::move(write)), format_(std::move(format)) {
  bytes_.resize(frame_magic.size() + 1 + format_.frame_bytes());
  std::memcpy(bytes_.data(), "FRAME\n", frame_magic.size() + 1);
  const std::string header = header_of(format_);
  write_(std::as_bytes(std::span(header)));
}

void VideoWriter::write(const Image& frame) {
  io::check_image(frame, "VideoWriter");
  if (frame.width != format_.width || frame.height != format_.height)
    throw ShapeError("VideoWriter: a frame of " + std::to_string(frame.width) + "x" + std::to_string(frame.height) +
                     " pixels, wanted " + std::to_string(format_.width) + "x" + std::to_string(format_.height));
  io::planes_of_image(frame, layout_of(format_), std::span(bytes_).subspan(frame_magic.size() + 1));
  write_(bytes_);
}

}  // namespace slimneck
