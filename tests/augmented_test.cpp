// Test-time augmentation: what the network is shown, and the rows that come of it, by YOLOv5's definition.
#include "slimneck/augmented.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "golden_case.hpp"
#include "workplace.hpp"

using namespace slimneck;

TEST_SUITE_BEGIN("augmented");

namespace {

Tensor pictures(const Shape& shape) {
  Tensor tensor(shape);
  for (index_t i = 0; i < tensor.numel(); ++i)
    tensor.data<float>()[i] = static_cast<float>((i * i * 13 + i * 7) % 256) / 255;
  return tensor;
}

/// The line through the two neighbours of `place`, the outermost of which go on for ever.
template <class Line>
double between(const Line& line, double place, index_t count) {
  const double inside = std::min(std::max(place, 0.0), static_cast<double>(count - 1));
  const auto left = static_cast<index_t>(inside);
  const double part = inside - static_cast<double>(left);
  return (1 - part) * line(left) + (part > 0 ? part * line(left + 1) : 0);
}

}  // namespace

TEST_CASE("extents of looks are those of the original") {
  const auto seen = [](index_t h, index_t w, double scale) { return look_shape({2, 3, h, w}, {scale, false}, 32); };
  CHECK(seen(640, 640, 0.83) == Shape{2, 3, 544, 544});
  CHECK(seen(640, 480, 0.67) == Shape{2, 3, 448, 352});
  CHECK(seen(480, 640, 0.83) == Shape{2, 3, 416, 544});
  CHECK(seen(50, 70, 1) == Shape{2, 3, 50, 70});
  CHECK(seen(1, 1, 0.67) == Shape{2, 3, 32, 32});
  CHECK_THROWS_AS(look_shape({1, 3, 0, 4}, {}, 32), ShapeError);
  CHECK_THROWS_AS(look_shape({1, 3, 4, 4}, {std::nan(""), false}, 32), ShapeError);
}

TEST_CASE("a look is the picture between its pixels, mirrored or not, on grey ground") {
  const Tensor from = pictures({2, 3, 50, 70});
  const View<const float> x = from.view<float>();
  for (const Look& look : augmented_looks) {
    CAPTURE(look.scale);
    Tensor to(look_shape(from.shape(), look, 32));
    const View<float> y = to.view<float>();
    look_at(x, look, y);
    const auto h = static_cast<index_t>(50 * look.scale), w = static_cast<index_t>(70 * look.scale);
    double worst = 0;
    for (index_t n = 0; n < 2; ++n)
      for (index_t c = 0; c < 3; ++c)
        for (index_t i = 0; i < to.shape().h; ++i)
          for (index_t j = 0; j < to.shape().w; ++j) {
            if (i >= h || j >= w) {
              CHECK(y.at(n, c, i, j) == 0.447F);
              continue;
            }
            const auto place = [](index_t at, index_t old, index_t now) {
              return (static_cast<double>(at) + 0.5) * static_cast<double>(old) / static_cast<double>(now) - 0.5;
            };
            const auto row = [&](index_t r) {
              const auto pixel = [&](index_t p) {
                return static_cast<double>(x.at(n, c, r, look.mirrored ? 69 - p : p));
              };
              return between(pixel, place(j, 70, w), 70);
            };
            worst = std::max(worst, std::abs(between(row, place(i, 50, h), 50) - y.at(n, c, i, j)));
          }
    // A place is rounded four times (ratio, sum, product, difference) and moves the value by as much, since neighbours
    // differ by 1 at most; then one subtraction, two products and a sum along each axis.
    CHECK(worst <= test::roundoff<float> * (4 * (50 + 70) + 8));
  }
  Tensor small({2, 3, 32, 32});
  CHECK_THROWS_AS(look_at(x, augmented_looks[1], small.view<float>()), ShapeError);
}

TEST_CASE("rows are those of plans at the three sizes, scaled and mirrored back, without the tails") {
  const Model model = parse_model(test::detector_yaml, "detector.yaml", {.height = 64, .width = 64});
  Parameters parameters(model.graph);
  parameters.initialise(3);
  AugmentedPlans augmented(model, parameters);
  CHECK_THROWS_AS(augmented.forward(), Error);
  // At 32 x 48 the second size is that of the picture: one plan serves twice.
  for (const Shape shape : {Shape{2, 3, 64, 96}, Shape{1, 3, 32, 48}, Shape{2, 3, 64, 96}}) {
    CAPTURE(to_string(shape));
    const Tensor x = pictures(shape);
    const View<float> input = augmented.input(shape);
    REQUIRE(input.shape == shape);
    std::copy_n(x.data<float>(), x.numel(), input.data);
    const View<const float> got = augmented.forward();
    index_t at = 0, different = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const Look& look = augmented_looks[i];
      const Shape seen = look_shape(shape, look, 16);
      Plan plan(model.graph.with_inputs(std::span(&seen, 1)), parameters);
      look_at(x.view<float>(), look, plan.input());
      plan.forward();
      const View<const float> rows = plan.output("pred");
      // The grids' cells are 4 : 1, so a fifth of the rows are the coarse level's, which come last.
      const index_t fifth = rows.shape.h / 5, first = i == 2 ? 4 * fifth : 0, last = i == 0 ? 4 * fifth : 5 * fifth;
      for (index_t n = 0; n < shape.n; ++n)
        for (index_t r = first; r < last; ++r)
          for (index_t k = 0; k < 7; ++k) {
            float want = rows.at(n, 0, r, k);
            if (k < 4) want /= static_cast<float>(look.scale);
            if (k == 0 && i == 1) want = static_cast<float>(shape.w) - want;
            different += got.at(n, 0, at + r - first, k) != want;
          }
      at += last - first;
    }
    CHECK(different == 0);
    CHECK(got.shape == Shape{shape.n, 1, at, 7});
  }
  const Model plain = parse_model(test::plain_yaml, "plain.yaml");
  CHECK_THROWS_AS(AugmentedPlans(plain, parameters), Error);
}

TEST_SUITE_END();
