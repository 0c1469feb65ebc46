// COCO's evaluation of boxes: the figures of pycocotools' COCOeval, step by step in double precision.
#include "train/metrics_detail.hpp"

namespace slimneck {
namespace {

constexpr std::size_t recall_points = 101;
constexpr std::size_t most_detections = 100;

double iou_threshold(std::size_t i) {
  return i + 1 == iou_steps ? 0.95 : 0.5 + (0.95 - 0.5) / 9 * static_cast<double>(i);
}

struct AreaRange {
  double low, high;
  [[nodiscard]] bool outside(double area) const { return area < low || area > high; }
};
constexpr double no_limit = 1e10;
constexpr std::array<AreaRange, 4> ranges{
    {{0, no_limit}, {0, 32.0 * 32}, {32.0 * 32, 96.0 * 96}, {96.0 * 96, no_limit}}};  // all, small, medium, large

template <class Box>
double box_area(const Box& b) {
  return (static_cast<double>(b.x2) - b.x1) * (static_cast<double>(b.y2) - b.y1);
}

double truth_area(const Truth& t) { return t.area < 0 ? box_area(t) : t.area; }

/// A crowd need not be covered: there the part of the detection that lies in it counts.
double overlap(const Truth& t, const Detection& d) {
  const double w = static_cast<double>(std::min(t.x2, d.x2)) - std::max(t.x1, d.x1);
  const double h = static_cast<double>(std::min(t.y2, d.y2)) - std::max(t.y1, d.y1);
  if (!(w > 0 && h > 0)) return 0;
  const double inter = w * h;
  return inter / (t.crowd ? box_area(d) : box_area(d) + box_area(t) - inter);
}

/// One class in one picture: its best detections by falling score, its objects, and how they overlap.
struct Scene {
  std::vector<Detection> found;
  std::vector<Truth> truth;
  std::vector<double> iou;  ///< of detection d and object t at d * truth.size() + t

  void add_overlaps() {
    std::vector<Detection> best;
    for (const std::size_t i : train::by_falling_score(found, [](const Detection& d) { return d.score; }))
      if (best.size() < most_detections) best.push_back(found[i]);
    found = std::move(best);
    for (const Detection& d : found)
      for (const Truth& t : truth) iou.push_back(overlap(t, d));
  }
};

enum class Verdict : std::uint8_t { wrong, right, ignored };

/// A scene judged for one range of areas: the verdict on each detection at each IoU, and how many objects count.
struct Ruling {
  std::vector<std::array<Verdict, iou_steps>> verdicts;
  std::size_t objects = 0;
};

/// Those that count come first: a detection takes an ignored object only when no other overlaps it enough.
std::vector<std::size_t> counted_first(const std::vector<bool>& ignored) {
  std::vector<std::size_t> order(ignored.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_partition(order.begin(), order.end(), [&](std::size_t i) { return !ignored[i]; });
  return order;
}

/// The object that detection d takes, or truth.size().
std::size_t taken_by(const Scene& scene, std::size_t d, double least, const std::vector<std::size_t>& order,
                     const std::vector<bool>& ignored, const std::vector<bool>& taken) {
  std::size_t match = scene.truth.size();
  double best = std::min(least, 1 - 1e-10);
  for (const std::size_t t : order) {
    if (taken[t] && !scene.truth[t].crowd) continue;
    if (match < scene.truth.size() && !ignored[match] && ignored[t]) break;
    const double iou = scene.iou[d * scene.truth.size() + t];
    if (iou < best) continue;
    best = iou;
    match = t;
  }
  return match;
}

Ruling judge(const Scene& scene, const AreaRange& range) {
  Ruling ruling;
  std::vector<bool> ignored;
  for (const Truth& t : scene.truth) ignored.push_back(t.crowd || range.outside(truth_area(t)));
  ruling.objects = static_cast<std::size_t>(std::count(ignored.begin(), ignored.end(), false));
  ruling.verdicts.resize(scene.found.size());
  const std::vector<std::size_t> order = counted_first(ignored);
  for (std::size_t step = 0; step < iou_steps; ++step) {
    std::vector<bool> taken(scene.truth.size(), false);
    for (std::size_t d = 0; d < scene.found.size(); ++d) {
      const std::size_t match = taken_by(scene, d, iou_threshold(step), order, ignored, taken);
      Verdict& verdict = ruling.verdicts[d][step];
      if (match == scene.truth.size()) {
        verdict = range.outside(box_area(scene.found[d])) ? Verdict::ignored : Verdict::wrong;
        continue;
      }
      taken[match] = true;
      verdict = ignored[match] ? Verdict::ignored : Verdict::right;
    }
  }
  return ruling;
}

/// What one class gives for one range of areas and one limit of detections: at each IoU the mean precision at the
/// recall points, and the recall reached.
struct Result {
  std::array<double, iou_steps> precision{}, recall{};
};

/// Precision and recall at one IoU, for detections in falling score.
void accumulate(const std::vector<Verdict>& verdicts, double objects, double& precision, double& recall) {
  std::vector<double> recalls, precisions;
  double right = 0, wrong = 0;
  for (const Verdict verdict : verdicts) {
    right += verdict == Verdict::right ? 1 : 0;
    wrong += verdict == Verdict::wrong ? 1 : 0;
    recalls.push_back(right / objects);
    precisions.push_back(right / (right + wrong + std::numeric_limits<double>::epsilon()));
  }
  recall = recalls.empty() ? 0 : recalls.back();
  train::make_envelope(precisions);
  for (std::size_t i = 0; i < recall_points; ++i) {
    const double wanted = i + 1 == recall_points ? 1 : static_cast<double>(i) * 0.01;
    const auto at = std::lower_bound(recalls.begin(), recalls.end(), wanted);
    if (at == recalls.end()) break;
    precision += precisions[static_cast<std::size_t>(at - recalls.begin())];
  }
  precision /= recall_points;
}

/// One class over all its scenes; nothing when no object counts.
std::optional<Result> result_of(const std::vector<Scene>& scenes, const std::vector<Ruling>& rulings,
                                std::size_t limit) {
  struct Entry {
    float score;
    const std::array<Verdict, iou_steps>* verdicts;
  };
  std::vector<Entry> entries;
  std::size_t objects = 0;
  for (std::size_t s = 0; s < scenes.size(); ++s) {
    objects += rulings[s].objects;
    for (std::size_t d = 0; d < std::min(limit, scenes[s].found.size()); ++d)
      entries.push_back({scenes[s].found[d].score, &rulings[s].verdicts[d]});
  }
  if (objects == 0) return std::nullopt;
  const std::vector<std::size_t> order = train::by_falling_score(entries, [](const Entry& e) { return e.score; });
  Result result;
  std::vector<Verdict> verdicts(entries.size());
  for (std::size_t step = 0; step < iou_steps; ++step) {
    for (std::size_t i = 0; i < order.size(); ++i) verdicts[i] = (*entries[order[i]].verdicts)[step];
    accumulate(verdicts, static_cast<double>(objects), result.precision[step], result.recall[step]);
  }
  return result;
}

/// A mean that is -1 of nothing.
class Mean {
 public:
  void add(double value) {
    sum_ += value;
    ++count_;
  }
  void add(std::span<const double> values) {
    for (const double value : values) add(value);
  }
  [[nodiscard]] double value() const { return count_ == 0 ? -1 : sum_ / static_cast<double>(count_); }

 private:
  double sum_ = 0;
  std::size_t count_ = 0;
};

/// The scenes of each labelled class, in the order of pictures.
std::map<int, std::vector<Scene>> scenes_of(std::span<const Judged> pictures) {
  std::map<int, std::vector<Scene>> classes;
  for (const int cls : train::labelled_classes(pictures, true)) classes[cls];
  for (const Judged& picture : pictures) {
    std::map<int, Scene> scenes;
    for (const Truth& t : picture.truth) scenes[t.cls].truth.push_back(t);
    for (const Detection& d : picture.detections)
      if (classes.contains(d.cls)) scenes[d.cls].found.push_back(d);
    for (auto& [cls, scene] : scenes) {
      scene.add_overlaps();
      classes[cls].push_back(std::move(scene));
    }
  }
  return classes;
}

}  // namespace

CocoMetrics coco_metrics(std::span<const Judged> pictures) {
  constexpr std::size_t step75 = 5;
  constexpr std::array<std::size_t, 3> limits{1, 10, most_detections};
  std::array<Mean, 12> means;
  CocoMetrics metrics;
  for (const auto& [cls, scenes] : scenes_of(pictures)) {
    CocoClass own{.cls = cls, .ap = -1, .ap50 = -1};
    for (std::size_t r = 0; r < ranges.size(); ++r) {
      std::vector<Ruling> rulings;
      for (const Scene& scene : scenes) rulings.push_back(judge(scene, ranges[r]));
      for (std::size_t l = r == 0 ? 0 : limits.size() - 1; l < limits.size(); ++l) {
        const std::optional<Result> result = result_of(scenes, rulings, limits[l]);
        if (!result) continue;
        means[r == 0 ? 6 + l : 8 + r].add(result->recall);  // AR1, AR10, AR100; ARsmall ...
        if (limits[l] != most_detections) continue;
        means[r == 0 ? 0 : 2 + r].add(result->precision);  // AP; APsmall ...
        if (r > 0) continue;
        means[1].add(result->precision.front());
        means[2].add(result->precision[step75]);
        Mean ap;
        ap.add(result->precision);
        own.ap = ap.value();
        own.ap50 = result->precision.front();
      }
    }
    metrics.classes.push_back(own);
  }
  for (std::size_t i = 0; i < means.size(); ++i) metrics.figures[i] = means[i].value();
  return metrics;
}

}  // namespace slimneck
