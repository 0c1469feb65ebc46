#include "val_files.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <utility>

#include "cli.hpp"
#include "slimneck/files.hpp"
#include "slimneck/plot.hpp"

namespace slimneck::cli {

namespace fs = std::filesystem;

namespace {

constexpr float shown_above = 0.25F;  // scores of boxes in mosaics
constexpr int most_mosaics = 3;

/// COCO numbers its 80 classes from 1 to 90, with gaps; other data sets' classes keep their numbers.
std::vector<int> categories_of(std::span<const std::string> names) {
  constexpr std::array gaps{12, 26, 29, 30, 45, 66, 68, 69, 71, 83};
  const std::vector<std::string> coco = class_names({}, 80);
  std::vector<int> numbers;
  if (std::equal(names.begin(), names.end(), coco.begin(), coco.end())) {
    for (int id = 1; id <= 90; ++id)
      if (std::find(gaps.begin(), gaps.end(), id) == gaps.end()) numbers.push_back(id);
  } else {
    numbers.resize(names.size());
    std::iota(numbers.begin(), numbers.end(), 0);
  }
  return numbers;
}

/// COCO names pictures by their numbers; others keep their names.
nlohmann::json image_id(const std::string& stem) {
  constexpr std::size_t most_digits = 18;
  const bool number =
      !stem.empty() && stem.size() <= most_digits && stem.find_first_not_of("0123456789") == std::string::npos;
  return number ? nlohmann::json(std::stoll(stem)) : nlohmann::json(stem);
}

double rounded(float value, double steps) { return std::nearbyint(static_cast<double>(value) * steps) / steps; }

/// The box in the pixels of the network's input.
Detection moved(Detection d, const Letterbox& geometry, const Sample& sample) {
  const double gain = static_cast<double>(geometry.resized_h) / static_cast<double>(sample.height);
  const auto to = [gain](float v, double pad) { return static_cast<float>(static_cast<double>(v) * gain + pad); };
  d.x1 = to(d.x1, geometry.pad_w);
  d.x2 = to(d.x2, geometry.pad_w);
  d.y1 = to(d.y1, geometry.pad_h);
  d.y2 = to(d.y2, geometry.pad_h);
  return d;
}

}  // namespace

ValFiles::ValFiles(const ValFilesOptions& options, const DataSet& data, std::span<const std::string> names,
                   const std::string& json)
    : options_(options),
      data_(data),
      names_(names),
      folder_(options.folder),
      confusion_(data.nc),
      categories_(categories_of(names)) {
  const Uninterrupted shield;
  if (options_.json) json_.emplace(folder_.path() / json);
}

void ValFiles::add(const Batch& batch, std::span<const Judged> judged) {
  const Uninterrupted shield;
  for (std::size_t i = 0; i < judged.size(); ++i) {
    const Sample& sample = data_.samples[static_cast<std::size_t>(batch.indices[i])];
    if (options_.text) save_labels(sample, judged[i].detections);
    if (json_) json_->append(listed(sample, judged[i].detections));
    if (options_.plots) confusion_.add(judged[i]);
  }
  if (options_.plots && batches_ < most_mosaics) save_mosaics(batch, judged);
  ++batches_;
}

void ValFiles::save_labels(const Sample& sample, std::span<const Detection> detections) {
  const std::string own = sample.image.stem().string();
  std::string stem = own;
  for (int& others = stems_[own]; !used_.insert(stem).second;) stem = own + "-" + std::to_string(++others + 1);
  std::string text;
  for (const Detection& d : detections)
    text += label_line(d, sample.width, sample.height, LabelFormat::parts, options_.confidence);
  if (!text.empty()) write_text((folder_.inner("labels") / (stem + ".txt")).string(), text);
}

/// Entries of COCO's list, which goes to the disk picture by picture: of a large data set it has hundreds of megabytes.
std::string ValFiles::listed(const Sample& sample, std::span<const Detection> detections) {
  constexpr double thousands = 1e3, hundred_thousands = 1e5;
  std::string text;
  const nlohmann::json id = image_id(sample.image.stem().string());
  for (const Detection& d : detections) {
    const float w = d.x2 - d.x1, h = d.y2 - d.y1;
    // YOLOv5 goes by the centre, in float32.
    const float x = (d.x1 + d.x2) / 2 - w / 2, y = (d.y1 + d.y2) / 2 - h / 2;
    const nlohmann::ordered_json entry{
        {"image_id", id},
        {"category_id", categories_[static_cast<std::size_t>(d.cls)]},
        {"bbox", {rounded(x, thousands), rounded(y, thousands), rounded(w, thousands), rounded(h, thousands)}},
        {"score", rounded(d.score, hundred_thousands)}};
    text += between_ + entry.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    between_ = ",\n";
  }
  return text;
}

void ValFiles::save_mosaics(const Batch& batch, std::span<const Judged> judged) const {
  std::vector<Tile> tiles(judged.size());
  const auto draw = [&](const char* what, bool scores, const auto& boxes_of) {
    for (std::size_t i = 0; i < tiles.size(); ++i) {
      const Sample& sample = data_.samples[static_cast<std::size_t>(batch.indices[i])];
      tiles[i] = {.image = batch.images[i], .caption = sample.image.filename().string(), .boxes = {}};
      for (const Detection& d : boxes_of(judged[i])) tiles[i].boxes.push_back(moved(d, batch.geometry[i], sample));
    }
    write_image(folder_.path() / ("val_batch" + std::to_string(batches_) + "_" + what + ".jpg"),
                plot_mosaic(tiles, names_, scores));
  };
  draw("labels", false, [](const Judged& picture) {
    std::vector<Detection> boxes;
    for (const Truth& t : picture.truth) boxes.push_back({t.x1, t.y1, t.x2, t.y2, 1, t.cls});
    return boxes;
  });
  draw("pred", true, [](const Judged& picture) {
    std::vector<Detection> boxes = picture.detections;
    std::erase_if(boxes, [](const Detection& d) { return !(d.score > shown_above); });
    return boxes;
  });
}

void ValFiles::finish(const Metrics& metrics) {
  const Uninterrupted shield;
  if (json_) {
    json_->append(between_.starts_with('[') ? "[\n]\n" : "\n]\n");
    json_->finish();
  }
  if (!options_.plots) return;
  write_image(folder_.path() / "confusion_matrix.png", plot_confusion(confusion_, names_));
  constexpr std::array<std::pair<const char*, MetricCurve>, 4> curves{
      {{"F1_curve.png", MetricCurve::f1},
       {"P_curve.png", MetricCurve::precision},
       {"R_curve.png", MetricCurve::recall},
       {"PR_curve.png", MetricCurve::precision_recall}}};
  if (metrics.labels == 0) return;  // there is nothing to draw
  for (const auto& [name, curve] : curves) write_image(folder_.path() / name, plot_metric(metrics, curve, names_));
}

}  // namespace slimneck::cli
