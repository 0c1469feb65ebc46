#include "gallery.hpp"

#include <algorithm>
#include <array>

#include "cli.hpp"
#include "slimneck/files.hpp"

namespace slimneck::cli {

namespace fs = std::filesystem;

namespace {

std::string numbered(std::string stem, const char* between, int i) {
  return stem.append(between).append(std::to_string(i));
}

/// A field of a CSV table.
std::string field(const std::string& text) {
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

/// A class name that is one folder, whatever the weights call it.
std::string folder_name(const std::string& name, int cls) {
  std::string safe = printable(name);
  std::replace(safe.begin(), safe.end(), '/', '_');
  return safe.empty() || safe.front() == '.' ? "class" + std::to_string(cls) : safe;
}

std::string score_text(float score) { return format("%.2f", static_cast<double>(score)); }

/// Grown by 2 % and 10 pixels around its centre and cut at the picture's edges; YOLOv5's crops.
Image crop(const Image& image, const Detection& d) {
  constexpr float gain = 1.02F, pad = 10;
  const auto side = [](float low, float high, index_t extent) {
    const float centre = (low + high) / 2, half = ((high - low) * gain + pad) / 2;
    const auto most = static_cast<float>(extent);
    return std::array{static_cast<index_t>(std::clamp(centre - half, 0.0F, most)),
                      static_cast<index_t>(std::clamp(centre + half, 0.0F, most))};
  };
  const auto [x1, x2] = side(d.x1, d.x2, image.width);
  const auto [y1, y2] = side(d.y1, d.y2, image.height);
  Image part(std::max<index_t>(x2 - x1, 1), std::max<index_t>(y2 - y1, 1));
  const index_t left = std::min(x1, image.width - part.width), top = std::min(y1, image.height - part.height);
  for (index_t y = 0; y < part.height; ++y)
    std::copy_n(image.rgb.begin() + ((top + y) * image.width + left) * 3, part.width * 3,
                part.rgb.begin() + y * part.width * 3);
  return part;
}

}  // namespace

Gallery::Gallery(const GalleryOptions& options, ClassName class_name)
    : options_(options),
      class_name_(std::move(class_name)),
      folder_(options.folder),
      table_("Image Name,Prediction,Confidence\n") {}

std::string Gallery::unused_stem(const fs::path& source, std::string& ending) {
  static const std::set<std::string> writable{".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG"};
  const std::string extension = source.extension().string();
  ending = writable.contains(extension) ? extension : extension + ".jpg";
  std::string stem = source.stem().string();
  for (int i = 2; used_.contains(stem + ending) || (options_.text && used_.contains(stem)); ++i)
    stem = numbered(source.stem().string(), "-", i);
  used_.insert(stem + ending);
  used_.insert(stem);
  return stem;
}

void Gallery::save(const fs::path& source, Image image, std::span<const Detection> detections) {
  std::string ending;
  const std::string stem = unused_stem(source, ending);
  const Uninterrupted shield;
  if (options_.text && !detections.empty()) save_text(stem, image, detections);
  if (options_.crops) save_crops(stem, image, detections);
  // As YOLOv5 lists them: the best ones last.
  for (auto d = detections.rbegin(); d != detections.rend(); ++d)
    table_ += field(source.filename().string()) + "," + field(class_name_(d->cls)) + "," + score_text(d->score) + "\n";
  if (!options_.pictures) return;
  draw(image, detections);
  write_image(folder_.path() / (stem + ending), image);
}

void Gallery::draw(Image& image, std::span<const Detection> detections) const {
  const index_t thickness = options_.thickness > 0 ? options_.thickness : line_width(image);
  for (auto d = detections.rbegin(); d != detections.rend(); ++d) {  // the best ones lie on top
    const std::string score = options_.hide_confidence ? "" : " " + score_text(d->score);
    draw_box(image, {d->x1, d->y1, d->x2, d->y2}, options_.hide_labels ? "" : class_name_(d->cls) + score,
             class_colour(d->cls), thickness);
  }
}

void Gallery::save_text(const std::string& stem, const Image& image, std::span<const Detection> detections) const {
  std::string text;
  for (auto d = detections.rbegin(); d != detections.rend(); ++d)
    text += label_line(*d, image.width, image.height, options_.text_format, options_.confidence);
  write_text((folder_.inner("labels") / (stem + ".txt")).string(), text);
}

void Gallery::save_crops(const std::string& stem, const Image& image, std::span<const Detection> detections) const {
  for (auto d = detections.rbegin(); d != detections.rend(); ++d) {
    const fs::path folder = folder_.inner("crops/" + folder_name(class_name_(d->cls), d->cls));
    fs::path path = folder / (stem + ".jpg");
    std::error_code problem;
    for (int i = 2; fs::exists(path, problem); ++i) path = folder / (numbered(stem, "", i) + ".jpg");
    write_image(path, crop(image, *d));
  }
}

void Gallery::finish() const {
  const Uninterrupted shield;
  if (options_.csv) write_text((folder_.path() / "predictions.csv").string(), table_);
}

}  // namespace slimneck::cli
