// Pictures and videos frame by frame, decoded ahead of those who look at them.
#pragma once

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "channel.hpp"
#include "slimneck/image.hpp"
#include "slimneck/video.hpp"
#include "standard_input.hpp"

namespace slimneck::cli {

/// A picture, or a frame of a video; or what was wrong with it.
struct Frame {
  std::size_t source = 0;            ///< which one it comes from, from 0
  index_t number = 0;                ///< among the frames of a video that are looked at, from 1; 0: a picture
  index_t count = 0;                 ///< of those frames; 0: unknown
  Image image;                       ///< empty when there is a problem
  std::optional<VideoFormat> video;  ///< of the video it belongs to
  std::string problem;               ///< why it, and what follows of its source, cannot be read
  double decode_ms = 0;              ///< time to read and decode it
};

/// Reads sources, one after another, in a thread of its own and a few frames ahead. What a file is, is told from its
/// content.
class FrameReader {
 public:
  /// Of every `stride` frames of a video the last is looked at. "-" is standard input.
  FrameReader(std::vector<std::string> sources, index_t stride);
  FrameReader(const FrameReader&) = delete;
  FrameReader& operator=(const FrameReader&) = delete;
  ~FrameReader();

  /// The next frame, in the order of the sources; waits for it. Nothing at the end. Throws what is no problem of a
  /// single source: no memory.
  std::optional<Frame> next();

 private:
  void work();
  bool read(std::size_t source);
  bool read_standard_input(std::size_t source);
  bool read_video(std::size_t source, VideoReader reader, const std::string& name);
  bool put(Frame frame);

  std::vector<std::string> sources_;
  index_t stride_;
  Channel<Frame> channel_;
  std::exception_ptr failure_;
  std::optional<StandardInput> input_;
  std::thread thread_;
};

}  // namespace slimneck::cli
