// A pointwise convolution is a matrix product: the same numbers as Eigen's, within rounding.
#include <doctest/doctest.h>

#include <Eigen/Core>

#include "golden_case.hpp"
#include "slimneck/kernels.hpp"

using namespace slimneck;
using namespace slimneck::test;

TEST_SUITE_BEGIN("kernels_eigen");

TEST_CASE("1x1 convolution is a matrix product") {
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const index_t channels = 37, out = 21, pixels = 13 * 9;
  const Numbers x = reals({1, channels, 13, 9}, 1), w = reals({out, channels, 1, 1}, 2);
  const Eigen::Map<const Matrix> weights(w.values.data(), out, channels), input(x.values.data(), channels, pixels);
  const Matrix want = weights * input, magnitude = weights.cwiseAbs() * input.cwiseAbs();

  Guarded<float> in(x, {}), kernel(w, {}), result({1, out, 13, 9}, {});
  kernels::conv2d_fwd<float>(in.read(), kernel.read(), {}, result.view(), {});
  Numbers expected({1, out, 13, 9});
  expected.values.assign(want.data(), want.data() + want.size());
  check_near(result.numbers(), expected,
             [&](std::size_t i) { return sum_bound<float>(channels, magnitude.data()[i]); });
}

TEST_SUITE_END();
