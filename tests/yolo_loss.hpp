// YOLOv5's detection loss on golden matches, with its gradient by forward-mode differentiation: what the golden
// whole-network gradients start from. In double, on raw heads in NCHW.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <vector>

#include "slimneck/tensor.hpp"

namespace slimneck::test {

/// A number and its derivatives with respect to the four box logits.
struct Dual {
  double v = 0;
  std::array<double, 4> d{};
  Dual(double value = 0) : v(value) {}  // NOLINT(google-explicit-constructor): constants mix with duals
};
inline Dual chain(const Dual& a, double value, double slope) {
  Dual r(value);
  for (std::size_t i = 0; i < 4; ++i) r.d[i] = slope * a.d[i];
  return r;
}
inline Dual operator+(const Dual& a, const Dual& b) {
  Dual r(a.v + b.v);
  for (std::size_t i = 0; i < 4; ++i) r.d[i] = a.d[i] + b.d[i];
  return r;
}
inline Dual operator-(const Dual& a) { return chain(a, -a.v, -1); }
inline Dual operator-(const Dual& a, const Dual& b) { return a + (-b); }
inline Dual operator*(const Dual& a, const Dual& b) {
  Dual r(a.v * b.v);
  for (std::size_t i = 0; i < 4; ++i) r.d[i] = a.d[i] * b.v + a.v * b.d[i];
  return r;
}
inline Dual operator/(const Dual& a, const Dual& b) { return a * chain(b, 1 / b.v, -1 / (b.v * b.v)); }
inline Dual smaller(const Dual& a, const Dual& b) { return a.v < b.v ? a : b; }
inline Dual larger(const Dual& a, const Dual& b) { return a.v > b.v ? a : b; }
inline Dual arc_tangent(const Dual& a) { return chain(a, std::atan(a.v), 1 / (1 + a.v * a.v)); }
inline Dual logistic(const Dual& a) {
  const double s = 1 / (1 + std::exp(-a.v));
  return chain(a, s, s * (1 - s));
}

/// Complete IoU of centre-format boxes, its trade-off weight held constant.
inline Dual complete_iou(const std::array<Dual, 4>& p, const std::array<double, 4>& t) {
  const double eps = 1e-7;
  const Dual l = p[0] - p[2] / 2, r = p[0] + p[2] / 2, u = p[1] - p[3] / 2, d = p[1] + p[3] / 2;
  const Dual tl = t[0] - t[2] / 2, tr = t[0] + t[2] / 2, tu = t[1] - t[3] / 2, td = t[1] + t[3] / 2;
  const Dual inter = larger(smaller(r, tr) - larger(l, tl), 0.0) * larger(smaller(d, td) - larger(u, tu), 0.0);
  const Dual iou = inter / (p[2] * p[3] + Dual(t[2] * t[3]) - inter + eps);
  const Dual cw = larger(r, tr) - smaller(l, tl), ch = larger(d, td) - smaller(u, tu);
  const Dual dx = tl + tr - l - r, dy = tu + td - u - d;
  const Dual angle = Dual(std::atan(t[2] / t[3])) - arc_tangent(p[2] / p[3]);
  const Dual v = Dual(4 / (std::numbers::pi * std::numbers::pi)) * angle * angle;
  const double alpha = v.v / (v.v - iou.v + (1 + eps));
  return iou - ((dx * dx + dy * dy) / 4 / (cw * cw + ch * ch + eps) + v * Dual(alpha));
}

struct LossHyp {
  double box = 0, obj = 0, cls = 0;
};

struct Match {
  std::array<std::int64_t, 5> row{};  ///< image, anchor, gj, gi, class
  std::array<double, 4> box{};        ///< in grid units, relative to the cell
};

/// Adds the gradient of batch * (box + obj + cls) of one level to `gradient`; returns that level's three parts.
/// x: n x (na*no) x h x w; anchors: na pairs in grid units.
inline std::array<double, 3> level_loss(View<const double> x, const std::vector<double>& anchors,
                                        const std::vector<Match>& matches, const LossHyp& hyp, double balance,
                                        View<double> gradient) {
  const index_t na = static_cast<index_t>(anchors.size()) / 2, no = x.shape.c / na, nc = no - 5;
  const double batch = static_cast<double>(x.shape.n), count = static_cast<double>(matches.size());
  const auto sigmoid = [](double z) { return 1 / (1 + std::exp(-z)); };
  const auto bce = [](double z, double t) { return std::max(z, 0.0) - z * t + std::log1p(std::exp(-std::abs(z))); };
  std::array<double, 3> parts{};
  Tensor objectness({x.shape.n, na, x.shape.h, x.shape.w}, DType::f64);
  const View<double> target = objectness.view<double>();
  for (const Match& m : matches) {
    const index_t b = m.row[0], a = m.row[1], j = m.row[2], i = m.row[3];
    std::array<Dual, 4> z;
    for (std::size_t k = 0; k < 4; ++k) {
      z[k] = x.at(b, a * no + static_cast<index_t>(k), j, i);
      z[k].d[k] = 1;
    }
    std::array<Dual, 4> p;
    for (std::size_t k = 0; k < 2; ++k) p[k] = logistic(z[k]) * 2.0 - 0.5;
    for (std::size_t k = 2; k < 4; ++k) {
      const Dual s = logistic(z[k]) * 2.0;
      p[k] = s * s * anchors[static_cast<std::size_t>(a) * 2 + k - 2];
    }
    const Dual iou = complete_iou(p, m.box);
    parts[0] += hyp.box * (1 - iou.v) / count;
    for (std::size_t k = 0; k < 4; ++k)
      gradient.at(b, a * no + static_cast<index_t>(k), j, i) -= batch * hyp.box * iou.d[k] / count;
    target.at(b, a, j, i) = std::max(iou.v, 0.0);
    for (index_t k = 0; nc > 1 && k < nc; ++k) {
      const double logit = x.at(b, a * no + 5 + k, j, i), t = k == m.row[4] ? 1 : 0;
      const double weight = hyp.cls / (count * static_cast<double>(nc));
      parts[2] += weight * bce(logit, t);
      gradient.at(b, a * no + 5 + k, j, i) += batch * weight * (sigmoid(logit) - t);
    }
  }
  const double cells = static_cast<double>(target.shape.numel());
  for (index_t b = 0; b < x.shape.n; ++b)
    for (index_t a = 0; a < na; ++a)
      for (index_t j = 0; j < x.shape.h; ++j)
        for (index_t i = 0; i < x.shape.w; ++i) {
          const double logit = x.at(b, a * no + 4, j, i), t = target.at(b, a, j, i);
          parts[1] += hyp.obj * balance * bce(logit, t) / cells;
          gradient.at(b, a * no + 4, j, i) += batch * hyp.obj * balance * (sigmoid(logit) - t) / cells;
        }
  return parts;
}

}  // namespace slimneck::test
