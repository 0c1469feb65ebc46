// GSConv and DSC over a table of shapes: numbers, and what the composition of reference kernels makes of them in
// double.
#pragma once

#include <array>

#include "slimneck/kernels.hpp"
#include "table.hpp"

namespace slimneck::table {

using kernels::Act;
using kernels::fast::Halves;
namespace fast = kernels::fast;

enum class PairKind { gsconv, dsc };

struct PairRow {
  PairKind kind;
  Shape x;
  index_t half, k, stride;  ///< channels of the dense convolution's output
  Act act;
  Halves halves;
  index_t k2 = 5;  ///< of gsconv's depthwise convolution
};

inline constexpr PairRow pair_rows[] = {
    {PairKind::gsconv, {1, 16, 7, 9}, 16, 1, 1, Act::relu, Halves::interleave},
    {PairKind::gsconv, {2, 3, 8, 8}, 17, 3, 2, Act::none, Halves::deinterleave},
    {PairKind::gsconv, {1, 64, 5, 13}, 32, 1, 1, Act::silu, Halves::interleave},
    {PairKind::gsconv, {3, 17, 2, 3}, 15, 3, 1, Act::mish, Halves::deinterleave},
    {PairKind::gsconv, {1, 32, 14, 30}, 48, 3, 2, Act::silu, Halves::concat},
    {PairKind::gsconv, {1, 1, 1, 2}, 1, 1, 1, Act::relu, Halves::interleave},
    {PairKind::gsconv, {0, 16, 4, 4}, 16, 3, 1, Act::relu, Halves::interleave},
    {PairKind::gsconv, {1, 64, 12, 28}, 64, 3, 1, Act::leaky_relu, Halves::interleave},
    {PairKind::gsconv, {2, 24, 10, 11}, 24, 3, 1, Act::silu, Halves::interleave, 3},
    {PairKind::gsconv, {1, 20, 6, 12}, 20, 1, 1, Act::gelu, Halves::deinterleave, 7},
    {PairKind::gsconv, {2, 16, 40, 44}, 16, 3, 2, Act::silu, Halves::interleave},
    {PairKind::dsc, {1, 16, 7, 9}, 32, 3, 1, Act::relu, {}},
    {PairKind::dsc, {2, 3, 8, 8}, 17, 3, 2, Act::none, {}},
    {PairKind::dsc, {1, 64, 5, 13}, 48, 5, 1, Act::silu, {}},
    {PairKind::dsc, {3, 17, 2, 3}, 15, 3, 1, Act::relu, {}},
    {PairKind::dsc, {1, 33, 14, 30}, 64, 5, 2, Act::silu, {}},
    {PairKind::dsc, {0, 16, 4, 4}, 16, 3, 1, Act::relu, {}},
    {PairKind::dsc, {1, 1, 3, 2}, 3, 3, 1, Act::hardswish, {}},
};

/// Numbers and answers; f64 throughout but for what the kernels are given.
struct PairProblem {
  PairRow row;
  fast::PairSettings settings;
  kernels::Conv2d first, second;
  Tensor x, dy, w1, w2, gamma1, beta1, mean1, var1, gamma2, beta2, mean2, var2;
  Tensor y;                                // inference
  Tensor train_y, z1, z2, m1, v1, m2, v2;  // training
  Tensor dx, dw1, dgamma1, dbeta1, dw2, dgamma2, dbeta2;
  Tensor terms1, terms2;  // sums of the absolute terms of dbeta: dbeta itself may cancel to nothing

  [[nodiscard]] bool gs() const { return row.kind == PairKind::gsconv; }

  PairProblem(const PairRow& r, bool integers) : row(r) {
    const index_t pad = r.k / 2;
    settings.geometry = {r.stride, pad, pad};
    settings.act = {r.act, 0.125};
    settings.halves = r.halves;
    // With whole numbers scales are powers of two: gamma / sqrt(var) with var 1, 4, 16 and eps 0.
    settings.eps = integers ? 0 : 1e-3;
    const Fill fill = integers ? Fill::integers : Fill::reals;
    first = settings.geometry;
    first.groups = gs() ? 1 : r.x.c;
    x = random_tensor(r.x, fill, 1);
    w1 = random_tensor(gs() ? Shape{r.half, r.x.c, r.k, r.k} : Shape{r.x.c, 1, r.k, r.k}, fill, 2);
    const Shape zs = fast::conv2d_shape(r.x, w1.shape(), first);
    w2 = random_tensor(gs() ? Shape{r.half, 1, r.k2, r.k2} : Shape{r.half, r.x.c, 1, 1}, fill, 3);
    second = gs() ? kernels::Conv2d{1, r.k2 / 2, r.k2 / 2, 1, zs.c} : kernels::Conv2d{};
    const Shape z2s = fast::conv2d_shape(zs, w2.shape(), second);
    dy = random_tensor(gs() ? Shape{z2s.n, 2 * z2s.c, z2s.h, z2s.w} : z2s, fill, 4);
    make_norm(zs.c, integers, 10, gamma1, beta1, mean1, var1);
    make_norm(z2s.c, integers, 20, gamma2, beta2, mean2, var2);
    solve(zs, z2s, integers);
  }

  [[nodiscard]] std::vector<index_t> source() const {
    const index_t m = row.half;
    std::vector<index_t> s(static_cast<std::size_t>(2 * m));
    for (index_t j = 0; j < 2 * m; ++j)
      s[static_cast<std::size_t>(j)] = row.halves == Halves::concat       ? j
                                       : row.halves == Halves::interleave ? j / 2 + j % 2 * m
                                       : j < m                            ? 2 * j
                                                                          : 2 * (j - m) + 1;
    return s;
  }

 private:
  static void make_norm(index_t channels, bool integers, std::uint64_t seed, Tensor& gamma, Tensor& beta, Tensor& mean,
                        Tensor& var) {
    const Shape s{1, channels, 1, 1};
    gamma = random_tensor(s, Fill::positives, seed);
    var = random_tensor(s, Fill::positives, seed + 1);
    beta = random_tensor(s, integers ? Fill::integers : Fill::reals, seed + 2);
    mean = random_tensor(s, integers ? Fill::integers : Fill::reals, seed + 3);
    for (index_t c = 0; c < channels; ++c) {
      gamma.data<float>()[c] += 0.5F;
      var.data<float>()[c] += 0.5F;
      if (!integers) continue;
      gamma.data<float>()[c] = std::array{1.0F, 0.5F, -1.0F, 2.0F}[static_cast<std::size_t>(c % 4)];
      var.data<float>()[c] = std::array{1.0F, 4.0F, 16.0F}[static_cast<std::size_t>(c % 3)];
    }
  }

  static View<const double> v(const Tensor& t) { return t.view<double>(); }

  /// y = act(bn z).
  void norm_act(const Tensor& z, const Tensor& mean, const Tensor& var, const Tensor& gamma, const Tensor& beta,
                Tensor& y_out) const {
    Tensor u(z.shape(), DType::f64);
    kernels::bn_apply<double>(v(z), v(mean), v(var), v(gamma), v(beta), u.view<double>(), settings.eps);
    y_out = Tensor(z.shape(), DType::f64);
    kernels::act_fwd<double>(v(u), y_out.view<double>(), settings.act);
  }
  void norm_act_bwd(const Tensor& g, const Tensor& z, const Tensor& mean, const Tensor& var, const Tensor& gamma,
                    const Tensor& beta, Tensor& dz, Tensor& dgamma, Tensor& dbeta, Tensor& terms) const {
    Tensor u(z.shape(), DType::f64), du(z.shape(), DType::f64);
    kernels::bn_apply<double>(v(z), v(mean), v(var), v(gamma), v(beta), u.view<double>(), settings.eps);
    kernels::act_bwd<double>(v(u), v(g), du.view<double>(), settings.act);
    dz = Tensor(z.shape(), DType::f64);
    dgamma = dbeta = terms = Tensor({1, z.shape().c, 1, 1}, DType::f64);
    kernels::channel_sum<double>(v(absolute(du)), terms.view<double>());
    kernels::bn_bwd<double>(v(du), v(z), v(mean), v(var), v(gamma), dz.view<double>(), dgamma.view<double>(),
                            dbeta.view<double>(), settings.eps, true);
  }

  [[nodiscard]] Tensor joined(const Tensor& a, const Tensor& b) const {
    if (!gs()) return b;
    const Shape s = dy.shape();
    Tensor both(s, DType::f64), out(s, DType::f64);
    kernels::copy<double>(v(a), both.view<double>().channels(0, row.half));
    kernels::copy<double>(v(b), both.view<double>().channels(row.half, row.half));
    kernels::gather_channels<double>(v(both), out.view<double>(), source());
    return out;
  }

  void solve(const Shape& zs, const Shape& z2s, bool integers) {
    const auto d = [](const Tensor& t) { return t.to(DType::f64); };
    const Tensor px = d(x), p1 = d(w1), p2 = d(w2), g1 = d(gamma1), b1 = d(beta1), g2 = d(gamma2), b2 = d(beta2);
    Tensor a, b;
    z1 = Tensor(zs, DType::f64);
    z2 = Tensor(z2s, DType::f64);
    kernels::conv2d_fwd<double>(v(px), v(p1), {}, z1.view<double>(), first);
    norm_act(z1, d(mean1), d(var1), g1, b1, a);
    kernels::conv2d_fwd<double>(v(a), v(p2), {}, z2.view<double>(), second);
    norm_act(z2, d(mean2), d(var2), g2, b2, b);
    y = joined(a, b);
    if (integers) return;

    const auto statistics = [](const Tensor& z, Tensor& m, Tensor& s) {
      m = s = Tensor({1, z.shape().c, 1, 1}, DType::f64);
      kernels::bn_stats<double>(v(z), m.view<double>(), s.view<double>());
    };
    statistics(z1, m1, v1);
    norm_act(z1, m1, v1, g1, b1, a);
    kernels::conv2d_fwd<double>(v(a), v(p2), {}, z2.view<double>(), second);
    statistics(z2, m2, v2);
    norm_act(z2, m2, v2, g2, b2, b);
    train_y = joined(a, b);
    backward(px, p1, p2, g1, b1, g2, b2, a);
  }

  void backward(const Tensor& px, const Tensor& p1, const Tensor& p2, const Tensor& g1, const Tensor& b1,
                const Tensor& g2, const Tensor& b2, const Tensor& a) {
    Tensor da(z1.shape(), DType::f64), db = dy.to(DType::f64), own(z1.shape(), DType::f64);
    if (gs()) {
      const std::vector<index_t> s = source();
      std::vector<index_t> inverse(s.size());
      for (std::size_t j = 0; j < s.size(); ++j) inverse[static_cast<std::size_t>(s[j])] = static_cast<index_t>(j);
      Tensor both(dy.shape(), DType::f64);
      kernels::gather_channels<double>(v(db), both.view<double>(), inverse);
      db = Tensor(z2.shape(), DType::f64);
      kernels::copy<double>(v(both).channels(0, row.half), own.view<double>());
      kernels::copy<double>(v(both).channels(row.half, row.half), db.view<double>());
    }
    Tensor dz1, dz2;
    norm_act_bwd(db, z2, m2, v2, g2, b2, dz2, dgamma2, dbeta2, terms2);
    dw2 = Tensor(w2.shape(), DType::f64);
    kernels::conv2d_bwd_w<double>(v(a), v(dz2), dw2.view<double>(), second);
    kernels::conv2d_bwd_x<double>(v(dz2), v(p2), da.view<double>(), second);
    kernels::add<double>(v(da), v(own), da.view<double>());
    norm_act_bwd(da, z1, m1, v1, g1, b1, dz1, dgamma1, dbeta1, terms1);
    dw1 = Tensor(w1.shape(), DType::f64);
    dx = Tensor(x.shape(), DType::f64);
    kernels::conv2d_bwd_w<double>(v(px), v(dz1), dw1.view<double>(), first);
    kernels::conv2d_bwd_x<double>(v(dz1), v(p1), dx.view<double>(), first);
  }
};

/// The largest error, as a part of the largest of `terms`.
inline double worst(const Tensor& got, const Tensor& want, const Tensor& terms) {
  double error = 0, largest = 0;
  for (index_t i = 0; i < got.numel(); ++i) {
    const double w = want.data<double>()[i], e = std::fabs(static_cast<double>(got.data<float>()[i]) - w);
    error = std::isnan(e) ? INFINITY : std::max(error, e);
    largest = std::max(largest, std::fabs(terms.data<double>()[i]));
  }
  return largest > 0 ? error / largest : error;
}

inline std::string to_text(const PairRow& r) {
  return std::string(r.kind == PairKind::gsconv ? "gsconv " : "dsc ") + to_string(r.x) + " half " +
         std::to_string(r.half) + " k" + std::to_string(r.k) + " s" + std::to_string(r.stride) + " act " +
         std::to_string(static_cast<int>(r.act));
}

}  // namespace slimneck::table
