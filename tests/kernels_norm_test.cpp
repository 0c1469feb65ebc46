#include <cmath>
#include <cstdlib>
#include <string>

#include "core/threads.hpp"
#include "golden_case.hpp"
#include "shared_data.hpp"
#include "slimneck/kernels.hpp"

namespace slimneck::test {

namespace {

/// Everything that batch normalisation computes from x and dy.
struct Normalised {
  Numbers mean, var, y, dx, dgamma, dbeta;
};

Shape vector_of(const Shape& x) { return {1, x.c, 1, 1}; }

/// With the statistics of x, or with those given.
template <class T>
Normalised run(const Numbers& x, const Numbers& dy, const Numbers& gamma, const Numbers& beta, double eps,
               const Layout& layout, const Numbers* fixed_mean = nullptr, const Numbers* fixed_var = nullptr) {
  const Guarded<T> gx(x, layout), gdy(dy, layout), ggamma(gamma, layout), gbeta(beta, layout);
  Guarded<T> mean(vector_of(x.shape), layout), var(vector_of(x.shape), layout), y(x.shape, layout), dx(x.shape, layout);
  Guarded<T> dgamma(vector_of(x.shape), layout), dbeta(vector_of(x.shape), layout);
  const bool batch_stats = fixed_mean == nullptr;
  if (batch_stats) {
    kernels::bn_stats<T>(gx.read(), mean.view(), var.view());
  } else {
    kernels::copy<T>(Guarded<T>(*fixed_mean, {}).read(), mean.view());
    kernels::copy<T>(Guarded<T>(*fixed_var, {}).read(), var.view());
  }
  kernels::bn_apply<T>(gx.read(), mean.read(), var.read(), ggamma.read(), gbeta.read(), y.view(), eps);
  kernels::bn_bwd<T>(gdy.read(), gx.read(), mean.read(), var.read(), ggamma.read(), dx.view(), dgamma.view(),
                     dbeta.view(), eps, batch_stats);
  for (const Guarded<T>* g : {&mean, &var, &y, &dx, &dgamma, &dbeta}) CHECK(g->intact());
  return {mean.numbers(), var.numbers(), y.numbers(), dx.numbers(), dgamma.numbers(), dbeta.numbers()};
}

/// First-order error bounds in units of roundoff. The statistics are stored in T: mean errs by |mean|, var by var, so
/// xhat by e = q |mean| + |xhat|; every result is rounded once; sums collect the errors of their terms.
Normalised error_sizes(const Numbers& x, const Numbers& dy, const Numbers& gamma, const Normalised& r, double eps,
                       bool batch_stats) {
  Normalised e{r.mean, r.var, r.y, r.dx, r.dgamma, r.dbeta};
  const Shape& s = x.shape;
  const auto count = static_cast<double>(s.n * s.h * s.w);
  for (index_t c = 0; c < s.c; ++c) {
    const double mean = r.mean.at(0, c, 0, 0), q = 1 / std::sqrt(r.var.at(0, c, 0, 0) + eps);
    const double scale = std::abs(gamma.at(0, c, 0, 0)) * q;
    const auto for_each = [&](const auto& f) {
      for (index_t n = 0; n < s.n; ++n)
        for (index_t h = 0; h < s.h; ++h)
          for (index_t w = 0; w < s.w; ++w) {
            const double xhat = std::abs(x.at(n, c, h, w) - mean) * q;
            f(n, h, w, xhat, q * std::abs(mean) + xhat);
          }
    };
    double sum_x = 0, sum_dy = 0, sum_dy_xhat = 0, error_dgamma = 0;
    for_each([&](index_t n, index_t h, index_t w, double xhat, double error_xhat) {
      const double g = std::abs(dy.at(n, c, h, w));
      sum_x += std::abs(x.at(n, c, h, w));
      sum_dy += g;
      sum_dy_xhat += g * xhat;
      error_dgamma += g * (xhat + error_xhat);
    });
    e.mean.at(0, c, 0, 0) = sum_x / count;
    e.dgamma.at(0, c, 0, 0) = error_dgamma;
    e.dbeta.at(0, c, 0, 0) = sum_dy;
    for_each([&](index_t n, index_t h, index_t w, double xhat, double error_xhat) {
      e.y.at(n, c, h, w) = std::abs(r.y.at(n, c, h, w)) + scale / q * error_xhat;
      double terms = std::abs(dy.at(n, c, h, w));
      if (batch_stats) terms += (sum_dy + xhat * (sum_dy_xhat + error_dgamma) + error_xhat * sum_dy_xhat) / count;
      e.dx.at(n, c, h, w) = 2 * scale * terms;  // the result's rounding, and that of q
    });
  }
  return e;
}

template <class T>
void check_golden(const std::string& name) {
  CAPTURE(name);
  const SafeTensors file = SafeTensors::read(test_data("ops/batchnorm_" + name + ".safetensors"));
  const auto number = [&](const char* key) { return std::strtod(file.metadata().at(key).c_str(), nullptr); };
  const double eps = number("eps"), momentum = number("momentum");
  const Numbers x = golden(file, "x"), dy = golden(file, "R"), gamma = golden(file, "w"), beta = golden(file, "b");
  const Numbers mean_in = golden(file, "running_mean"), var_in = golden(file, "running_var");
  const index_t count = x.shape.n * x.shape.h * x.shape.w;

  // Both sides are computed in double besides what is stored in T; sums of `count` terms there.
  const double unit = roundoff<T> + 2 * roundoff<double> * sum_factor(count);
  const auto compare = [&](const Numbers& got, const std::string& tensor, const Numbers& size) {
    CAPTURE(tensor);
    check_near(got, golden(file, tensor), [&](std::size_t i) { return unit * std::abs(size.values[i]); });
  };
  for (const bool train : {true, false}) {
    const Normalised r =
        train ? run<T>(x, dy, gamma, beta, eps, {}) : run<T>(x, dy, gamma, beta, eps, {}, &mean_in, &var_in);
    const Normalised size = error_sizes(x, dy, gamma, r, eps, train);
    const std::string prefix = train ? "train.f64." : "eval.f64.";
    compare(r.y, prefix + "y", size.y);
    compare(r.dx, prefix + "grad.x", size.dx);
    compare(r.dgamma, prefix + "grad.w", size.dgamma);
    compare(r.dbeta, prefix + "grad.b", size.dbeta);
    if (!train) continue;

    Guarded<T> mean(mean_in, {}), var(var_in, {}), tracked(Numbers(Shape{}), {});
    const Guarded<T> batch_mean(r.mean, {}), batch_var(r.var, {});
    kernels::bn_running<T>(batch_mean.read(), batch_var.read(), count, momentum, mean.read(), var.read(),
                           tracked.read(), mean.view(), var.view(), tracked.view());
    CHECK(tracked.numbers().values == std::vector<double>{1});
    Numbers size_mean = mean_in, size_var = var_in;
    for (std::size_t c = 0; c < size_mean.values.size(); ++c) {
      size_mean.values[c] = 2 * (std::abs(mean_in.values[c]) + size.mean.values[c]);
      size_var.values[c] = 2 * (var_in.values[c] + 2 * r.var.values[c]);
    }
    compare(mean.numbers(), "f64.running_mean_out", size_mean);
    // Where x is constant the variance is only the square of the rounding of its mean.
    for (std::size_t c = 0; c < size_var.values.size(); ++c)
      size_var.values[c] += roundoff<double> * std::pow(size.mean.values[c], 2);
    compare(var.numbers(), "f64.running_var_out", size_var);
  }
}

}  // namespace

TEST_SUITE("kernels_norm") {
  TEST_CASE("golden batch normalisation: ordinary, large mean, two values per channel, constant") {
    for (const char* name : {"std", "bigmean", "hw1_b2", "const"}) {
      check_golden<float>(name);
      check_golden<double>(name);
    }
  }

  TEST_CASE_TEMPLATE("threads and layouts change no bit", T, float, double) {
    constexpr Shape shapes[] = {{2, 19, 3, 5}, {3, 1, 4, 1}, {1, 4, 1, 1}, {0, 3, 2, 2}};
    for (const Shape& s : shapes) {
      CAPTURE(&s - shapes);
      const Numbers x = reals(s, 1), dy = reals(s, 2), gamma = reals(vector_of(s), 3), beta = reals(vector_of(s), 4);
      const core::ThreadScope one(1);
      const Normalised want = run<T>(x, dy, gamma, beta, 1e-3, {});
      for (const Layout& layout : layouts)
        for (const int threads : {1, 2, 4}) {
          const core::ThreadScope scope(threads);
          const Normalised got = run<T>(x, dy, gamma, beta, 1e-3, layout);
          CHECK(same_bits(got.mean, want.mean));
          CHECK(same_bits(got.var, want.var));
          CHECK(same_bits(got.y, want.y));
          CHECK(same_bits(got.dx, want.dx));
          CHECK(same_bits(got.dgamma, want.dgamma));
          CHECK(same_bits(got.dbeta, want.dbeta));
        }
    }
  }

  TEST_CASE("the gradient with batch statistics is that of the whole map from x to y") {
    // In double: d sum(dy * y) / dx by central differences. With h = 1e-4 the third derivative (of size q^3 sum|dy|,
    // q < 8 here) leaves h^2/6 of it, and cancellation 2u/h of the sum.
    const Shape s{2, 2, 2, 3};
    const Numbers x = reals(s, 1), dy = reals(s, 2), gamma = reals(vector_of(s), 3), beta = reals(vector_of(s), 4);
    const auto loss = [&](const Numbers& at) {
      const Numbers y = run<double>(at, dy, gamma, beta, 1e-3, {}).y;
      double sum = 0;
      for (std::size_t i = 0; i < y.values.size(); ++i) sum += dy.values[i] * y.values[i];
      return sum;
    };
    const Numbers dx = run<double>(x, dy, gamma, beta, 1e-3, {}).dx;
    constexpr double h = 1e-4;
    const double size = 24 * 2.0;  // sum|dy| (|gamma xhat| + |beta|) stays below
    for (std::size_t i = 0; i < x.values.size(); ++i) {
      Numbers above = x, below = x;
      above.values[i] += h;
      below.values[i] -= h;
      const double want = (loss(above) - loss(below)) / (2 * h);
      CHECK(std::abs(dx.values[i] - want) <= (512 * h * h / 6 + 2 * roundoff<double> / h * sum_factor(24)) * size);
    }
  }

  TEST_CASE("outputs may be inputs; variance is exact zero for one value and never negative") {
    const Shape s{1, 3, 1, 1};
    const Numbers x = reals(s, 1), dy = reals(s, 2), gamma = reals(s, 3), beta = reals(s, 4);
    const Normalised r = run<float>(x, dy, gamma, beta, 1e-3, {});
    CHECK(r.mean.values == x.values);
    CHECK(r.var.values == std::vector<double>(3, 0.0));
    CHECK(r.y.values == beta.values);

    Guarded<float> in(x, {}), gradient(dy, {}), dgamma(s, {}), dbeta(s, {});
    const Guarded<float> mean(r.mean, {}), var(r.var, {}), ggamma(gamma, {}), gbeta(beta, {});
    kernels::bn_bwd<float>(gradient.read(), in.read(), mean.read(), var.read(), ggamma.read(), gradient.view(),
                           dgamma.view(), dbeta.view(), 1e-3, true);
    CHECK(same_bits(gradient.numbers(), r.dx));
    kernels::bn_apply<float>(in.read(), mean.read(), var.read(), ggamma.read(), gbeta.read(), in.view(), 1e-3);
    CHECK(same_bits(in.numbers(), r.y));
  }

  TEST_CASE("running statistics of one value per channel stay finite") {
    const Numbers zero(Shape{1, 2, 1, 1});
    Guarded<float> mean(zero, {}), var(zero, {}), tracked(Numbers(Shape{}), {});
    kernels::bn_running<float>(mean.read(), var.read(), 1, 0.03, mean.read(), var.read(), tracked.read(), mean.view(),
                               var.view(), tracked.view());
    CHECK(var.numbers().values == zero.values);
    CHECK(tracked.numbers().values == std::vector<double>{1});
  }
}

}  // namespace slimneck::test
