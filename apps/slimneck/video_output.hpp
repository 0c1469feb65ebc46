// An annotated video on its way into a file or to standard output.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "slimneck/files.hpp"
#include "slimneck/image.hpp"
#include "slimneck/video.hpp"

namespace slimneck::cli {

/// The format in which the frames of a video are written when one of `stride` of them is looked at, or pictures
/// (nothing) as a video: it plays as long as the original did, and has colours for what is drawn.
VideoFormat output_format(const Image& first, const std::optional<VideoFormat>& source, index_t stride);

/// A Y4M stream. Its frames are whole, whenever it ends.
class VideoOutput {
 public:
  /// `target` is a file, or "-" for standard output. Throws IoError.
  VideoOutput(const std::filesystem::path& target, const VideoFormat& format);

  /// Throws ShapeError on a frame of other extents than the format's, IoError when it cannot be written.
  void write(const Image& frame);
  /// Of a file: brings it to the disk.
  void finish();

 private:
  std::unique_ptr<GrowingFile> file_;
  VideoWriter writer_;
};

}  // namespace slimneck::cli
