// YOLOv5's average precision (version 7, val.py and utils/metrics.py).
#include "slimneck/metrics.hpp"

#include <string>

#include "train/metrics_detail.hpp"

namespace slimneck {
namespace train {

std::vector<int> labelled_classes(std::span<const Judged> pictures, bool crowds) {
  std::vector<int> classes;
  for (const Judged& picture : pictures)
    for (const Truth& truth : picture.truth)
      if (crowds || !truth.crowd) classes.push_back(truth.cls);
  std::sort(classes.begin(), classes.end());
  classes.erase(std::unique(classes.begin(), classes.end()), classes.end());
  return classes;
}

double interpolate(double at, std::span<const double> x, std::span<const double> y, double left) {
  const auto next = static_cast<std::size_t>(std::upper_bound(x.begin(), x.end(), at) - x.begin());
  if (next == 0) return left;
  if (next == x.size() || x[next - 1] == at) return y[next - 1];
  const double slope = (y[next] - y[next - 1]) / (x[next] - x[next - 1]);
  return slope * (at - x[next - 1]) + y[next - 1];
}

}  // namespace train

namespace {

using train::interpolate;

double curve_point(std::size_t i) { return static_cast<double>(i) / static_cast<double>(curve_points - 1); }

/// IoU 0.5 + 0.05 i, in the float32 that PyTorch's linspace gives.
float iou_threshold(std::size_t i) { return static_cast<float>(0.5 + 0.45 / 9 * static_cast<double>(i)); }

/// Precision over recall with the ends that YOLOv5 adds: all right at recall 0, nothing right at recall 1.
struct ClosedCurve {
  std::vector<double> recall{0}, precision{1};

  ClosedCurve(std::span<const double> r, std::span<const double> p) {
    recall.insert(recall.end(), r.begin(), r.end());
    precision.insert(precision.end(), p.begin(), p.end());
    recall.push_back(1);
    precision.push_back(0);
    train::make_envelope(precision);
  }
  [[nodiscard]] double at(double r) const { return interpolate(r, recall, precision, 1); }
  [[nodiscard]] double area() const {
    constexpr int steps = 100;
    double sum = 0;
    for (int i = 0; i < steps; ++i) sum += (at(i * 0.01) + at(i + 1 == steps ? 1 : (i + 1) * 0.01)) / 2;
    return sum / steps;
  }
};

/// A detection as the curves need it.
struct Scored {
  float score;
  std::array<bool, iou_steps> right;
};

/// The detections of one class in all pictures, by falling score.
std::vector<Scored> sorted(const std::vector<Scored>& found) {
  std::vector<Scored> result;
  for (const std::size_t i : train::by_falling_score(found, [](const Scored& s) { return s.score; }))
    result.push_back(found[i]);
  return result;
}

/// Recall and precision after each detection, at one IoU.
void running(const std::vector<Scored>& found, std::size_t step, index_t labels, std::vector<double>& recall,
             std::vector<double>& precision) {
  constexpr double eps = 1e-16;
  double right = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    right += found[i].right[step] ? 1 : 0;
    recall[i] = right / (static_cast<double>(labels) + eps);
    precision[i] = right / static_cast<double>(i + 1);
  }
}

/// The curves over the confidence. Confidences fall, so their negatives are the rising axis.
void add_confidence_curves(ClassMetrics& metrics, const std::vector<Scored>& found, const std::vector<double>& recall,
                           const std::vector<double>& precision) {
  constexpr double eps = 1e-16;
  std::vector<double> axis;
  for (const Scored& s : found) axis.push_back(-static_cast<double>(s.score));
  for (std::size_t i = 0; i < curve_points; ++i) {
    const double r = interpolate(-curve_point(i), axis, recall, 0),
                 p = interpolate(-curve_point(i), axis, precision, 1);
    metrics.recall[i] = r;
    metrics.precision[i] = p;
    metrics.f1_curve[i] = 2 * p * r / (p + r + eps);
  }
}

ClassMetrics class_metrics(int cls, index_t labels, const std::vector<Scored>& found) {
  ClassMetrics metrics;
  metrics.cls = cls;
  metrics.labels = labels;
  for (Curve* curve : {&metrics.precision, &metrics.recall, &metrics.f1_curve, &metrics.precision_at_recall})
    curve->assign(curve_points, 0);
  if (found.empty()) return metrics;
  std::vector<double> recall(found.size()), precision(found.size());
  for (std::size_t step = iou_steps; step-- > 0;) {
    running(found, step, labels, recall, precision);
    metrics.ap[step] = ClosedCurve(recall, precision).area();
  }
  // The last pass was at IoU 0.5.
  const ClosedCurve closed(recall, precision);
  for (std::size_t i = 0; i < curve_points; ++i) metrics.precision_at_recall[i] = closed.at(curve_point(i));
  // A NaN lies on no axis of confidences.
  std::vector<Scored> known = found;
  std::erase_if(known, [](const Scored& s) { return std::isnan(s.score); });
  recall.resize(known.size());
  precision.resize(known.size());
  if (!known.empty()) add_confidence_curves(metrics, known, recall, precision);
  return metrics;
}

/// Where the mean over 101 neighbours of the curve is highest; beyond its ends the curve stays as it is there.
std::size_t highest_smoothed(const Curve& curve) {
  constexpr std::ptrdiff_t half = 50;
  const auto last = static_cast<std::ptrdiff_t>(curve.size()) - 1;
  std::size_t best = 0;
  double highest = -1;
  for (std::ptrdiff_t i = 0; i <= last; ++i) {
    double sum = 0;
    for (std::ptrdiff_t k = i - half; k <= i + half; ++k)
      sum += curve[static_cast<std::size_t>(std::clamp<std::ptrdiff_t>(k, 0, last))] / (2 * half + 1);
    if (sum > highest) {
      highest = sum;
      best = static_cast<std::size_t>(i);
    }
  }
  return best;
}

/// Means over the classes, and everyone's figures at the common confidence.
void summarise(Metrics& metrics) {
  if (metrics.classes.empty()) return;
  const auto count = static_cast<double>(metrics.classes.size());
  Curve mean(curve_points, 0);
  for (const ClassMetrics& c : metrics.classes)
    for (std::size_t i = 0; i < curve_points; ++i) mean[i] += c.f1_curve[i] / count;
  const std::size_t best = highest_smoothed(mean);
  metrics.confidence = curve_point(best);
  for (ClassMetrics& c : metrics.classes) {
    c.p = c.precision[best];
    c.r = c.recall[best];
    c.f1 = c.f1_curve[best];
    metrics.labels += c.labels;
    metrics.p += c.p / count;
    metrics.r += c.r / count;
    metrics.f1 += c.f1 / count;
    metrics.map50 += c.ap50() / count;
    metrics.map50_95 += c.ap50_95() / count;
  }
}

}  // namespace

double ClassMetrics::ap50_95() const noexcept {
  return std::accumulate(ap.begin(), ap.end(), 0.0) / static_cast<double>(ap.size());
}

double average_precision(std::span<const double> recall, std::span<const double> precision) {
  if (recall.size() != precision.size())
    throw ShapeError("average_precision: " + std::to_string(recall.size()) + " recalls and " +
                     std::to_string(precision.size()) + " precisions");
  return ClosedCurve(recall, precision).area();
}

std::vector<std::array<bool, iou_steps>> match_yolov5(const Judged& picture) {
  std::vector<std::array<bool, iou_steps>> right(picture.detections.size());
  std::vector<std::array<bool, iou_steps>> taken(picture.truth.size());
  for (const std::size_t d :
       train::by_falling_score(picture.detections, [](const Detection& found) { return found.score; })) {
    float overlap = 0;
    std::size_t best = picture.truth.size();
    for (std::size_t t = 0; t < picture.truth.size(); ++t) {
      const Truth& truth = picture.truth[t];
      if (truth.crowd || truth.cls != picture.detections[d].cls) continue;
      const float iou = train::box_iou(truth, picture.detections[d]);
      if (iou > overlap) {
        overlap = iou;
        best = t;
      }
    }
    for (std::size_t step = 0; step < iou_steps && overlap >= iou_threshold(step); ++step)
      if (!std::exchange(taken[best][step], true)) right[d][step] = true;
  }
  return right;
}

Metrics yolov5_metrics(std::span<const Judged> pictures) {
  struct OfClass {
    index_t labels = 0;
    std::vector<Scored> found;
  };
  std::map<int, OfClass> classes;
  for (const int cls : train::labelled_classes(pictures, false)) classes[cls];
  for (const Judged& picture : pictures) {
    for (const Truth& truth : picture.truth)
      if (!truth.crowd) ++classes[truth.cls].labels;
    const auto right = match_yolov5(picture);
    for (std::size_t i = 0; i < right.size(); ++i)
      if (const auto at = classes.find(picture.detections[i].cls); at != classes.end())
        at->second.found.push_back({picture.detections[i].score, right[i]});
  }
  Metrics metrics;
  metrics.images = static_cast<index_t>(pictures.size());
  for (const auto& [cls, of] : classes) metrics.classes.push_back(class_metrics(cls, of.labels, sorted(of.found)));
  summarise(metrics);
  return metrics;
}

}  // namespace slimneck
