#include "side.hpp"

#include <algorithm>
#include <cmath>

#include "draw.hpp"

namespace slimneck::bench {

namespace {

Numbers uniform(index_t count, std::uint32_t seed, double scale = 1, double offset = 0) {
  Numbers v(static_cast<std::size_t>(count));
  Draw draw(0x9E3779B97F4A7C15U * (seed + 1));
  for (float& x : v) x = static_cast<float>(offset + scale * draw());
  return v;
}

/// Weights that keep the size of what goes through them, so that activations see their bend.
Numbers weights(index_t outputs, index_t inputs, std::uint32_t seed) {
  return uniform(outputs * inputs, seed, 3 / std::sqrt(static_cast<double>(inputs)));
}

/// Terms in the sums of a convolution's pass.
double terms(const Problem& p) {
  const Layer& l = p.layer();
  const index_t taps = l.kh * l.kw;
  if (p.row.pass == Pass::bwd_w) return static_cast<double>(p.n * l.oh() * l.ow());
  return static_cast<double>(taps * (p.row.pass == Pass::bwd_x ? l.oc : l.c) / l.groups);
}

std::string place_of(std::size_t result, std::size_t i, double a, double b) {
  return "result " + std::to_string(result) + " element " + std::to_string(i) + ": " + std::to_string(a) + " and " +
         std::to_string(b);
}

std::string beyond_bound(const Problem& p, const Numbers& a, const Numbers& b, const Numbers& magnitude) {
  const double k = terms(p);
  const double winograd = p.algorithm == kernels::Algorithm::best ? 10 : 1;
  const double factor = 2 * winograd * 0x1p-24 * (4 + 2 * std::sqrt(k));
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
    // The slope of an activation is at most 1.1; bias and the activation itself round a few times more. The transforms
    // of Winograd's algorithm mix neighbours, whose sums may be larger than this one: hence the constant.
    const double s = static_cast<double>(magnitude[i]) + (winograd > 1 ? 0.5 * k / 9 : 0) + std::abs(x) + 1;
    if (!(std::abs(x - y) <= 1.1 * factor * s)) return place_of(0, i, x, y);
  }
  return {};
}

}  // namespace

Problem::Problem(const Row& what, const Options& options)
    : row(what),
      n(what.batch(options)),
      epilogue(options.epilogue && what.pass == Pass::fwd),
      algorithm(options.algorithm),
      isa(options.isa),
      threads(options.threads) {
  const Layer& l = row.layer;
  const bool train = row.pass == Pass::fwdbwd;
  x = uniform(n * l.c * l.h * l.w, 1);
  if (row.pass != Pass::fwd) dy = uniform(n * l.oc * l.oh() * l.ow(), 2);
  const index_t taps = l.kh * l.kw, m = middle();
  if (l.op == Op::dsc) {
    w1 = weights(m, taps, 3);
    w2 = weights(l.oc, l.c, 4);
  } else if (l.op != Op::bn_act) {
    w1 = weights(m, l.c / l.groups * taps, 3);
    if (l.op == Op::gsconv) w2 = weights(m, l.k2 * l.k2, 4);
  }
  const index_t second = l.op == Op::dsc ? l.oc : l.op == Op::gsconv ? m : 0;
  if (train || l.op == Op::bn_act) {
    gamma1 = uniform(m, 5, 0.5, 1);
    beta1 = uniform(m, 6);
    gamma2 = uniform(second, 7, 0.5, 1);
    beta2 = uniform(second, 8);
  }
  bias1 = uniform(m, 9);
  bias2 = uniform(second, 10);
}

index_t Problem::middle() const {
  const Layer& l = layer();
  return l.op == Op::gsconv ? l.half() : l.op == Op::dsc || l.op == Op::bn_act ? l.c : l.oc;
}

Problem magnitudes(const Problem& problem) {
  Problem p = problem;
  p.epilogue = false;
  p.algorithm = kernels::Algorithm::direct;
  if (p.row.peer == "onednn-winograd") p.row.peer = "onednn";
  for (Numbers* v : {&p.x, &p.dy, &p.w1})
    for (float& x : *v) x = std::abs(x);
  return p;
}

std::string disagreement(const Problem& p, const std::vector<Numbers>& ours, const std::vector<Numbers>& peer,
                         const Numbers& magnitude) {
  if (ours.size() != peer.size())
    return std::to_string(ours.size()) + " and " + std::to_string(peer.size()) + " results";
  // Statistics of a whole batch are sums of that many terms, which oneDNN takes in float.
  const auto batch = static_cast<double>(p.n * p.layer().oh() * p.layer().ow());
  const double allowed = 1e-4 + (p.row.pass == Pass::fwdbwd ? 8 * 0x1p-24 * std::sqrt(batch) : 0);
  for (std::size_t r = 0; r < ours.size(); ++r) {
    const Numbers &a = ours[r], &b = peer[r];
    if (a.size() != b.size())
      return "result " + std::to_string(r) + " has " + std::to_string(a.size()) + " and " + std::to_string(b.size()) +
             " numbers";
    // In the mean rounding is far below its bound; a single forgotten pixel is not.
    double distance = 0, size = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      const double x = static_cast<double>(a[i]), y = static_cast<double>(b[i]);
      distance += (x - y) * (x - y);
      size += y * y;
    }
    if (!(std::sqrt(distance) <= allowed * std::sqrt(size) + 1e-12))
      return "result " + std::to_string(r) + " is off by " + std::to_string(std::sqrt(distance / size)) +
             " of its size";
    if (!magnitude.empty())
      if (std::string found = beyond_bound(p, a, b, magnitude); !found.empty()) return found;
  }
  return {};
}

}  // namespace slimneck::bench
