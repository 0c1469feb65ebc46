// Pascal VOC's average precision (its development kit of 2012, VOCevaldet.m).
#include "train/metrics_detail.hpp"

namespace slimneck {
namespace {

/// A box holds its last pixel, hence the ones.
double voc_iou(const Truth& t, const Detection& d) {
  const auto area = [](double x1, double y1, double x2, double y2) { return (x2 - x1 + 1) * (y2 - y1 + 1); };
  const double x1 = std::max(t.x1, d.x1), y1 = std::max(t.y1, d.y1);
  const double x2 = std::min(t.x2, d.x2), y2 = std::min(t.y2, d.y2);
  if (!(x2 - x1 + 1 > 0 && y2 - y1 + 1 > 0)) return 0;
  const double inter = area(x1, y1, x2, y2);
  return inter / (area(t.x1, t.y1, t.x2, t.y2) + area(d.x1, d.y1, d.x2, d.y2) - inter);
}

/// A detection of the class and the picture that it is in.
struct Found {
  const Detection* detection;
  std::size_t picture;
};

/// The object of class `cls` that the detection overlaps most, and by how much.
std::pair<std::size_t, double> most_overlapped(const Judged& picture, const Detection& detection, int cls) {
  std::pair<std::size_t, double> best{0, -1};
  for (std::size_t t = 0; t < picture.truth.size(); ++t) {
    if (picture.truth[t].cls != cls) continue;
    const double iou = voc_iou(picture.truth[t], detection);
    if (iou > best.second) best = {t, iou};
  }
  return best;
}

// The recalls are multiples of 0.1 as they come out in double precision, as in the evaluations in use: 9 of 15 objects
// do not reach 6 * 0.1.
double mean_at_eleven(const std::vector<double>& recall, const std::vector<double>& envelope) {
  double sum = 0;
  for (int i = 0; i <= 10; ++i) {
    const auto at = std::lower_bound(recall.begin(), recall.end(), i * 0.1);
    if (at != recall.end()) sum += envelope[static_cast<std::size_t>(at - recall.begin())];
  }
  return sum / 11;
}

double area_below(const std::vector<double>& recall, const std::vector<double>& envelope) {
  double sum = 0, before = 0;
  for (std::size_t i = 0; i < recall.size(); ++i) {
    sum += (recall[i] - before) * envelope[i];
    before = recall[i];
  }
  return sum;
}

}  // namespace

double voc_average_precision(std::span<const Judged> pictures, int cls, double iou, VocPoints points) {
  std::vector<Found> found;
  std::vector<std::vector<bool>> taken;
  double objects = 0;
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    for (const Detection& d : pictures[i].detections)
      if (d.cls == cls) found.push_back({&d, i});
    for (const Truth& t : pictures[i].truth) objects += t.cls == cls ? 1 : 0;
    taken.emplace_back(pictures[i].truth.size(), false);
  }
  if (objects == 0) return 0;
  std::vector<double> recall, precision;
  double right = 0;
  for (const std::size_t i : train::by_falling_score(found, [](const Found& f) { return f.detection->score; })) {
    const auto [best, overlap] = most_overlapped(pictures[found[i].picture], *found[i].detection, cls);
    if (overlap >= iou && !taken[found[i].picture][best]) {
      taken[found[i].picture][best] = true;
      ++right;
    }
    recall.push_back(right / objects);
    precision.push_back(right / static_cast<double>(recall.size()));
  }
  train::make_envelope(precision);
  return points == VocPoints::eleven ? mean_at_eleven(recall, precision) : area_below(recall, precision);
}

}  // namespace slimneck
