// What tests of convolutions between normalisations share: references in double, vectors of channels, comparisons.
#pragma once

#include "blocked_case.hpp"
#include "kernels/norm/pair.hpp"

namespace slimneck::blocked {

inline constexpr double eps = 1e-3, slope = 0.1;

/// A dense tensor of doubles.
struct Doubles {
  explicit Doubles(const Shape& s)
      : numbers(static_cast<std::size_t>(s.n * s.c * s.h * s.w)), view(numbers.data(), s) {}
  Doubles(const Doubles&) = delete;
  Doubles& operator=(const Doubles&) = delete;
  Doubles& read(const View<float>& from) {
    const Shape& s = view.shape;
    for (index_t n = 0; n < s.n; ++n)
      for (index_t c = 0; c < s.c; ++c)
        for (index_t h = 0; h < s.h; ++h)
          for (index_t w = 0; w < s.w; ++w) view.at(n, c, h, w) = from.at(n, c, h, w);
    return *this;
  }
  [[nodiscard]] double largest() const {
    double m = 0;
    for (const double x : numbers) m = std::fmax(m, std::fabs(x));
    return m;
  }
  std::vector<double> numbers;
  View<double> view;
};

/// |got - wanted| in parts of the largest |wanted|.
inline double off(const View<float>& got, const Doubles& wanted) {
  double error = 0;
  const Shape& s = wanted.view.shape;
  for (index_t n = 0; n < s.n; ++n)
    for (index_t c = 0; c < s.c; ++c)
      for (index_t h = 0; h < s.h; ++h)
        for (index_t w = 0; w < s.w; ++w) {
          const double d = std::fabs(static_cast<double>(got.at(n, c, h, w)) - wanted.view.at(n, c, h, w));
          if (d != d) return std::numeric_limits<double>::infinity();
          error = std::fmax(error, d);
        }
  return error == 0 ? 0 : error / wanted.largest();
}

/// c rounded up to whole blocks.
inline index_t physical(index_t c, index_t lanes) { return kernels::blocks_of(c, lanes) * lanes; }

inline kernels::MapAt at(const Map& m) { return {m.view.data, m.view.sn, m.view.sc, m.view.sh}; }

/// A number for every physical channel.
struct Channels : Guarded {
  Channels(index_t count, index_t c, const char* name, double low, double high) : Guarded(count), shape{1, c, 1, 1} {
    const core::Stream stream(name, 2);
    for (index_t i = 0; i < count; ++i)
      data()[i] = static_cast<float>(stream.uniform(static_cast<std::uint64_t>(i), low, high));
  }
  [[nodiscard]] View<float> view() const { return {data(), shape}; }
  Shape shape;
};

/// Vectors of the two normalisations of a pair of convolutions: c1 and c2 channels in p1 and p2 physical ones.
struct PairChannels {
  PairChannels(index_t p1, index_t c1, index_t p2, index_t c2)
      : gamma1(p1, c1, "gamma1", 0.5, 1.5),
        beta1(p1, c1, "beta1", -0.5, 0.5),
        gamma2(p2, c2, "gamma2", 0.5, 1.5),
        beta2(p2, c2, "beta2", -0.5, 0.5),
        mean1(p1, c1, "mean1", -1, 1),
        var1(p1, c1, "var1", 0.5, 2),
        mean2(p2, c2, "mean2", -1, 1),
        var2(p2, c2, "var2", 0.5, 2),
        scale1(p1, c1, "", 0, 1),
        bias1(p1, c1, "", 0, 1),
        scale2(p2, c2, "", 0, 1),
        bias2(p2, c2, "", 0, 1) {}
  /// Without maps and workspace.
  [[nodiscard]] kernels::PairTraining training() const {
    kernels::PairTraining t;
    t.gamma1 = gamma1.data();
    t.beta1 = beta1.data();
    t.gamma2 = gamma2.data();
    t.beta2 = beta2.data();
    t.eps = eps;
    t.mean1 = mean1.data();
    t.var1 = var1.data();
    t.mean2 = mean2.data();
    t.var2 = var2.data();
    return t;
  }
  [[nodiscard]] kernels::PairInference folded() const {
    kernels::bn_fold(gamma1.size(), mean1.data(), var1.data(), gamma1.data(), beta1.data(), eps, scale1.data(),
                     bias1.data());
    kernels::bn_fold(gamma2.size(), mean2.data(), var2.data(), gamma2.data(), beta2.data(), eps, scale2.data(),
                     bias2.data());
    return {scale1.data(), bias1.data(), scale2.data(), bias2.data()};
  }
  Channels gamma1, beta1, gamma2, beta2, mean1, var1, mean2, var2, scale1, bias1, scale2, bias2;
};

/// The same in double.
struct PairDoubles {
  explicit PairDoubles(const PairChannels& from)
      : v1(from.gamma1.shape),
        v2(from.gamma2.shape),
        mean1(v1),
        var1(v1),
        mean2(v2),
        var2(v2),
        gamma1(v1),
        beta1(v1),
        gamma2(v2),
        beta2(v2) {
    gamma1.read(from.gamma1.view());
    beta1.read(from.beta1.view());
    gamma2.read(from.gamma2.view());
    beta2.read(from.beta2.view());
    mean1.read(from.mean1.view());
    var1.read(from.var1.view());
    mean2.read(from.mean2.view());
    var2.read(from.var2.view());
  }
  Shape v1, v2;
  Doubles mean1, var1, mean2, var2, gamma1, beta1, gamma2, beta2;
};

/// What a backward leaves of them.
struct PairGradients {
  PairGradients(index_t p1, index_t c1, index_t p2, index_t c2)
      : dgamma1(p1, c1, "", 0, 1), dbeta1(p1, c1, "", 0, 1), dgamma2(p2, c2, "", 0, 1), dbeta2(p2, c2, "", 0, 1) {}
  template <class Grad>
  void set(Grad& g) const {
    g.dgamma1 = dgamma1.data();
    g.dbeta1 = dbeta1.data();
    g.dgamma2 = dgamma2.data();
    g.dbeta2 = dbeta2.data();
  }
  Channels dgamma1, dbeta1, dgamma2, dbeta2;
};

/// Weights of o x c x size x size in the order of a kernel, o_all and c_all physical channels; from where to where is
/// left open.
inline kernels::WeightArgs weight_args(index_t o, index_t c, index_t size, index_t o_all, index_t c_all,
                                       kernels::WeightOrder order) {
  kernels::WeightArgs a;
  a.o = o;
  a.c = c;
  a.kh = a.kw = size;
  a.o_physical = o_all;
  a.c_physical = c_all;
  a.order = order;
  return a;
}
inline void unpack(const kernels::Kernels& k, const Guarded& from, Map& to, index_t o, index_t c, index_t size,
                   index_t o_all, index_t c_all, kernels::WeightOrder order) {
  kernels::WeightArgs a = weight_args(o, c, size, o_all, c_all, order);
  a.from = from.data();
  a.to = to.view.data;
  k.unpack_weights(a);
}
inline void pack(const kernels::Kernels& k, const Map& from, float* to, index_t o, index_t c, index_t size,
                 index_t o_all, index_t c_all, kernels::WeightOrder order) {
  kernels::WeightArgs a = weight_args(o, c, size, o_all, c_all, order);
  a.from = from.view.data;
  a.to = to;
  k.pack_weights(a);
}

/// Lanes past the last channel meet weights that are zero: zero instead of poison there.
inline void clear_unused(Map& m) {
  for (index_t i = 0; i < m.memory.size(); ++i)
    if (m.memory.data()[i] == Map::poison) m.memory.data()[i] = 0;
}

/// One normalisation with its activation, in double.
inline void norm_act(const Doubles& z, const Doubles& mean, const Doubles& var, const Doubles& gamma,
                     const Doubles& beta, Doubles& y, kernels::Act act) {
  kernels::bn_apply<double>(z.view, mean.view, var.view, gamma.view, beta.view, y.view, eps);
  kernels::act_fwd<double>(y.view, y.view, {act, static_cast<double>(static_cast<float>(slope))});
}

inline void norm_act_bwd(const Doubles& dy, const Doubles& z, const Doubles& mean, const Doubles& var,
                         const Doubles& gamma, const Doubles& beta, Doubles& dz, Doubles& dgamma, Doubles& dbeta,
                         kernels::Act act) {
  Doubles y(z.view.shape);
  kernels::bn_apply<double>(z.view, mean.view, var.view, gamma.view, beta.view, y.view, eps);
  kernels::act_bwd<double>(y.view, dy.view, y.view, {act, static_cast<double>(static_cast<float>(slope))});
  kernels::bn_bwd<double>(y.view, z.view, mean.view, var.view, gamma.view, dz.view, dgamma.view, dbeta.view, eps, true);
}

}  // namespace slimneck::blocked
