#include "frames.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "stopwatch.hpp"

namespace slimneck::cli {

namespace {

constexpr std::size_t most_ahead = 4;
constexpr std::size_t most_bytes_ahead = std::size_t{256} << 20;
constexpr std::size_t most_picture_bytes = std::size_t{256} << 20;
constexpr std::size_t begin_bytes = 16;
constexpr const char* standard_input = "standard input";

/// Fills `target` as far as there are bytes, and says how far.
std::size_t fill(StandardInput& input, std::span<std::byte> target) {
  std::size_t done = 0;
  while (done < target.size()) {
    const std::size_t count = input.read(target.subspan(done));
    if (count == 0) break;
    done += count;
  }
  return done;
}

/// Nothing that is no regular file is opened here: that could wait for ever.
bool is_video_file(const std::string& path) {
  std::error_code problem;
  if (!std::filesystem::is_regular_file(path, problem)) return false;
  std::array<char, begin_bytes> begin{};
  std::ifstream in(path, std::ios::binary);
  in.read(begin.data(), begin.size());
  return is_video(std::as_bytes(std::span(begin)).first(static_cast<std::size_t>(in.gcount())));
}

/// All the rest of standard input, which began with `content`.
std::vector<std::byte> rest_of(StandardInput& input, std::vector<std::byte> content) {
  constexpr std::size_t first = std::size_t{1} << 16;
  for (;;) {
    const std::size_t used = content.size();
    if (used == most_picture_bytes) {
      std::byte more{};
      if (fill(input, std::span(&more, 1)) > 0) throw IoError(std::string(standard_input) + ": more than 256 MiB");
      return content;
    }
    content.resize(std::clamp(2 * used, first, most_picture_bytes));
    const std::size_t count = fill(input, std::span(content).subspan(used));
    if (used + count < content.size()) return content.resize(used + count), content;
  }
}

}  // namespace

FrameReader::FrameReader(std::vector<std::string> sources, index_t stride)
    : sources_(std::move(sources)), stride_(stride), channel_(most_ahead, most_bytes_ahead) {
  if (std::find(sources_.begin(), sources_.end(), "-") != sources_.end()) input_.emplace();
  thread_ = std::thread([this] { work(); });
}

FrameReader::~FrameReader() {
  channel_.abandon();
  if (input_) input_->call_back();
  thread_.join();
}

std::optional<Frame> FrameReader::next() {
  std::optional<Frame> frame = channel_.pop();
  if (!frame && failure_) std::rethrow_exception(failure_);
  return frame;
}

void FrameReader::work() {
  try {
    for (std::size_t i = 0; i < sources_.size(); ++i)
      if (!read(i)) break;
  } catch (...) {
    failure_ = std::current_exception();
  }
  channel_.close();
}

bool FrameReader::put(Frame frame) {
  const std::size_t bytes = frame.image.rgb.size();
  return channel_.push(std::move(frame), bytes);
}

/// False when nobody wants more.
bool FrameReader::read(std::size_t source) {
  const std::string& name = sources_[source];
  try {
    if (name == "-") return read_standard_input(source);
    if (is_video_file(name)) return read_video(source, VideoReader(name), name);
    Stopwatch watch;
    Image image = read_image(name);
    return put({.source = source, .image = std::move(image), .video = {}, .problem = {}, .decode_ms = watch.lap()});
  } catch (const Error& problem) {
    return put({.source = source, .image = {}, .video = {}, .problem = problem.what()});
  }
}

bool FrameReader::read_standard_input(std::size_t source) {
  std::vector<std::byte> begin(begin_bytes);
  begin.resize(fill(*input_, begin));
  if (is_video(begin)) {
    const auto read = [this, begin, used = std::size_t{0}](std::span<std::byte> target) mutable {
      if (used == begin.size()) return input_->read(target);
      const std::size_t count = std::min(begin.size() - used, target.size());
      std::copy_n(begin.begin() + static_cast<std::ptrdiff_t>(used), count, target.begin());
      used += count;
      return count;
    };
    return read_video(source, VideoReader(read, standard_input), standard_input);
  }
  const std::vector<std::byte> content = rest_of(*input_, std::move(begin));
  Stopwatch watch;
  Image image = decode_image(content, standard_input);
  return put({.source = source, .image = std::move(image), .video = {}, .problem = {}, .decode_ms = watch.lap()});
}

bool FrameReader::read_video(std::size_t source, VideoReader reader, const std::string& name) {
  const index_t count = reader.frames() / stride_;
  for (index_t number = 1;; ++number) {
    Stopwatch watch;
    bool more = true;
    for (index_t i = 1; more && i < stride_; ++i) more = reader.skip();
    std::optional<Image> image;
    if (more) image = reader.next();
    if (!image && number == 1)
      throw FormatError(name + (stride_ == 1 ? ": Y4M: no frames" : ": Y4M: fewer frames than --vid-stride"));
    if (!image) return true;
    if (!put({.source = source,
              .number = number,
              .count = count,
              .image = std::move(*image),
              .video = reader.format(),
              .problem = {},
              .decode_ms = watch.lap()}))
      return false;
  }
}

}  // namespace slimneck::cli
