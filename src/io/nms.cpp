// Greedy non-maximum suppression. A box is dropped when a kept box of higher score overlaps it by more than the
// threshold; so each candidate is compared with the kept boxes only (at most max_det), not with all candidates. The
// build must not contract a*b+c here: the result is defined in plain float32 steps.
#include <algorithm>
#include <cmath>
#include <string>

#include "slimneck/detect.hpp"

namespace slimneck {
namespace {

// A (row, class) pair whose score passed.
struct Candidate {
  float score;
  std::int32_t row, cls;
};

// Falling score; equal ones in the order in which they were found.
bool better(const Candidate& a, const Candidate& b) {
  if (a.score != b.score) return a.score > b.score;
  return a.row != b.row ? a.row < b.row : a.cls < b.cls;
}

struct Box {
  float x1, y1, x2, y2;
};

// Kept boxes, moved apart by class, one array per coordinate so that the comparison runs in vectors.
class KeptBoxes {
 public:
  void add(const Box& box) {
    x1_.push_back(box.x1);
    y1_.push_back(box.y1);
    x2_.push_back(box.x2);
    y2_.push_back(box.y2);
    area_.push_back((box.x2 - box.x1) * (box.y2 - box.y1));
  }

  [[nodiscard]] bool overlap(const Box& box, float threshold) const {
    constexpr std::size_t block = 64;  // boxes compared between two looks at the outcome
    const float area = (box.x2 - box.x1) * (box.y2 - box.y1);
    for (std::size_t first = 0; first < x1_.size(); first += block) {
      int found = 0;
      for (std::size_t i = first; i < std::min(first + block, x1_.size()); ++i) {
        const float w = std::max(0.0F, std::min(x2_[i], box.x2) - std::max(x1_[i], box.x1));
        const float h = std::max(0.0F, std::min(y2_[i], box.y2) - std::max(y1_[i], box.y1));
        const float inter = w * h;
        found |= static_cast<int>(inter / (area_[i] + area - inter) > threshold);
      }
      if (found != 0) return true;
    }
    return false;
  }

 private:
  std::vector<float> x1_, y1_, x2_, y2_, area_;
};

class Rows {
 public:
  explicit Rows(const View<const float>& pred)
      : data_(pred.data), row_step_(pred.sh), step_(pred.sw), rows_(pred.shape.h), classes_(pred.shape.w - 5) {}

  [[nodiscard]] index_t rows() const { return rows_; }
  [[nodiscard]] index_t classes() const { return classes_; }
  [[nodiscard]] float at(index_t row, index_t column) const { return data_[row * row_step_ + column * step_]; }
  [[nodiscard]] float score(index_t row, index_t cls) const { return at(row, 5 + cls) * at(row, 4); }

  [[nodiscard]] Box box(index_t row) const {
    const float x = at(row, 0), y = at(row, 1), half_w = at(row, 2) / 2, half_h = at(row, 3) / 2;
    return {x - half_w, y - half_h, x + half_w, y + half_h};
  }

  // The class of the best score, the first of equal ones; a NaN counts as the best, and then no score passes.
  [[nodiscard]] index_t best_class(index_t row) const {
    index_t best = 0;
    float highest = score(row, 0);
    for (index_t cls = 1; cls < classes_ && !std::isnan(highest); ++cls) {
      const float s = score(row, cls);
      if (s > highest || std::isnan(s)) {
        highest = s;
        best = cls;
      }
    }
    return best;
  }

 private:
  const float* data_;
  index_t row_step_, step_, rows_, classes_;
};

bool finite(const Box& box) {
  return std::isfinite(box.x1) && std::isfinite(box.y1) && std::isfinite(box.x2) && std::isfinite(box.y2);
}

std::vector<Candidate> find_candidates(const Rows& rows, const NmsOptions& options) {
  const index_t classes = rows.classes();
  std::vector<char> wanted(static_cast<std::size_t>(classes), options.classes.empty() ? 1 : 0);
  for (const int cls : options.classes)
    if (cls >= 0 && cls < classes) wanted[static_cast<std::size_t>(cls)] = 1;
  std::vector<Candidate> found;
  for (index_t row = 0; row < rows.rows(); ++row) {
    if (!(rows.at(row, 4) > options.conf) || !finite(rows.box(row))) continue;
    const bool all = options.multi_label && classes > 1;
    const index_t first = all ? 0 : rows.best_class(row);
    for (index_t cls = first; cls < (all ? classes : first + 1); ++cls) {
      const float score = rows.score(row, cls);
      if (score > options.conf && wanted[static_cast<std::size_t>(cls)] != 0)
        found.push_back({score, static_cast<std::int32_t>(row), static_cast<std::int32_t>(cls)});
    }
  }
  return found;
}

void check(const View<const float>& pred, const NmsOptions& options) {
  const Shape& s = pred.shape;
  if (s.n != 1 || s.c != 1 || s.w < 6 || s.h < 0 || pred.block != 1 || std::max(s.h, s.w) > (index_t{1} << 30))
    throw ShapeError("non_max_suppression: predictions of " + to_string(s) + ", wanted 1x1xROWSx(5 + classes)");
  const auto fraction = [](float v) { return v >= 0 && v <= 1; };
  if (!fraction(options.conf) || !fraction(options.iou) || options.max_det < 0 || options.max_nms < 0 ||
      !std::isfinite(options.max_wh))
    throw ShapeError("non_max_suppression: conf " + std::to_string(options.conf) + ", iou " +
                     std::to_string(options.iou) + ", max_det " + std::to_string(options.max_det) + ", max_nms " +
                     std::to_string(options.max_nms) +
                     ": wanted conf and iou in 0..1 and limits that are not negative");
}

double real(index_t v) { return static_cast<double>(v); }

void move_back(std::span<Detection> detections, double gain, double pad_w, double pad_h, index_t h, index_t w) {
  const auto back = [gain](float v, double pad, index_t limit) {
    return std::clamp((v - static_cast<float>(pad)) / static_cast<float>(gain), 0.0F, static_cast<float>(limit));
  };
  for (Detection& d : detections) {
    d.x1 = back(d.x1, pad_w, w);
    d.x2 = back(d.x2, pad_w, w);
    d.y1 = back(d.y1, pad_h, h);
    d.y2 = back(d.y2, pad_h, h);
  }
}

}  // namespace

std::vector<Detection> non_max_suppression(View<const float> pred, const NmsOptions& options) {
  check(pred, options);
  const Rows rows(pred);
  std::vector<Candidate> candidates = find_candidates(rows, options);
  if (static_cast<index_t>(candidates.size()) > options.max_nms) {
    const auto end = candidates.begin() + static_cast<std::ptrdiff_t>(options.max_nms);
    std::nth_element(candidates.begin(), end, candidates.end(), better);
    candidates.erase(end, candidates.end());
  }
  std::sort(candidates.begin(), candidates.end(), better);

  std::vector<Detection> kept;
  KeptBoxes boxes;
  for (const Candidate& candidate : candidates) {
    if (static_cast<index_t>(kept.size()) >= options.max_det) break;
    const Box box = rows.box(candidate.row);
    const float shift = static_cast<float>(candidate.cls) * (options.agnostic ? 0.0F : options.max_wh);
    const Box moved{box.x1 + shift, box.y1 + shift, box.x2 + shift, box.y2 + shift};
    if (boxes.overlap(moved, options.iou)) continue;
    boxes.add(moved);
    kept.push_back({box.x1, box.y1, box.x2, box.y2, candidate.score, candidate.cls});
  }
  return kept;
}

void scale_boxes(std::span<Detection> detections, index_t net_h, index_t net_w, index_t h, index_t w) {
  if (std::min({net_h, net_w, h, w}) < 1) throw ShapeError("scale_boxes: extents must be at least 1");
  const double gain = std::min(real(net_h) / real(h), real(net_w) / real(w));
  move_back(detections, gain, (real(net_w) - real(w) * gain) / 2, (real(net_h) - real(h) * gain) / 2, h, w);
}

void scale_boxes(std::span<Detection> detections, const Letterbox& geometry, index_t h, index_t w) {
  if (std::min({geometry.resized_h, h, w}) < 1) throw ShapeError("scale_boxes: extents must be at least 1");
  move_back(detections, real(geometry.resized_h) / real(h), geometry.pad_w, geometry.pad_h, h, w);
}

}  // namespace slimneck
