// Batch normalisation on blocked maps against the reference kernels in double.
#include "point_maps.hpp"

using namespace slimneck;
using namespace slimneck::test;
using kernels::Act;

namespace {

constexpr double u = 0x1p-24;

using Vector = std::vector<float>;

/// A map, its vectors, and what the reference makes of them in double.
struct Case {
  Map z, dy, y, dz;
  Vector mean, var, gamma, beta, scale, bias, dgamma, dbeta, coefficients, workspace;
  index_t lanes;

  Case(const Shape& s, index_t v, index_t gap, float offset)
      : z(s, v, gap), dy(s, v, 0), y(s, v, gap), dz(s, v, 0), lanes(v) {
    z.fill(normal(5, offset));
    dy.fill(normal(6));
    const auto c = static_cast<std::size_t>(z.blocks() * v);
    for (Vector* p : {&mean, &var, &gamma, &beta, &scale, &bias, &dgamma, &dbeta}) p->assign(c, 0);
    coefficients.assign(3 * c, 0);
    for (std::size_t i = 0; i < c; ++i) {
      gamma[i] = 0.5F + static_cast<float>(i % 5) * 0.25F;
      beta[i] = static_cast<float>(i % 3) - 1;
    }
    workspace.assign(static_cast<std::size_t>(kernels::bn_workspace(s.n, z.blocks(), s.h, s.w, v)), 0);
  }

  kernels::BnArgs forward(Act act) {
    kernels::BnArgs a;
    const View<float>&i = z.view(), &o = y.view();
    a.n = i.shape.n, a.blocks = z.blocks(), a.h = i.shape.h, a.w = i.shape.w;
    a.z = i.data, a.zn = i.sn, a.zb = i.sc, a.zh = i.sh;
    a.y = o.data, a.yn = o.sn, a.yb = o.sc, a.yh = o.sh;
    a.mean = mean.data(), a.var = var.data(), a.gamma = gamma.data(), a.beta = beta.data();
    a.scale = scale.data(), a.bias = bias.data();
    a.act = act, a.slope = 0.25F, a.workspace = workspace.data();
    return a;
  }
  kernels::BnGradArgs backward(Act act) {
    kernels::BnGradArgs a;
    const View<float>&i = z.view(), &g = dy.view(), &o = dz.view();
    a.n = i.shape.n, a.blocks = z.blocks(), a.h = i.shape.h, a.w = i.shape.w;
    a.z = i.data, a.zn = i.sn, a.zb = i.sc, a.zh = i.sh;
    a.dy = g.data, a.dyn = g.sn, a.dyb = g.sc, a.dyh = g.sh;
    a.dz = o.data, a.dzn = o.sn, a.dzb = o.sc, a.dzh = o.sh;
    a.mean = mean.data(), a.var = var.data(), a.scale = scale.data(), a.bias = bias.data();
    a.act = act, a.slope = 0.25F, a.workspace = workspace.data();
    a.dgamma = dgamma.data(), a.dbeta = dbeta.data(), a.coefficients = coefficients.data();
    return a;
  }
  void fold() {
    kernels::bn_fold(static_cast<index_t>(mean.size()), mean.data(), var.data(), gamma.data(), beta.data(), 1e-3,
                     scale.data(), bias.data());
  }
};

/// Dense doubles with a view.
struct Doubles {
  std::vector<double> data;
  View<double> view;
  explicit Doubles(const Shape& s) : data(static_cast<std::size_t>(s.numel())), view(data.data(), s) {}
  Doubles(const Shape& s, const Vector& from) : Doubles(s) {
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<double>(from[i]);
  }
  [[nodiscard]] View<const double> in() const { return view; }
};

/// The last one is larger than a second level cache.
const std::vector<Shape> maps{{1, 1, 1, 2},    {2, 3, 5, 7},    {3, 16, 20, 20},  {2, 17, 1, 9},
                              {1, 17, 40, 52}, {1, 5, 2, 1500}, {1, 16, 159, 310}};

}  // namespace

TEST_CASE("moments are exact to 1e-6 where the mean is a thousand standard deviations away") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const Shape& shape : maps)
      for (const float offset : {0.0F, 1.0F, 1000.0F}) {
        CAPTURE(to_string(shape));
        CAPTURE(offset);
        Case t(shape, k.lanes, offset > 0 ? 3 : 0, offset);
        const kernels::BnArgs a = t.forward(Act::none);
        same_for_all_threads([&] { k.bn_moments(a); },
                             [&] {
                               Vector r = t.mean;
                               r.insert(r.end(), t.var.begin(), t.var.end());
                               return r;
                             });
        const Shape v{1, shape.c, 1, 1};
        Doubles x(shape, t.z.logical()), mean(v), var(v);
        kernels::bn_stats<double>(x.in(), mean.view, var.view);
        double worst_mean = 0, worst_var = 0;
        for (std::size_t c = 0; c < mean.data.size(); ++c) {
          const double sigma = std::sqrt(var.data[c]);
          worst_mean = std::max(
              worst_mean, std::abs(static_cast<double>(t.mean[c]) - mean.data[c]) / (std::abs(mean.data[c]) + sigma));
          worst_var = std::max(worst_var, std::abs(static_cast<double>(t.var[c]) - var.data[c]) / var.data[c]);
        }
        CHECK(worst_mean <= 2e-7);
        CHECK(worst_var <= 1e-6);
      }
  });
}

TEST_CASE("moments of an empty map and of a constant one are zero; NaN stays") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const Shape& shape : {Shape{0, 4, 3, 3}, Shape{2, 4, 0, 3}, Shape{2, 4, 3, 0}}) {
      Case t(shape, k.lanes, 0, 0);
      t.mean.assign(t.mean.size(), 7);
      k.bn_act_train(t.forward(Act::silu));
      CHECK(t.mean == Vector(t.mean.size(), 0));
      CHECK(t.var == Vector(t.var.size(), 0));
      k.bn_act_bwd(t.backward(Act::silu));
      CHECK(t.dgamma == Vector(t.mean.size(), 0));
    }
    Case t({2, 4, 30, 50}, k.lanes, 0, 0);
    t.z.fill([] { return 3.7F; });
    k.bn_moments(t.forward(Act::none));
    CHECK(t.mean[1] == 3.7F);
    CHECK(t.var[1] == 0);
    t.z.view().at(1, 2, 11, 3) = std::nanf("");
    k.bn_moments(t.forward(Act::none));
    CHECK(std::isnan(t.mean[2]));
    CHECK(std::isnan(t.var[2]));
    CHECK(t.mean[3] == 3.7F);
  });
}

TEST_CASE("normalisation with activation, with constants and with batch statistics") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const Shape& shape : maps)
      for (const Act act : {Act::none, Act::silu, Act::leaky_relu, Act::gelu}) {
        CAPTURE(to_string(shape));
        CAPTURE(static_cast<int>(act));
        Case t(shape, k.lanes, 2, 3);
        const kernels::BnArgs a = t.forward(act);
        same_for_all_threads([&] { k.bn_act_train(a); }, [&] { return t.y.all(); });
        CHECK(t.y.gaps_untouched());
        const Vector trained = t.y.logical();
        const Shape v{1, shape.c, 1, 1};
        Doubles x(shape, t.z.logical()), mean(v), var(v), gamma(v, t.gamma), beta(v, t.beta), y(shape);
        kernels::bn_stats<double>(x.in(), mean.view, var.view);
        kernels::bn_apply<double>(x.in(), mean.in(), var.in(), gamma.in(), beta.in(), y.view, 1e-3);
        kernels::act_fwd<double>(y.in(), y.view, {act, 0.25});
        double worst = 0;
        for (std::size_t i = 0; i < trained.size(); ++i) {
          const std::size_t c = i / static_cast<std::size_t>(shape.h * shape.w) % static_cast<std::size_t>(shape.c);
          // z scale and the mean's part of bias cancel; statistics may be wrong by 1e-6 themselves.
          const double size =
              std::abs(static_cast<double>(t.scale[c])) * (std::abs(x.data[i]) + std::abs(mean.data[c])) + 1;
          worst = std::max(worst, std::abs(static_cast<double>(trained[i]) - y.data[i]) / size);
        }
        CHECK(worst <= 1e-6);
        same_for_all_threads([&] { k.bn_act(a); }, [&] { return t.y.all(); });
        CHECK(mismatches(t.y.logical(), trained) == 0);
      }
  });
}

TEST_CASE("gradients of normalisation with activation") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const Shape& shape : maps)
      for (const bool batch : {true, false})
        for (const Act act : {Act::none, Act::silu, Act::relu}) {
          CAPTURE(to_string(shape));
          CAPTURE(batch);
          CAPTURE(static_cast<int>(act));
          Case t(shape, k.lanes, batch ? 0 : 2, 2);
          k.bn_moments(t.forward(act));
          t.fold();
          kernels::BnGradArgs a = t.backward(act);
          a.batch_stats = batch;
          const Shape v{1, shape.c, 1, 1};
          Doubles z(shape, t.z.logical()), dy(shape, t.dy.logical()), s(shape), g(shape), dz(shape);
          Doubles mean(v, t.mean), var(v, t.var), gamma(v, t.gamma), beta(v, t.beta), dgamma(v), dbeta(v);
          kernels::bn_apply<double>(z.in(), mean.in(), var.in(), gamma.in(), beta.in(), s.view, 1e-3);
          kernels::act_bwd<double>(s.in(), dy.in(), g.view, {act, 0.25});
          kernels::bn_bwd<double>(g.in(), z.in(), mean.in(), var.in(), gamma.in(), dz.view, dgamma.view, dbeta.view,
                                  1e-3, batch);
          const auto check = [&] {
            const double count = static_cast<double>(shape.n * shape.h * shape.w);
            for (index_t c = 0; c < shape.c; ++c) {
              const auto i = static_cast<std::size_t>(c);
              double sum = 0, product = 0;
              for (index_t n = 0; n < shape.n; ++n)
                for (index_t h = 0; h < shape.h; ++h)
                  for (index_t w = 0; w < shape.w; ++w) {
                    sum += std::abs(dy.view.at(n, c, h, w));
                    product += std::abs(dy.view.at(n, c, h, w) * (z.view.at(n, c, h, w) - mean.data[i]));
                  }
              const double bound = u * (4 + 2 * std::sqrt(count));
              CHECK(std::abs(static_cast<double>(t.dbeta[i]) - dbeta.data[i]) <= bound * sum);
              CHECK(std::abs(static_cast<double>(t.dgamma[i]) - dgamma.data[i]) <=
                    bound * product / std::sqrt(var.data[i] + 1e-3));
            }
            const Vector got = t.dz.logical();
            double worst = 0, largest = 0;
            for (std::size_t i = 0; i < got.size(); ++i) {
              worst = std::max(worst, std::abs(static_cast<double>(got[i]) - dz.data[i]));
              largest = std::max(largest, std::abs(dz.data[i]));
            }
            // Where one or two values have a mean all but nothing of the gradient cancels.
            CHECK(worst <= 1e-5 * (largest + (count < 10 ? 100 : 0)));
          };
          const auto result = [&] {
            Vector r = t.dz.all();
            r.insert(r.end(), t.dgamma.begin(), t.dgamma.end());
            r.insert(r.end(), t.dbeta.begin(), t.dbeta.end());
            return r;
          };
          same_for_all_threads([&] { k.bn_act_bwd(a); }, result);
          check();
          same_for_all_threads([&] { k.bn_act_bwd_sums(a), k.bn_act_bwd_apply(a); }, result);
          check();
          a.g = t.y.view().data, a.gn = t.y.view().sn, a.gb = t.y.view().sc, a.gh = t.y.view().sh;
          same_for_all_threads([&] { k.bn_act_bwd_sums(a), k.bn_act_bwd_apply(a); }, result);
          check();
          CHECK(t.y.gaps_untouched());
        }
  });
}

TEST_CASE("sums over a map are exact on integers") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const Shape& shape : shapes)
      for (const index_t gap : {0, 1}) {
        CAPTURE(to_string(shape));
        Map x(shape, k.lanes, gap);
        x.fill(integers(9));
        kernels::ChannelSumArgs a;
        const View<float>& v = x.view();
        a.n = shape.n, a.blocks = x.blocks(), a.h = shape.h, a.w = shape.w;
        a.x = v.data, a.xn = v.sn, a.xb = v.sc, a.xh = v.sh;
        Vector y(static_cast<std::size_t>(x.blocks() * k.lanes)), expected(static_cast<std::size_t>(shape.c));
        Vector workspace(static_cast<std::size_t>(kernels::bn_workspace(a.n, a.blocks, a.h, a.w, k.lanes)));
        a.y = y.data();
        a.workspace = workspace.data();
        same_for_all_threads([&] { k.map_sum(a); }, [&] { return y; });
        kernels::channel_sum<float>(x.in(), View<float>(expected.data(), {1, shape.c, 1, 1}));
        y.resize(expected.size());
        CHECK(mismatches(y, expected) == 0);
      }
  });
}
