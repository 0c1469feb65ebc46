// What a run of detect leaves behind: a folder with drawn pictures and videos, labels, crops and a table.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "frames.hpp"
#include "run_folder.hpp"
#include "slimneck/detect.hpp"
#include "slimneck/files.hpp"
#include "video_output.hpp"

namespace slimneck::cli {

struct GalleryOptions {
  RunFolderOptions folder{.project = "runs/detect"};
  bool pictures = true, text = false, confidence = false, csv = false, crops = false;
  LabelFormat text_format = LabelFormat::parts;
  index_t thickness = 0;  ///< of boxes, in pixels; 0: by the picture's size
  bool hide_labels = false, hide_confidence = false;
  std::string output;      ///< one video of everything that is drawn, instead of files in the folder; "-": to stdout
  index_t vid_stride = 1;  ///< of so many frames of a video one is there

  /// Whether there is anything that goes into the folder.
  [[nodiscard]] bool into_folder() const noexcept { return (pictures && output.empty()) || text || csv || crops; }
};

/// A picture or frame and what was found in it.
struct Seen {
  std::string source;
  Frame frame;
  std::vector<Detection> detections;
};

/// Pictures of one name do not share files.
class Gallery {
 public:
  using ClassName = std::function<const std::string&(int)>;

  /// Throws IoError when the folder cannot be made.
  Gallery(const GalleryOptions& options, ClassName class_name);
  Gallery(const Gallery&) = delete;
  Gallery& operator=(const Gallery&) = delete;
  ~Gallery() = default;

  /// Nowhere when nothing goes there.
  [[nodiscard]] std::filesystem::path directory() const { return folder_ ? folder_->path() : std::filesystem::path(); }
  /// The frames of a video come one after another. Throws IoError when something cannot be written.
  void save(Seen seen);
  /// Everything is on the disk. Throws as save().
  void finish();

 private:
  void begin(const std::filesystem::path& source, bool video);
  std::string unused_stem(const std::filesystem::path& source);
  void draw(Image& image, std::span<const Detection> detections) const;
  void save_text(const std::string& stem, const Image& image, std::span<const Detection> detections) const;
  void save_crops(const std::string& stem, bool video, const Image& image, std::span<const Detection> detections) const;
  void save_rows(const std::string& name, std::span<const Detection> detections);
  void save_drawn(const Seen& seen);
  void finish_video();

  const GalleryOptions& options_;
  ClassName class_name_;
  std::optional<RunFolder> folder_;
  std::set<std::string> used_;
  std::string stem_, ending_;  ///< of the picture or video that is being saved
  std::optional<GrowingFile> table_;
  std::optional<VideoOutput> video_;
};

}  // namespace slimneck::cli
