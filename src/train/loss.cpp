#include "slimneck/loss.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "slimneck/error.hpp"
#include "train/assign.hpp"

namespace slimneck {

namespace {

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

std::vector<double> initial_balance(std::size_t levels) {
  if (levels == 3) return {4, 1, 0.4};
  std::vector<double> balance{4, 1, 0.25, 0.06, 0.02};
  balance.resize(std::min(levels, balance.size()));
  balance.resize(levels, 0.02);
  return balance;
}

/// The predicted box of four logits, in cells, and its derivatives with respect to them.
struct Decoded {
  std::array<double, 4> box, slope;
};

Decoded decode(const std::array<double, 4>& logits, double anchor_w, double anchor_h) {
  Decoded d{};
  for (std::size_t k = 0; k < 2; ++k) {
    const double s = sigmoid(logits[k]);
    d.box[k] = 2 * s - 0.5;
    d.slope[k] = 2 * s * (1 - s);
  }
  for (std::size_t k = 2; k < 4; ++k) {
    const double s = sigmoid(logits[k]);
    d.box[k] = 4 * s * s * (k == 2 ? anchor_w : anchor_h);
    d.slope[k] = 2 * d.box[k] * (1 - s);
  }
  return d;
}

/// The numbers of a raw head by image, anchor, number and cell.
template <class T>
struct Head {
  View<T> view;
  index_t per_anchor;
  T& operator()(const Match& m, index_t number) const {
    return view.at(m.image, m.anchor * per_anchor + number, m.cell_y, m.cell_x);
  }
};

}  // namespace

LossOptions loss_options(const Hyp& hyp, index_t levels, index_t classes, index_t img) {
  const double per_level = 3.0 / static_cast<double>(levels), side = static_cast<double>(img) / 640;
  LossOptions options;
  options.box = hyp.box * per_level;
  options.cls = hyp.cls * static_cast<double>(classes) / 80 * per_level;
  options.obj = hyp.obj * side * side * per_level;
  options.obj_pw = hyp.obj_pw;
  options.cls_pw = hyp.cls_pw;
  options.anchor_t = hyp.anchor_t;
  options.fl_gamma = hyp.fl_gamma;
  return options;
}

Entropy binary_entropy(double logit, double target, double positive, double gamma) {
  const double s = sigmoid(logit);
  const double weight = 1 + (positive - 1) * target;
  const double log_of_one = std::log1p(std::exp(-std::abs(logit))) + std::max(-logit, 0.0);  // -log(sigmoid)
  const Entropy plain{(1 - target) * logit + weight * log_of_one, (1 - target) - weight * (1 - s)};
  if (gamma <= 0) return plain;
  constexpr double alpha = 0.25;
  const double wrong = target * (1 - s) + (1 - target) * s;  // 1 - probability of what is true
  const double share = target * alpha + (1 - target) * (1 - alpha), factor = share * std::pow(wrong, gamma);
  const double wrong_slope = (1 - 2 * target) * s * (1 - s);
  const double factor_slope = wrong > 0 ? share * gamma * std::pow(wrong, gamma - 1) * wrong_slope : 0;
  return {plain.value * factor, plain.slope * factor + plain.value * factor_slope};
}

DetectionLoss::DetectionLoss(const std::vector<std::vector<double>>& anchors, std::span<const index_t> strides,
                             index_t classes, const LossOptions& options)
    : anchors_(anchors),
      strides_(strides.begin(), strides.end()),
      classes_(classes),
      options_(options),
      balance_(initial_balance(anchors.size())) {
  if (anchors.empty() || anchors.size() != strides.size() || classes < 1)
    throw ShapeError("loss: " + std::to_string(anchors.size()) + " levels of anchors, " +
                     std::to_string(strides.size()) + " strides and " + std::to_string(classes) + " classes");
  for (std::size_t level = 0; level < anchors_.size(); ++level) {
    if (anchors_[level].empty() || anchors_[level].size() % 2 != 0 || strides_[level] < 1)
      throw ShapeError("loss: level " + std::to_string(level) + " has " + std::to_string(anchors_[level].size()) +
                       " numbers of anchors and stride " + std::to_string(strides_[level]));
    for (double& side : anchors_[level]) side /= static_cast<double>(strides_[level]);
  }
}

template <class T>
std::vector<Match> DetectionLoss::match(std::size_t level, index_t rows, index_t columns,
                                        std::span<const BoxTarget> targets) const {
  return train::assign<T>(anchors_[level], options_.anchor_t, rows, columns, targets);
}

template <class T>
LossParts DetectionLoss::level_loss(std::size_t level, View<const T> head, std::span<const BoxTarget> targets,
                                    const View<T>* gradient, const BatchShare& share, double& objectness) const {
  const std::vector<double>& anchors = anchors_[level];
  const index_t count = static_cast<index_t>(anchors.size()) / 2, per_anchor = classes_ + 5;
  const Shape& s = head.shape;
  const std::vector<Match> matches = match<T>(level, s.h, s.w, targets);
  const bool whole = share.pairs.empty();
  const double batch = static_cast<double>(whole ? s.n : share.batch);
  const double pairs = whole ? static_cast<double>(matches.size()) : share.pairs[level];
  const Head<const T> x{head, per_anchor};
  const Head<T> dx{gradient ? *gradient : View<T>{}, per_anchor};
  LossParts parts;

  if (gradient) train::fill_zero(*gradient);
  Tensor goal({s.n, count, s.h, s.w}, dtype_of<T>);  // of objectness
  const View<T> goals = goal.view<T>();
  for (const Match& m : matches) {
    const auto a = static_cast<std::size_t>(m.anchor) * 2;
    std::array<double, 4> logits{};
    for (std::size_t k = 0; k < 4; ++k) logits[k] = static_cast<double>(x(m, static_cast<index_t>(k)));
    const Decoded p = decode(logits, anchors[a], anchors[a + 1]);
    const Overlap q = overlap(options_.measure, p.box, m.box);
    parts.box += options_.box * (1 - q.value) / pairs;
    goals.at(m.image, m.anchor, m.cell_y, m.cell_x) = static_cast<T>(std::max(q.value, 0.0));
    // Several labels may fall on one pair: their gradients add up, and the last one's overlap is the objectness' goal.
    for (std::size_t k = 0; gradient && k < 4; ++k)
      dx(m, static_cast<index_t>(k)) -= static_cast<T>(batch * options_.box * q.slope[k] * p.slope[k] / pairs);
    const double weight = options_.cls / (pairs * static_cast<double>(classes_));
    for (index_t k = 0; classes_ > 1 && k < classes_; ++k) {
      const double wanted = k == m.cls ? 1 - options_.label_smoothing / 2 : options_.label_smoothing / 2;
      const Entropy e = binary_entropy(static_cast<double>(x(m, 5 + k)), wanted, options_.cls_pw, options_.fl_gamma);
      parts.cls += weight * e.value;
      if (gradient) dx(m, 5 + k) += static_cast<T>(batch * weight * e.slope);
    }
  }

  const double cells = batch * static_cast<double>(count * s.h * s.w);
  const double slope = batch * options_.obj * balance_[level] / cells;
  std::vector<double> sums(static_cast<std::size_t>(s.n));  // one for each image, so that the order of adding is fixed
#pragma omp parallel for schedule(static)
  for (index_t n = 0; n < s.n; ++n) {
    double sum = 0;
    for (index_t a = 0; a < count; ++a)
      for (index_t i = 0; i < s.h; ++i)
        for (index_t j = 0; j < s.w; ++j) {
          const Match cell{static_cast<int>(n), static_cast<int>(a), static_cast<int>(i), static_cast<int>(j), 0, {}};
          const Entropy e = binary_entropy(static_cast<double>(x(cell, 4)), static_cast<double>(goals.at(n, a, i, j)),
                                           options_.obj_pw, options_.fl_gamma);
          sum += e.value;
          if (gradient) dx(cell, 4) = static_cast<T>(slope * e.slope);
        }
    sums[static_cast<std::size_t>(n)] = sum;
  }
  objectness = std::accumulate(sums.begin(), sums.end(), 0.0) / cells;
  parts.obj = options_.obj * balance_[level] * objectness;
  return parts;
}

template <class T>
void DetectionLoss::check(std::span<const View<const T>> heads, std::span<const BoxTarget> targets,
                          std::span<const View<T>> gradients) const {
  const std::size_t levels = anchors_.size();
  if (heads.size() != levels || (!gradients.empty() && gradients.size() != levels))
    throw ShapeError("loss: " + std::to_string(heads.size()) + " heads and " + std::to_string(gradients.size()) +
                     " gradients for " + std::to_string(levels) + " levels");
  for (std::size_t level = 0; level < levels; ++level) {
    const index_t channels = static_cast<index_t>(anchors_[level].size()) / 2 * (classes_ + 5);
    if (heads[level].shape.c != channels || heads[level].shape.n != heads[0].shape.n ||
        (!gradients.empty() && gradients[level].shape != heads[level].shape))
      throw ShapeError("loss: head " + std::to_string(level) + " is " + to_string(heads[level].shape) +
                       " and has a gradient of another shape, another batch, or not " + std::to_string(channels) +
                       " channels");
  }
  for (const BoxTarget& t : targets)
    if (t.image < 0 || t.image >= heads[0].shape.n || t.cls < 0 || t.cls >= classes_)
      throw ShapeError("loss: a target of image " + std::to_string(t.image) + " and class " + std::to_string(t.cls) +
                       " in a batch of " + std::to_string(heads[0].shape.n) + " with " + std::to_string(classes_) +
                       " classes");
}

template <class T>
LossParts DetectionLoss::part(std::span<const View<const T>> heads, std::span<const BoxTarget> targets,
                              std::span<const View<T>> gradients, BatchShare& share) const {
  check(heads, targets, gradients);
  const std::size_t levels = anchors_.size();
  if (!share.pairs.empty() && share.pairs.size() != levels)
    throw ShapeError("loss: " + std::to_string(share.pairs.size()) + " numbers of pairs for " + std::to_string(levels) +
                     " levels");
  LossParts parts;
  share.objectness.assign(levels, 0);
  for (std::size_t level = 0; level < levels; ++level) {
    const View<T>* gradient = gradients.empty() ? nullptr : &gradients[level];
    const LossParts own = level_loss<T>(level, heads[level], targets, gradient, share, share.objectness[level]);
    parts.box += own.box;
    parts.obj += own.obj;
    parts.cls += own.cls;
  }
  return parts;
}

template <class T>
LossParts DetectionLoss::operator()(std::span<const View<const T>> heads, std::span<const BoxTarget> targets,
                                    std::span<const View<T>> gradients) {
  BatchShare whole;
  const LossParts parts = part(heads, targets, gradients, whole);
  if (!gradients.empty()) rebalance(whole.objectness);
  return parts;
}

void DetectionLoss::rebalance(std::span<const double> objectness) {
  if (!options_.autobalance) return;
  for (std::size_t level = 0; level < balance_.size(); ++level)
    balance_[level] = balance_[level] * 0.9999 + 0.0001 / objectness[level];
  const auto sixteen = std::find(strides_.begin(), strides_.end(), index_t{16});
  const double unit = balance_[sixteen == strides_.end() ? 0 : static_cast<std::size_t>(sixteen - strides_.begin())];
  for (double& weight : balance_) weight /= unit;
}

template LossParts DetectionLoss::operator()<float>(std::span<const View<const float>>, std::span<const BoxTarget>,
                                                    std::span<const View<float>>);
template LossParts DetectionLoss::operator()<double>(std::span<const View<const double>>, std::span<const BoxTarget>,
                                                     std::span<const View<double>>);
template LossParts DetectionLoss::part<float>(std::span<const View<const float>>, std::span<const BoxTarget>,
                                              std::span<const View<float>>, BatchShare&) const;
template LossParts DetectionLoss::part<double>(std::span<const View<const double>>, std::span<const BoxTarget>,
                                               std::span<const View<double>>, BatchShare&) const;
template std::vector<Match> DetectionLoss::match<float>(std::size_t, index_t, index_t,
                                                        std::span<const BoxTarget>) const;
template std::vector<Match> DetectionLoss::match<double>(std::size_t, index_t, index_t,
                                                         std::span<const BoxTarget>) const;

}  // namespace slimneck
