#include <cmath>
#include <limits>

#include "core/threads.hpp"
#include "golden_case.hpp"
#include "shared_data.hpp"
#include "slimneck/kernels.hpp"

namespace slimneck::test {

namespace {

using kernels::Pool;

struct Pooled {
  Numbers y, dx;
};

Shape pooled_shape(const Shape& x, const Pool& p) {
  return {x.n, x.c, (x.h + 2 * p.pad - p.kernel) / p.stride + 1, (x.w + 2 * p.pad - p.kernel) / p.stride + 1};
}

template <class T>
Pooled run(const Numbers& x, const Numbers& dy, const Pool& p, const Layout& layout) {
  const Guarded<T> gx(x, layout), gdy(dy, layout);
  Guarded<T> y(dy.shape, layout), dx(x.shape, layout);
  kernels::max_pool_fwd<T>(gx.read(), y.view(), p);
  kernels::max_pool_bwd<T>(gx.read(), gdy.read(), dx.view(), p);
  CHECK(y.intact());
  CHECK(dx.intact());
  return {y.numbers(), dx.numbers()};
}

/// The definition: the maximum first, then the first place that holds it.
Pooled expect(const Numbers& x, const Numbers& dy, const Pool& p) {
  Pooled r{Numbers(dy.shape), Numbers(x.shape)};
  const auto for_each_in_window = [&](index_t i, index_t j, const auto& f) {
    for (index_t u = 0; u < p.kernel; ++u)
      for (index_t v = 0; v < p.kernel; ++v) {
        const index_t h = i * p.stride - p.pad + u, w = j * p.stride - p.pad + v;
        if (h >= 0 && h < x.shape.h && w >= 0 && w < x.shape.w) f(h, w);
      }
  };
  for (index_t n = 0; n < dy.shape.n; ++n)
    for (index_t c = 0; c < dy.shape.c; ++c)
      for (index_t i = 0; i < dy.shape.h; ++i)
        for (index_t j = 0; j < dy.shape.w; ++j) {
          double maximum = -std::numeric_limits<double>::infinity();
          for_each_in_window(i, j, [&](index_t h, index_t w) { maximum = std::max(maximum, x.at(n, c, h, w)); });
          r.y.at(n, c, i, j) = maximum;
          bool given = false;
          for_each_in_window(i, j, [&](index_t h, index_t w) {
            if (given || x.at(n, c, h, w) != maximum) return;
            r.dx.at(n, c, h, w) += dy.at(n, c, i, j);
            given = true;
          });
        }
  return r;
}

template <class T>
void check_golden() {
  const SafeTensors file = SafeTensors::read(test_data("ops/maxpool5_ties.safetensors"));
  const Numbers x = golden(file, "x"), dy = golden(file, "R");
  const Pooled r = run<T>(x, dy, {5, 1, 2}, {});
  CHECK(same_bits(r.y, golden(file, "f64.y")));
  Numbers size = dy;
  for (double& v : size.values) v = std::abs(v);
  const Pooled magnitude = expect(x, size, {5, 1, 2});
  // An element is the first maximum of at most 25 windows; their gradients are added one by one in T.
  check_near(r.dx, golden(file, "f64.grad.x"),
             [&](std::size_t i) { return 24 * (roundoff<T> + roundoff<double>)*magnitude.dx.values[i]; });
}

}  // namespace

TEST_SUITE("kernels_pool") {
  TEST_CASE("golden ties") {
    check_golden<float>();
    check_golden<double>();
  }

  TEST_CASE_TEMPLATE("integers with many ties are exact in every geometry and layout", T, float, double) {
    struct Case {
      Shape x;
      Pool p;
    };
    constexpr Case cases[] = {{{2, 3, 7, 6}, {2, 2, 0}},   {{1, 19, 7, 6}, {5, 1, 2}}, {{1, 3, 9, 8}, {3, 2, 1}},
                              {{1, 2, 1, 1}, {5, 1, 2}},   {{1, 2, 5, 5}, {13, 1, 6}}, {{0, 2, 5, 5}, {2, 2, 0}},
                              {{1, 2, 10, 11}, {2, 3, 0}}, {{3, 2, 4, 9}, {3, 3, 1}}};
    for (const Case& k : cases) {
      CAPTURE(&k - cases);
      const Numbers x = integers(k.x, 1), dy = integers(pooled_shape(k.x, k.p), 2);
      const Pooled want = expect(x, dy, k.p);
      for (const Layout& layout : layouts)
        for (const int threads : {1, 2, 4}) {
          const core::ThreadScope scope(threads);
          const Pooled got = run<T>(x, dy, k.p, layout);
          CHECK(got.y.values == want.y.values);
          CHECK(got.dx.values == want.dx.values);
        }
    }
  }

  TEST_CASE_TEMPLATE("a window's first NaN is its maximum and takes the gradient", T, float, double) {
    Numbers x = integers({1, 1, 4, 4}, 1), dy(Shape{1, 1, 2, 2});
    x.at(0, 0, 1, 0) = x.at(0, 0, 1, 1) = std::nan("");
    x.at(0, 0, 2, 3) = std::numeric_limits<double>::infinity();
    dy.values = {1, 2, 3, 4};
    const Pooled r = run<T>(x, dy, {2, 2, 0}, {});
    CHECK(std::isnan(r.y.values[0]));
    CHECK(!std::isnan(r.y.values[1]));
    CHECK(r.y.values[3] == std::numeric_limits<double>::infinity());
    CHECK(r.dx.at(0, 0, 1, 0) == 1);
    CHECK(r.dx.at(0, 0, 1, 1) == 0);
    CHECK(r.dx.at(0, 0, 2, 3) == 4);
  }

  TEST_CASE_TEMPLATE("minus infinity is a maximum like any other, padding is not", T, float, double) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    Numbers x(Shape{1, 1, 1, 2}), dy(Shape{1, 1, 3, 4});
    x.values = {-infinity, -infinity};
    for (double& v : dy.values) v = 1;
    // Windows of one element with padding: ten of the twelve see nothing.
    const Pooled r = run<T>(x, dy, {1, 1, 1}, {});
    for (const double v : r.y.values) CHECK(v == -infinity);
    CHECK(r.dx.values == std::vector<double>{1, 1});
  }
}

}  // namespace slimneck::test
