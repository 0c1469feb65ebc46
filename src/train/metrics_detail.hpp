// What the rules of evaluation share: order of scores, overlap, interpolation.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <vector>

#include "slimneck/metrics.hpp"

namespace slimneck::train {

/// Whether a detection of score `a` comes before one of score `b`: NaN last.
inline bool scores_higher(float a, float b) { return std::isnan(b) ? !std::isnan(a) : a > b; }

/// Positions of the items by falling score(item); equal scores stay in order.
template <class Items, class Score>
std::vector<std::size_t> by_falling_score(const Items& items, const Score& score) {
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return scores_higher(score(items[a]), score(items[b])); });
  return order;
}

/// The numbers of the classes that pictures have labels of, rising. Crowds count where `crowds` says so.
std::vector<int> labelled_classes(std::span<const Judged> pictures, bool crowds);

/// YOLOv5's box_iou, in float32: the small term keeps empty boxes from dividing by zero. The build must not contract
/// a*b+c here: thresholds are compared with the result of plain float32 steps.
inline float box_iou(const Truth& a, const Detection& b) {
  constexpr float eps = 1e-7F;
  const float w = std::max(std::min(a.x2, b.x2) - std::max(a.x1, b.x1), 0.0F);
  const float h = std::max(std::min(a.y2, b.y2) - std::max(a.y1, b.y1), 0.0F);
  const float inter = w * h;
  return inter / ((a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - inter + eps);
}

/// Piecewise linear interpolation through (x, y), x rising, as NumPy's interp: of equal x the last one counts, `left`
/// holds before the first, the last y after the last.
double interpolate(double at, std::span<const double> x, std::span<const double> y, double left);

/// From the right: each precision is at least as high as all behind it.
inline void make_envelope(std::vector<double>& precision) {
  for (std::size_t i = precision.size(); i-- > 1;) precision[i - 1] = std::max(precision[i - 1], precision[i]);
}

}  // namespace slimneck::train
