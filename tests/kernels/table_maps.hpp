// Shapes, places and expectations of what works on maps without weights.
#pragma once

#include "slimneck/kernels.hpp"
#include "table.hpp"

namespace slimneck::table {

/// One value per channel in training is an error elsewhere; here it is a map like any other.
inline constexpr Shape map_shapes[] = {
    {1, 1, 1, 1},  {1, 3, 1, 2},  {0, 16, 5, 5},  {3, 15, 7, 2}, {1, 16, 13, 7}, {1, 17, 2, 33}, {2, 64, 5, 9},
    {1, 33, 9, 1}, {3, 16, 4, 4}, {1, 1, 40, 41}, {2, 80, 8, 8}, {1, 3, 31, 64}, {1, 64, 1, 1},  {5, 24, 3, 11},
};

inline constexpr Placement map_placements[] = {{0, false, 0}, {4, true, 1}, {8, false, 2}, {28, true, 0}, {0, true, 3}};

/// Within `factor` of each value's own size.
inline Want relatively(const Tensor& value, double factor) { return {value, absolute(value), factor}; }

/// Within `factor` of the largest of `terms`.
inline Want to_the_largest(const Tensor& value, const Tensor& terms, double factor) {
  Want want{value, Tensor(value.shape(), DType::f64), factor};
  double largest = 0;
  for (index_t i = 0; i < terms.numel(); ++i) largest = std::max(largest, std::fabs(terms.data<double>()[i]));
  for (index_t i = 0; i < value.numel(); ++i) want.scale.data<double>()[i] = largest;
  return want;
}

inline Shape vector_of(const Shape& s) { return {1, s.c, 1, 1}; }

/// Every row, or as many as the environment wants.
template <class F>
void for_each_map_shape(const F& f) {
  for (std::size_t i = 0; i<std::size(map_shapes); i += every()> 1 ? 3 : 1) f(i, map_shapes[i]);
}

/// Where channels come from: a shuffle of two halves, its inverse, and a slice with holes (-1).
struct ChannelMoves {
  std::vector<index_t> shuffle, inverse, slice;

  explicit ChannelMoves(index_t channels) : shuffle(static_cast<std::size_t>(channels)), inverse(shuffle) {
    const index_t half = (channels + 1) / 2;
    for (index_t j = 0; j < channels; ++j) {
      const index_t from = j % 2 == 0 ? j / 2 : half + j / 2;
      shuffle[static_cast<std::size_t>(j)] = from;
      inverse[static_cast<std::size_t>(from)] = j;
    }
    for (index_t j = channels / 3; j < channels; ++j) slice.push_back(j % 5 == 4 ? -1 : j);
  }
};

/// A batch norm with its activation: numbers, and what the reference makes of them in double.
struct NormProblem {
  Shape shape;
  kernels::Activation act;
  bool batch_stats;
  Tensor x, dy, gamma, beta;
  Tensor mean, var, y, dx, dgamma, dbeta, dgamma_scale, dbeta_scale, y_scale, dx_terms;
  static constexpr double eps = 1e-3;

  NormProblem(const Shape& s, kernels::Act kind, bool batch)
      : shape(s),
        act{kind, 0.125},
        batch_stats(batch),
        x(random_tensor(s, Fill::reals, 7)),
        dy(random_tensor(s, Fill::reals, 8)),
        gamma(random_tensor(vector_of(s), Fill::positives, 9)),
        beta(random_tensor(vector_of(s), Fill::reals, 10)),
        y(s, DType::f64),
        dx(s, DType::f64),
        y_scale(s, DType::f64),
        dx_terms(s, DType::f64) {
    for (Tensor* t : {&mean, &var, &dgamma, &dbeta, &dgamma_scale, &dbeta_scale}) *t = Tensor(vector_of(s), DType::f64);
    for (index_t e = 0; e < x.numel(); ++e) x.data<float>()[e] += static_cast<float>(e % 7);
    const Tensor x64 = x.to(DType::f64), g64 = gamma.to(DType::f64), b64 = beta.to(DType::f64);
    kernels::bn_stats<double>(x64.view<double>(), mean.view<double>(), var.view<double>());
    // What a call is given, it is given in float.
    mean = mean.to(DType::f32).to(DType::f64);
    var = var.to(DType::f32).to(DType::f64);
    Tensor u(s, DType::f64), du(s, DType::f64);
    const auto vec = [](const Tensor& t) { return t.view<double>(); };
    kernels::bn_apply<double>(vec(x64), vec(mean), vec(var), vec(g64), vec(b64), u.view<double>(), eps);
    kernels::act_fwd<double>(vec(u), y.view<double>(), act);
    kernels::act_bwd<double>(vec(u), vec(dy.to(DType::f64)), du.view<double>(), act);
    kernels::bn_bwd<double>(vec(du), vec(x64), vec(mean), vec(var), vec(g64), dx.view<double>(), dgamma.view<double>(),
                            dbeta.view<double>(), eps, batch);
    scales(x64, u, du);
  }

 private:
  /// Sums of absolute terms.
  void scales(const Tensor& x64, const Tensor& u, const Tensor& du) {
    for (index_t n = 0; n < shape.n; ++n)
      for (index_t c = 0; c < shape.c; ++c)
        for (index_t h = 0; h < shape.h; ++h)
          for (index_t w = 0; w < shape.w; ++w) {
            const double q = 1 / std::sqrt(var.data<double>()[c] + eps), m = mean.data<double>()[c];
            const double g = std::fabs(du.view<double>().at(n, c, h, w)), value = x64.view<double>().at(n, c, h, w);
            dbeta_scale.data<double>()[c] += g;
            dgamma_scale.data<double>()[c] += g * q * (std::fabs(value) + std::fabs(m));
            const double scale = static_cast<double>(gamma.data<float>()[c]) * q;
            dx_terms.view<double>().at(n, c, h, w) = scale * g;
            y_scale.view<double>().at(n, c, h, w) =
                std::fabs(u.view<double>().at(n, c, h, w)) + scale * (std::fabs(value) + std::fabs(m));
          }
  }
};

}  // namespace slimneck::table
