// Videos as raw frames: YUV4MPEG2 (Y4M), which ffmpeg and others write to pipes and read from them.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "slimneck/image.hpp"

namespace slimneck {

/// What the first line of a Y4M stream says.
struct VideoFormat {
  index_t width = 0, height = 0;   ///< in pixels
  std::string chroma = "420jpeg";  ///< 420, 420jpeg, 420mpeg2, 420paldv, 422, 444 or mono; always 8 bits
  bool full_range = false;         ///< levels 0..255 instead of 16..235 (chroma 16..240)
  std::string rate = "25:1";       ///< frames per second, a ratio; 0:0: unknown
  std::string aspect = "0:0";      ///< of a pixel, a ratio; 0:0: unknown
  std::string interlacing = "?";   ///< p, t, b, m or ?; frames are taken as they are

  /// Bytes of one frame's pixels. Throws FormatError on another chroma, ShapeError on extents that no Image can have.
  [[nodiscard]] SLIMNECK_EXPORT std::size_t frame_bytes() const;
};

/// Fills the front of its argument with the next bytes and says how many; 0 only at the end.
using ReadBytes = std::function<std::size_t(std::span<std::byte>)>;
/// Takes all of the bytes, or throws.
using WriteBytes = std::function<void(std::span<const std::byte>)>;

/// Whether what begins so is a Y4M stream.
SLIMNECK_EXPORT bool is_video(std::span<const std::byte> begin) noexcept;

/// Reads a Y4M stream frame by frame; it never holds more than one. Colours are converted by BT.601 (R, G and B from
/// luma, 16..235 or 0..255, and chroma), each chroma sample serving all the pixels it stands for.
class SLIMNECK_EXPORT VideoReader {
 public:
  /// Reads the header. `name` is for messages. Throws FormatError when it is damaged, of another chroma or of more than
  /// 8 bits, and when an extent is not in 1..65535 or there are more than 64 Mi pixels.
  VideoReader(ReadBytes read, std::string name);
  /// The same for a regular file; IoError when it cannot be read.
  explicit VideoReader(const std::filesystem::path& path);

  /// Of all frames.
  [[nodiscard]] const VideoFormat& format() const noexcept { return format_; }
  /// How many frames a file has, by its size; 0 for a stream.
  [[nodiscard]] index_t frames() const noexcept { return frames_; }
  /// The next frame; nothing at the end. Throws FormatError, which names the frame, when the stream ends within it.
  std::optional<Image> next();
  /// Passes over a frame; false at the end. Throws as next() does.
  bool skip();

 private:
  std::size_t take(std::span<std::byte> target);
  std::optional<std::string> line();
  [[noreturn]] void fail(const std::string& what) const;
  void read_header();

  ReadBytes read_;
  std::string name_;
  VideoFormat format_;
  index_t frame_ = 0;   ///< the one being read, from 1; 0: the header
  index_t frames_ = 0;  ///< by the size of the file
  std::vector<std::byte> buffer_, planes_;
  std::size_t buffered_ = 0, used_ = 0;  ///< of buffer_
  std::size_t header_bytes_ = 0;
};

/// Writes a Y4M stream frame by frame, by the conversion that VideoReader undoes: chroma is the mean of the pixels that
/// a sample stands for.
class SLIMNECK_EXPORT VideoWriter {
 public:
  /// Writes the header. Throws as VideoFormat::frame_bytes(), and what `write` throws.
  VideoWriter(WriteBytes write, VideoFormat format);
  /// Throws ShapeError unless the picture has the extents of the format.
  void write(const Image& frame);

 private:
  WriteBytes write_;
  VideoFormat format_;
  std::vector<std::byte> bytes_;
};

}  // namespace slimneck
