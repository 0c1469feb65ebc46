// How much two boxes overlap, as a loss sees it. With areas A, intersection I and the smallest box C that holds both:
//   IoU  = I / (A1 + A2 - I)
//   CIoU = IoU - |centre1 - centre2|^2 / diagonal(C)^2 - alpha v,   v = 4/pi^2 (atan(w2/h2) - atan(w1/h1))^2,
//          alpha = v / (v - IoU + 1) held constant in the derivative
//   EIoU = IoU - |centre1 - centre2|^2 / diagonal(C)^2 - (w1 - w2)^2 / width(C)^2 - (h1 - h2)^2 / height(C)^2
// with 1e-7 added to each denominator.
#include <cmath>
#include <numbers>

#include "slimneck/loss.hpp"

namespace slimneck {

namespace {

constexpr double eps = 1e-7;

/// A function of one side's two ends, with its derivatives with respect to the first box's centre and extent.
struct Line {
  double value = 0, centre = 0, extent = 0;
};

/// Share of the first operand in the derivative of a minimum or maximum: half where both are equal.
double share(double a, double b) { return a < b ? 1 : a == b ? 0.5 : 0; }

/// Length of what two intervals have in common.
Line common(double c1, double e1, double c2, double e2) {
  const double low1 = c1 - e1 / 2, high1 = c1 + e1 / 2, low2 = c2 - e2 / 2, high2 = c2 + e2 / 2;
  const double length = std::min(high1, high2) - std::max(low1, low2);
  if (length < 0) return {};
  const double from_high = share(high1, high2), from_low = share(low2, low1);
  return {length, from_high - from_low, (from_high + from_low) / 2};
}

/// Length of the shortest interval that holds both.
Line hull(double c1, double e1, double c2, double e2) {
  const double low1 = c1 - e1 / 2, high1 = c1 + e1 / 2, low2 = c2 - e2 / 2, high2 = c2 + e2 / 2;
  const double from_high = share(high2, high1), from_low = share(low1, low2);
  return {std::max(high1, high2) - std::min(low1, low2), from_high - from_low, (from_high + from_low) / 2};
}

/// a / b, and its derivative from theirs.
struct Quotient {
  double a, b;
  [[nodiscard]] double value() const { return a / b; }
  [[nodiscard]] double slope(double da, double db) const { return (da - a / b * db) / b; }
};

void subtract_aspect(const std::array<double, 4>& p, const std::array<double, 4>& t, double iou, Overlap& q) {
  constexpr double factor = 4 / (std::numbers::pi * std::numbers::pi);
  const double angle = std::atan(t[2] / t[3]) - std::atan(p[2] / p[3]);
  const double v = factor * angle * angle, alpha = v / (v - iou + (1 + eps));
  const double slope = 2 * factor * angle / (p[2] * p[2] + p[3] * p[3]);
  q.value -= v * alpha;
  q.slope[2] += alpha * slope * p[3];
  q.slope[3] -= alpha * slope * p[2];
}

void subtract_extents(const std::array<double, 4>& p, const std::array<double, 4>& t, const Line& wide,
                      const Line& high, Overlap& q) {
  const double dw = p[2] - t[2], dh = p[3] - t[3];
  const Quotient w{dw * dw, wide.value * wide.value + eps}, h{dh * dh, high.value * high.value + eps};
  q.value -= w.value() + h.value();
  q.slope[0] -= w.slope(0, 2 * wide.value * wide.centre);
  q.slope[1] -= h.slope(0, 2 * high.value * high.centre);
  q.slope[2] -= w.slope(2 * dw, 2 * wide.value * wide.extent);
  q.slope[3] -= h.slope(2 * dh, 2 * high.value * high.extent);
}

}  // namespace

Overlap overlap(BoxLoss measure, const std::array<double, 4>& p, const std::array<double, 4>& t) {
  const Line iw = common(p[0], p[2], t[0], t[2]), ih = common(p[1], p[3], t[1], t[3]);
  const Line wide = hull(p[0], p[2], t[0], t[2]), high = hull(p[1], p[3], t[1], t[3]);
  const double inter = iw.value * ih.value;
  const Quotient iou{inter, p[2] * p[3] + t[2] * t[3] - inter + eps};
  const double dx = t[0] - p[0], dy = t[1] - p[1];
  const Quotient distance{dx * dx + dy * dy, wide.value * wide.value + high.value * high.value + eps};

  const std::array<double, 4> d_inter{iw.centre * ih.value, ih.centre * iw.value, iw.extent * ih.value,
                                      ih.extent * iw.value};
  const std::array<double, 4> d_area{0, 0, p[3], p[2]}, d_squares{-2 * dx, -2 * dy, 0, 0};
  const std::array<double, 4> d_diagonal{2 * wide.value * wide.centre, 2 * high.value * high.centre,
                                         2 * wide.value * wide.extent, 2 * high.value * high.extent};
  Overlap q{iou.value() - distance.value(), {}};
  for (std::size_t k = 0; k < 4; ++k)
    q.slope[k] = iou.slope(d_inter[k], d_area[k] - d_inter[k]) - distance.slope(d_squares[k], d_diagonal[k]);
  if (measure == BoxLoss::ciou)
    subtract_aspect(p, t, iou.value(), q);
  else
    subtract_extents(p, t, wide, high, q);
  return q;
}

}  // namespace slimneck
