// YOLOv5's confusion matrix (utils/metrics.py, process_batch).
#include <string>

#include "train/metrics_detail.hpp"

namespace slimneck {
namespace {

/// A label and a detection that overlap.
struct Pair {
  std::size_t truth, found;
  float iou;
};

/// For each label the detection that it is matched with, or -1; every detection goes to the label that it overlaps
/// most, and of those that a label got it keeps the one that overlaps most.
std::vector<std::ptrdiff_t> matched(const Judged& picture, const std::vector<Detection>& found, float least) {
  std::vector<std::ptrdiff_t> match(picture.truth.size(), -1);
  std::vector<float> overlap(picture.truth.size(), 0);
  for (std::size_t d = 0; d < found.size(); ++d) {
    Pair best{0, d, least};
    for (std::size_t t = 0; t < picture.truth.size(); ++t)
      if (const float iou = train::box_iou(picture.truth[t], found[d]); !picture.truth[t].crowd && iou > best.iou)
        best = {t, d, iou};
    if (!(best.iou > least) || !(best.iou > overlap[best.truth])) continue;
    overlap[best.truth] = best.iou;
    match[best.truth] = static_cast<std::ptrdiff_t>(d);
  }
  return match;
}

}  // namespace

ConfusionMatrix::ConfusionMatrix(index_t classes, float conf, float iou) : classes_(classes), conf_(conf), iou_(iou) {
  if (classes < 1) throw ShapeError("ConfusionMatrix: " + std::to_string(classes) + " classes");
}

index_t ConfusionMatrix::count(index_t predicted, index_t truth) const {
  const auto at = counts_.find({predicted, truth});
  return at == counts_.end() ? 0 : at->second;
}

void ConfusionMatrix::add(const Judged& picture) {
  const auto check = [this](int cls) {
    if (cls < 0 || cls >= classes_)
      throw ShapeError("ConfusionMatrix: class " + std::to_string(cls) + " of " + std::to_string(classes_));
  };
  for (const Truth& truth : picture.truth) check(truth.cls);
  for (const Detection& detection : picture.detections) check(detection.cls);

  std::vector<Detection> found = picture.detections;
  std::erase_if(found, [this](const Detection& d) { return !(d.score > conf_); });
  std::vector<bool> used(found.size(), false);
  bool any = false;
  const std::vector<std::ptrdiff_t> match = matched(picture, found, iou_);
  for (std::size_t t = 0; t < match.size(); ++t) {
    if (picture.truth[t].crowd) continue;
    const bool hit = match[t] >= 0;
    any = any || hit;
    if (hit) used[static_cast<std::size_t>(match[t])] = true;
    ++counts_[{hit ? found[static_cast<std::size_t>(match[t])].cls : classes_, picture.truth[t].cls}];
  }
  if (!any) return;
  for (std::size_t d = 0; d < found.size(); ++d)
    if (!used[d]) ++counts_[{found[d].cls, classes_}];
}

}  // namespace slimneck
