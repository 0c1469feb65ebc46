// What a run of detect leaves behind: a folder with drawn pictures, labels, crops and a table.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <span>
#include <string>

#include "run_folder.hpp"
#include "slimneck/detect.hpp"
#include "slimneck/image.hpp"

namespace slimneck::cli {

struct GalleryOptions {
  RunFolderOptions folder{.project = "runs/detect"};
  bool pictures = true, text = false, confidence = false, csv = false, crops = false;
  LabelFormat text_format = LabelFormat::parts;
  index_t thickness = 0;  ///< of boxes, in pixels; 0: by the picture's size
  bool hide_labels = false, hide_confidence = false;

  [[nodiscard]] bool saves() const noexcept { return pictures || text || csv || crops; }
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

  [[nodiscard]] const std::filesystem::path& directory() const noexcept { return folder_.path(); }
  void save(const std::filesystem::path& source, Image image, std::span<const Detection> detections);
  /// Writes the table.
  void finish() const;

 private:
  std::string unused_stem(const std::filesystem::path& source, std::string& ending);
  void draw(Image& image, std::span<const Detection> detections) const;
  void save_text(const std::string& stem, const Image& image, std::span<const Detection> detections) const;
  void save_crops(const std::string& stem, const Image& image, std::span<const Detection> detections) const;

  const GalleryOptions& options_;
  ClassName class_name_;
  RunFolder folder_;
  std::set<std::string> used_;
  std::string table_;
};

}  // namespace slimneck::cli
