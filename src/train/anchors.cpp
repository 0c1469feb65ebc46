// Anchors that suit a data set, by YOLOv5's rule. Sums over boxes are made of sums over blocks of fixed size, so that
// they do not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "slimneck/data.hpp"
#include "slimneck/error.hpp"
#include "train/random.hpp"

namespace slimneck {

namespace {

using train::Purpose;
using train::Random;
using Sizes = std::vector<AnchorSize>;

constexpr double enough_recall = 0.98, least_side = 2, size_jitter = 0.1;
constexpr int kmeans_runs = 30, kmeans_steps = 300;

/// How well an anchor fits a box: the worst of the ratios of their sides, each below 1.
double fit_of(const AnchorSize& anchor, const AnchorSize& box) noexcept {
  const double w = box.w / anchor.w, h = box.h / anchor.h;
  return std::min(std::min(w, 1 / w), std::min(h, 1 / h));
}

/// Sums, over boxes, of what AnchorFit has means of.
AnchorFit sums(std::span<const AnchorSize> anchors, std::span<const AnchorSize> boxes, double least) noexcept {
  AnchorFit sum;
  for (const AnchorSize& box : boxes) {
    double best = 0;
    for (const AnchorSize& anchor : anchors) {
      const double fit = fit_of(anchor, box);
      best = std::max(best, fit);
      if (fit > least) sum.anchors_per_target += 1;
    }
    if (best > least) {
      sum.recall += 1;
      sum.fitness += best;
    }
  }
  return sum;
}

double squared_distance(const AnchorSize& a, const AnchorSize& b) noexcept {
  return (a.w - b.w) * (a.w - b.w) + (a.h - b.h) * (a.h - b.h);
}

std::size_t nearest(const Sizes& centres, const AnchorSize& point) noexcept {
  std::size_t best = 0;
  for (std::size_t i = 1; i < centres.size(); ++i)
    if (squared_distance(centres[i], point) < squared_distance(centres[best], point)) best = i;
  return best;
}

/// Moves centres to the means of the points that are nearest to them; gives the points' mean distance before that.
double kmeans_step(const Sizes& points, Sizes& centres) {
  Sizes sum(centres.size());
  std::vector<double> count(centres.size());
  double distance = 0;
  for (const AnchorSize& point : points) {
    const std::size_t at = nearest(centres, point);
    sum[at].w += point.w;
    sum[at].h += point.h;
    count[at] += 1;
    distance += std::sqrt(squared_distance(centres[at], point));
  }
  for (std::size_t i = 0; i < centres.size(); ++i)
    if (count[i] > 0) centres[i] = {sum[i].w / count[i], sum[i].h / count[i]};
  return distance / static_cast<double>(points.size());
}

/// The best of several runs, each from different points of the data.
Sizes kmeans(const Sizes& points, const Sizes& different, index_t count, std::uint64_t seed) {
  constexpr double settled = 1e-5;
  Sizes best;
  double least = std::numeric_limits<double>::infinity();
  for (int run = 0; run < kmeans_runs; ++run) {
    Random random(seed, Purpose::anchors, 0, run);
    Sizes pool = different, centres;
    for (index_t i = 0; i < count; ++i) {
      const auto rest = static_cast<index_t>(pool.size()) - i;
      std::swap(pool[static_cast<std::size_t>(i)], pool[static_cast<std::size_t>(i + random.below(rest))]);
      centres.push_back(pool[static_cast<std::size_t>(i)]);
    }
    double distance = kmeans_step(points, centres), before = std::numeric_limits<double>::infinity();
    for (int step = 0; step < kmeans_steps && before - distance > settled; ++step) {
      before = distance;
      distance = kmeans_step(points, centres);
    }
    if (distance < least) {
      least = distance;
      best = centres;
    }
  }
  return best;
}

/// Standard deviations of both sides; 1 where there is none.
AnchorSize spread(const Sizes& boxes) {
  AnchorSize mean, square;
  const auto n = static_cast<double>(boxes.size());
  for (const AnchorSize& box : boxes) {
    mean.w += box.w / n;
    mean.h += box.h / n;
  }
  for (const AnchorSize& box : boxes) {
    square.w += (box.w - mean.w) * (box.w - mean.w) / n;
    square.h += (box.h - mean.h) * (box.h - mean.h) / n;
  }
  const auto deviation = [](double variance) { return variance > 0 ? std::sqrt(variance) : 1; };
  return {deviation(square.w), deviation(square.h)};
}

/// Random factors around 1 for every side; the changed anchors.
Sizes mutated(const Sizes& anchors, Random& random) {
  constexpr double share = 0.9, sigma = 0.1, smallest = 0.3, greatest = 3;
  Sizes result;
  while (result.empty() || result == anchors) {
    result = anchors;
    const double strength = random.unit() * sigma;
    for (AnchorSize& anchor : result)
      for (double* side : {&anchor.w, &anchor.h}) {
        const bool chosen = random.unit() < share;
        const double factor = 1 + (chosen ? strength * random.normal() : 0);
        *side = std::max(*side * std::clamp(factor, smallest, greatest), least_side);
      }
  }
  return result;
}

/// Boxes that anchors are made for.
Sizes usable_sizes(const DataSet& data, index_t img) {
  Sizes sizes = box_sizes(data, img, 0, 0);
  std::erase_if(sizes, [](const AnchorSize& box) { return std::max(box.w, box.h) < least_side; });
  return sizes;
}

Sizes different_sizes(const Sizes& sizes) {
  std::set<std::array<double, 2>> seen;
  Sizes result;
  for (const AnchorSize& box : sizes)
    if (seen.insert({box.w, box.h}).second) result.push_back(box);
  return result;
}

}  // namespace

AnchorFit anchor_fit(std::span<const AnchorSize> anchors, std::span<const AnchorSize> boxes, double anchor_t) {
  const auto positive = [](const AnchorSize& size) { return size.w > 0 && size.h > 0; };
  if (anchors.empty() || !(anchor_t > 0) || !std::all_of(anchors.begin(), anchors.end(), positive) ||
      !std::all_of(boxes.begin(), boxes.end(), positive))
    throw ShapeError("anchor_fit: anchors, their sides, those of boxes and anchor_t must be above 0");
  constexpr std::size_t block = 4096;
  std::vector<AnchorFit> parts((boxes.size() + block - 1) / block);
  const auto count = static_cast<index_t>(parts.size());
#pragma omp parallel for schedule(static)
  for (index_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    parts[at] = sums(anchors, boxes.subspan(at * block, std::min(block, boxes.size() - at * block)), 1 / anchor_t);
  }
  AnchorFit fit;
  const double n = boxes.empty() ? 1 : static_cast<double>(boxes.size());
  for (const AnchorFit& part : parts) {
    fit.recall += part.recall / n;
    fit.anchors_per_target += part.anchors_per_target / n;
    fit.fitness += part.fitness / n;
  }
  return fit;
}

std::vector<AnchorSize> box_sizes(const DataSet& data, index_t img, double jitter, std::uint64_t seed) {
  if (img < 1 || !(jitter >= 0 && jitter < 1)) throw ShapeError("box_sizes: img must be above 0, jitter in 0..1");
  Sizes sizes;
  for (std::size_t i = 0; i < data.samples.size(); ++i) {
    const Sample& sample = data.samples[i];
    const double gain = static_cast<double>(img) / static_cast<double>(std::max(sample.width, sample.height)) *
                        Random(seed, Purpose::jitter, 0, static_cast<index_t>(i)).uniform(1 - jitter, 1 + jitter);
    for (const BoxLabel& box : sample.boxes)
      sizes.push_back({static_cast<double>(box.w) * static_cast<double>(sample.width) * gain,
                       static_cast<double>(box.h) * static_cast<double>(sample.height) * gain});
  }
  return sizes;
}

std::vector<AnchorSize> kmean_anchors(const DataSet& data, index_t count, index_t img, double anchor_t,
                                      std::uint64_t seed, int generations) {
  if (count < 1) throw ShapeError("kmean_anchors: there must be at least one anchor");
  Sizes boxes = usable_sizes(data, img);
  const AnchorSize unit = spread(boxes);
  Sizes points = boxes;
  for (AnchorSize& point : points) point = {point.w / unit.w, point.h / unit.h};
  const Sizes different = different_sizes(points);
  if (static_cast<index_t>(different.size()) < count)
    throw FormatError(data.name + ": " + std::to_string(different.size()) + " different boxes of 2 pixels or more, " +
                      std::to_string(count) + " anchors need as many");
  Sizes anchors = kmeans(points, different, count, seed);
  for (AnchorSize& anchor : anchors) anchor = {anchor.w * unit.w, anchor.h * unit.h};
  const auto by_area = [](const AnchorSize& a, const AnchorSize& b) { return a.w * a.h < b.w * b.h; };
  std::stable_sort(anchors.begin(), anchors.end(), by_area);
  double fitness = anchor_fit(anchors, boxes, anchor_t).fitness;
  for (int generation = 0; generation < generations; ++generation) {
    Random random(seed, Purpose::anchors, 1, generation);
    Sizes changed = mutated(anchors, random);
    const double better = anchor_fit(changed, boxes, anchor_t).fitness;
    if (better > fitness) {
      fitness = better;
      anchors = std::move(changed);
    }
  }
  std::stable_sort(anchors.begin(), anchors.end(), by_area);
  return anchors;
}

AutoAnchors auto_anchors(const DataSet& data, std::span<const AnchorSize> anchors, index_t img, double anchor_t,
                         std::uint64_t seed) {
  const Sizes boxes = box_sizes(data, img, size_jitter, seed);
  AutoAnchors result;
  result.anchors.assign(anchors.begin(), anchors.end());
  result.before = result.after = anchor_fit(anchors, boxes, anchor_t);
  if (result.before.recall > enough_recall || different_sizes(usable_sizes(data, img)).size() < anchors.size())
    return result;
  Sizes found = kmean_anchors(data, static_cast<index_t>(anchors.size()), img, anchor_t, seed);
  const AnchorFit fit = anchor_fit(found, boxes, anchor_t);
  if (fit.recall > result.before.recall) {
    result.anchors = std::move(found);
    result.after = fit;
    result.changed = true;
  }
  return result;
}

}  // namespace slimneck
