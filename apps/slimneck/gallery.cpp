#include "gallery.hpp"

#include <algorithm>
#include <array>

#include "cli.hpp"

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
    : options_(options), class_name_(std::move(class_name)) {
  if (options.into_folder()) folder_.emplace(options.folder);
}

std::string Gallery::unused_stem(const fs::path& source) {
  std::string stem = source.stem().string();
  for (int i = 2; used_.contains(stem + ending_) || (options_.text && used_.contains(stem)); ++i)
    stem = numbered(source.stem().string(), "-", i);
  used_.insert(stem + ending_);
  used_.insert(stem);
  return stem;
}

/// A picture, or the first frame of a video.
void Gallery::begin(const fs::path& source, bool video) {
  static const std::set<std::string> writable{".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG"};
  const std::string extension = source.extension().string();
  ending_ = video ? ".y4m" : writable.contains(extension) ? extension : extension + ".jpg";
  stem_ = unused_stem(source);
  if (options_.output.empty()) finish_video();
  if (!video || !options_.pictures || !options_.output.empty()) return;
  std::error_code problem;
  if (fs::equivalent(source, directory() / (stem_ + ending_), problem))
    throw IoError(source.string() + ": would be overwritten while it is read");
}

void Gallery::save(Seen seen) {
  const fs::path source = seen.source == "-" ? "stdin" : seen.source;
  const index_t number = seen.frame.number;
  if (number <= 1) begin(source, number == 1);
  const std::string suffix = number > 0 ? "_" + std::to_string(number) : "";
  {
    const Uninterrupted shield;
    if (options_.text && !seen.detections.empty()) save_text(stem_ + suffix, seen.frame.image, seen.detections);
    if (options_.crops) save_crops(stem_ + suffix, number > 0, seen.frame.image, seen.detections);
    if (options_.csv) save_rows(source.stem().string() + suffix + source.extension().string(), seen.detections);
  }
  if (!options_.pictures) return;
  draw(seen.frame.image, seen.detections);
  save_drawn(seen);
}

void Gallery::save_drawn(const Seen& seen) {
  const Image& image = seen.frame.image;
  const bool file = options_.output.empty();
  if (file && seen.frame.number == 0) {
    const Uninterrupted shield;
    write_image(directory() / (stem_ + ending_), image);
    return;
  }
  if (!video_)
    video_.emplace(file ? directory() / (stem_ + ending_) : fs::path(options_.output),
                   output_format(image, seen.frame.video, options_.vid_stride));
  video_->write(image);
}

void Gallery::save_rows(const std::string& name, std::span<const Detection> detections) {
  std::string rows;
  if (!table_) {
    table_.emplace(directory() / "predictions.csv");
    rows = "Image Name,Prediction,Confidence\n";
  }
  // As YOLOv5 lists them: the best ones last.
  for (auto d = detections.rbegin(); d != detections.rend(); ++d)
    rows += field(name) + "," + field(class_name_(d->cls)) + "," + score_text(d->score) + "\n";
  table_->append(std::as_bytes(std::span(rows)));
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
  write_text((folder_->inner("labels") / (stem + ".txt")).string(), text);
}

void Gallery::save_crops(const std::string& stem, bool video, const Image& image,
                         std::span<const Detection> detections) const {
  const char* const between = video ? "-" : "";  // the number of a frame comes before it
  for (auto d = detections.rbegin(); d != detections.rend(); ++d) {
    const fs::path folder = folder_->inner("crops/" + folder_name(class_name_(d->cls), d->cls));
    fs::path path = folder / (stem + ".jpg");
    std::error_code problem;
    for (int i = 2; fs::exists(path, problem); ++i) path = folder / (numbered(stem, between, i) + ".jpg");
    write_image(path, crop(image, *d));
  }
}

void Gallery::finish_video() {
  if (video_) video_->finish();
  video_.reset();
}

void Gallery::finish() {
  finish_video();
  if (table_) table_->finish();
}

}  // namespace slimneck::cli
