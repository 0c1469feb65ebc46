#include <cmath>
#include <vector>

#include "core/threads.hpp"
#include "golden_case.hpp"
#include "slimneck/kernels.hpp"

namespace slimneck::test {

namespace {

constexpr index_t na = 3, no = 8, first = 4;
constexpr double stride = 16;
constexpr Shape logits{2, na* no, 3, 5};
constexpr Shape rows{2, 1, first + na * 3 * 5 + 2, no};
constexpr double anchors[] = {1.25, 1.625, 2, 3.75, 4.125, 2.875};

template <class T>
Numbers decode(const Numbers& x, const Layout& layout, bool& untouched) {
  const std::vector<T> sides(std::begin(anchors), std::end(anchors));
  const Guarded<T> gx(x, layout);
  Guarded<T> y(rows, {});
  kernels::detect_decode_fwd<T>(gx.read(), sides.data(), na, stride, first, y.view());
  const Numbers r = y.numbers();
  untouched = y.intact();
  for (index_t n = 0; n < rows.n; ++n)
    for (index_t row = 0; row < rows.h; ++row)
      if (row < first || row >= rows.h - 2)
        for (index_t k = 0; k < no; ++k) untouched = untouched && std::isnan(r.at(n, 0, row, k));
  return r;
}

/// f(logit's n, channel, i, j; row; k; column or row of the cell; anchor side) in the order of the rows.
template <class F>
void for_each_logit(const F& f) {
  for (index_t n = 0; n < logits.n; ++n) {
    index_t row = first;
    for (index_t a = 0; a < na; ++a)
      for (index_t i = 0; i < logits.h; ++i)
        for (index_t j = 0; j < logits.w; ++j, ++row)
          for (index_t k = 0; k < no; ++k)
            f(n, a * no + k, i, j, row, k, static_cast<double>(k == 0 ? j : i), anchors[2 * a + k % 2]);
  }
}

/// Larger than the decoded number and each of its first three derivatives.
double size_of_entry(index_t k, double cell, double side) {
  return k < 2 ? (2 + cell) * stride : k < 4 ? 4 * side * stride : 1;
}

}  // namespace

TEST_SUITE("kernels_detect") {
  TEST_CASE_TEMPLATE("rows hold the decoded boxes of the level, and no others are touched", T, float, double) {
    Numbers x = reals(logits, 1);
    for (double& v : x.values) v *= 8;
    Numbers want(rows);
    for_each_logit([&](index_t n, index_t c, index_t i, index_t j, index_t row, index_t k, double cell, double side) {
      const double s = 1 / (1 + std::exp(-x.at(n, c, i, j)));
      double& value = want.at(n, 0, row, k);
      if (k < 2)
        value = (2 * s - 0.5 + cell) * stride;
      else if (k < 4)
        value = std::pow(2 * s, 2) * side * stride;
      else
        value = s;
    });
    for (const Layout& layout : layouts)
      for (const int threads : {1, 2, 4}) {
        const core::ThreadScope scope(threads);
        bool untouched = false;
        const Numbers got = decode<T>(x, layout, untouched);
        CHECK(untouched);
        for_each_logit([&](index_t n, index_t, index_t, index_t, index_t row, index_t k, double cell, double side) {
          const double bound =
              roundoff<T> * std::abs(want.at(n, 0, row, k)) + 16 * roundoff<double> * size_of_entry(k, cell, side);
          CHECK(std::abs(got.at(n, 0, row, k) - want.at(n, 0, row, k)) <= bound);
        });
      }
  }

  TEST_CASE_TEMPLATE("the gradient is that of the decoded boxes", T, float, double) {
    const Numbers x = reals(logits, 1);
    constexpr double h = 1e-5;
    Numbers above = x, below = x;
    for (double& v : above.values) v += h;
    for (double& v : below.values) v -= h;
    bool untouched = false;
    const Numbers high = decode<double>(above, {}, untouched), low = decode<double>(below, {}, untouched);
    const Numbers dy = reals(rows, 2);
    const std::vector<T> sides(std::begin(anchors), std::end(anchors));
    for (const Layout& layout : layouts)
      for (const int threads : {1, 2, 4}) {
        const core::ThreadScope scope(threads);
        const Guarded<T> gx(x, layout), gdy(dy, {});
        Guarded<T> dx(logits, layout);
        kernels::detect_decode_bwd<T>(gx.read(), sides.data(), na, stride, first, gdy.read(), dx.view());
        CHECK(dx.intact());
        const Numbers got = dx.numbers();
        for_each_logit(
            [&](index_t n, index_t c, index_t i, index_t j, index_t row, index_t k, double cell, double side) {
              const double slope = (high.at(n, 0, row, k) - low.at(n, 0, row, k)) / (2 * h);
              const double want = dy.at(n, 0, row, k) * slope;
              // One rounding to T; curvature and cancellation of the central difference.
              const double bound =
                  roundoff<T> * std::abs(want) + (h * h / 6 + 16 * roundoff<double> / h) * size_of_entry(k, cell, side);
              CHECK(std::abs(got.at(n, c, i, j) - want) <= bound);
            });
      }
  }
}

}  // namespace slimneck::test
