// The detection loss: golden cases in value, matches and gradient; finite differences where there is no golden case.
#include "slimneck/loss.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "golden_case.hpp"
#include "golden_network.hpp"
#include "shared_data.hpp"
#include "slimneck/error.hpp"
#include "slimneck/weights.hpp"

using namespace slimneck;
using nlohmann::json;

TEST_SUITE_BEGIN("loss");

namespace {

const std::vector<std::vector<double>> pixels{
    {10, 13, 16, 30, 33, 23}, {30, 61, 62, 45, 59, 119}, {116, 90, 156, 198, 373, 326}};
const std::vector<index_t> strides{8, 16, 32};

LossOptions options_of(const json& info, const std::string& name) {
  const json& h = info.at("hyp");
  LossOptions o;
  o.box = h.at("box");
  o.obj = h.at("obj");
  o.cls = h.at("cls");
  o.obj_pw = h.at("obj_pw");
  o.cls_pw = h.at("cls_pw");
  o.anchor_t = h.at("anchor_t");
  o.fl_gamma = h.at("fl_gamma");
  o.label_smoothing = h.at("label_smoothing");
  o.autobalance = name == "autobalance";
  return o;
}

/// Logits and labels of a golden case; logits come as image, anchor, row, column, number.
struct Case {
  Case(const SafeTensors& file, index_t classes) : per_anchor(classes + 5), targets(test::golden_targets(file)) {}

  template <class T>
  Tensor head(const SafeTensors& file, const std::string& key, const Shape& shape) const {
    Tensor x(shape, dtype_of<T>);
    const std::vector<double> values = test::golden(file, key).values;
    each(x.view<T>(), [&, i = std::size_t{0}](T& v) mutable { v = static_cast<T>(values[i++]); });
    return x;
  }

  /// Calls f of each number, in the golden order.
  template <class T, class F>
  void each(View<T> v, F f) const {
    for (index_t n = 0; n < v.shape.n; ++n)
      for (index_t a = 0; a < v.shape.c / per_anchor; ++a)
        for (index_t h = 0; h < v.shape.h; ++h)
          for (index_t w = 0; w < v.shape.w; ++w)
            for (index_t k = 0; k < per_anchor; ++k) f(v.at(n, a * per_anchor + k, h, w));
  }

  index_t per_anchor;
  std::vector<BoxTarget> targets;
};

void check_matches(const std::vector<Match>& got, const SafeTensors& file, const std::string& level) {
  const std::vector<double> rows = test::golden(file, "match." + level + ".rows").values,
                            boxes = test::golden(file, "f64.match." + level + ".box").values;
  REQUIRE(got.size() * 5 == rows.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    const Match& m = got[i];
    const std::array<int, 5> row{m.image, m.anchor, m.cell_y, m.cell_x, m.cls};
    CAPTURE(i);
    CHECK(std::equal(row.begin(), row.end(), rows.begin() + static_cast<std::ptrdiff_t>(i * 5)));
    // Cell numbers below 16, each from one product and one difference in double.
    for (std::size_t k = 0; k < 4; ++k) CHECK(std::abs(m.box[k] - boxes[i * 4 + k]) <= 32 * test::roundoff<double>);
  }
}

template <class T>
void check_case(const std::string& name, const json& info) {
  const SafeTensors file = SafeTensors::read(test::test_data("loss/" + name + ".safetensors"));
  const index_t classes = info.at("nc");
  const Case c(file, classes);
  DetectionLoss loss(pixels, strides, classes, options_of(info, name));
  const std::array<Shape, 3> shapes{Shape{2, 3 * (classes + 5), 12, 8}, Shape{2, 3 * (classes + 5), 6, 4},
                                    Shape{2, 3 * (classes + 5), 3, 2}};
  std::vector<Tensor> heads, slopes;
  std::vector<View<const T>> x;
  std::vector<View<T>> dx;
  for (std::size_t i = 0; i < 3; ++i) {
    heads.push_back(c.head<T>(file, "p." + std::to_string(i), shapes[i]));
    slopes.emplace_back(shapes[i], dtype_of<T>);
    x.push_back(std::as_const(heads[i]).template view<T>());
    dx.push_back(slopes[i].template view<T>());
    check_matches(loss.match<double>(i, shapes[i].h, shapes[i].w, c.targets), file, std::to_string(i));
  }
  const LossParts silent = loss(std::span<const View<const T>>(x), c.targets);
  CHECK(loss.balance() == std::vector<double>{4, 1, 0.4});
  const LossParts parts = loss(std::span<const View<const T>>(x), c.targets, std::span<const View<T>>(dx));
  CHECK(silent.sum() == parts.sum());

  // In double the formulas differ only in the order of some 300 terms. In float the logits are the same, but the
  // labels' boxes carry a rounding of cells (up to 12), which the slope of an overlap, up to 1 / side, makes that much
  // larger.
  const double bound = sizeof(T) == 8 ? 1e-12 : 64 * test::roundoff<float>;
  const std::vector<double> want = test::golden(file, "f64.parts").values;
  CHECK(std::abs(parts.box - want[0]) <= bound);
  CHECK(std::abs(parts.obj - want[1]) <= bound);
  CHECK(std::abs(parts.cls - want[2]) <= bound);
  CHECK(std::abs(2 * parts.sum() - test::golden(file, "f64.total").values[0]) <= 4 * bound);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::vector<double> g = test::golden(file, "f64.grad.p." + std::to_string(i)).values;
    double worst = 0;
    c.each(dx[i], [&, k = std::size_t{0}](T v) mutable {
      worst = std::max(worst, std::abs(static_cast<double>(v) - g[k++]));
    });
    CHECK(worst <= bound);
  }
  const std::vector<double> after = info.at("balance_after");
  for (std::size_t i = 0; i < 3; ++i) CHECK(std::abs(loss.balance()[i] - after[i]) <= bound * 4);
}

/// Derivative of f at x by central differences, and how far off it may be: truncation and rounding at step 1e-5.
template <class F>
double difference(F f, double x) {
  const double step = 1e-5;
  return (f(x + step) - f(x - step)) / (2 * step);
}

}  // namespace

TEST_CASE("the golden cases in value, matches and gradient") {
  const json index = json::parse(std::ifstream(test::test_data("loss/index.json")));
  CHECK(index.at("cases").size() == 9);
  for (const auto& item : index.at("cases").items()) {
    CAPTURE(item.key());
    check_case<double>(item.key(), item.value());
    check_case<float>(item.key(), item.value());
  }
}

TEST_CASE("gains come from the hyperparameters as YOLOv5 scales them") {
  const json info = json::parse(std::ifstream(test::test_data("loss/index.json"))).at("cases").at("default");
  const LossOptions got = loss_options(Hyp{}, 3, 3, 96), want = options_of(info, "default");
  CHECK(got.box == doctest::Approx(want.box).epsilon(1e-15));
  CHECK(got.obj == doctest::Approx(want.obj).epsilon(1e-15));
  CHECK(got.cls == doctest::Approx(want.cls).epsilon(1e-15));
  CHECK(loss_options(Hyp{}, 4, 80, 1280).obj == doctest::Approx(3.0).epsilon(1e-15));
}

TEST_CASE("complete IoU and its slope are the golden ones") {
  const SafeTensors file = SafeTensors::read(test::test_data("ops/ciou.safetensors"));
  const std::vector<double> p = test::golden(file, "p").values, t = test::golden(file, "t").values,
                            y = test::golden(file, "f64.y").values, g = test::golden(file, "f64.grad.p").values;
  for (std::size_t i = 0; i < y.size(); ++i) {
    const auto box = [&](const std::vector<double>& v) {
      return std::array<double, 4>{v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]};
    };
    const Overlap q = overlap(BoxLoss::ciou, box(p), box(t));
    CAPTURE(i);
    CHECK(std::abs(q.value - y[i]) <= 1e-12);
    for (std::size_t k = 0; k < 4; ++k)
      CHECK(std::abs(q.slope[k] - g[4 * i + k]) <= 1e-11 * (1 + std::abs(g[4 * i + k])));
  }
}

TEST_CASE("binary cross-entropy is the golden one, also far out") {
  for (const char* weight : {"0.7", "1.0"}) {
    const SafeTensors file = SafeTensors::read(test::test_data("ops/bce_pw" + std::string(weight) + ".safetensors"));
    const std::vector<double> x = test::golden(file, "x").values, t = test::golden(file, "t").values,
                              y = test::golden(file, "f64.y").values, g = test::golden(file, "f64.grad.x").values;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const Entropy e = binary_entropy(x[i], t[i], std::stod(weight), 0);
      CAPTURE(x[i]);
      CHECK(std::abs(e.value - y[i]) <= 1e-14 * (1 + std::abs(y[i])));
      CHECK(std::abs(e.slope - g[i]) <= 1e-14);
    }
  }
  for (const double far : {-1e4, -800.0, 800.0, 1e4})
    for (const double gamma : {0.0, 1.5})
      for (const double target : {0.0, 1.0}) {
        const Entropy e = binary_entropy(far, target, 1, gamma);
        CHECK(std::isfinite(e.value));
        CHECK(std::isfinite(e.slope));
      }
}

TEST_CASE("slopes of efficient IoU and of the focal loss are those of their values") {
  const std::array<double, 4> label{0.4, 0.3, 2.0, 1.5};
  const std::vector<std::array<double, 4>> boxes{
      {0.5, 0.2, 1.7, 1.9}, {2.9, 0.1, 1.1, 0.8}, {0.45, 0.35, 0.5, 0.4}, {-1.1, 1.3, 3.0, 2.2}};
  for (const std::array<double, 4>& box : boxes)
    for (std::size_t k = 0; k < 4; ++k) {
      const auto value = [&](double v) {
        std::array<double, 4> moved = box;
        moved[k] = v;
        return overlap(BoxLoss::eiou, moved, label).value;
      };
      // Third derivatives are below 100 here: 1e-10 / 6 * 100 of truncation, 2e-16 / 1e-5 of rounding.
      CHECK(std::abs(overlap(BoxLoss::eiou, box, label).slope[k] - difference(value, box[k])) <= 1e-8);
    }
  CHECK(overlap(BoxLoss::eiou, label, label).value == doctest::Approx(1).epsilon(1e-6));
  // By hand: intersection 1, union 7, centres sqrt 2 apart in a hull of 3 by 3, equal sides.
  CHECK(overlap(BoxLoss::eiou, {1, 1, 2, 2}, {2, 2, 2, 2}).value == doctest::Approx(1 / 7.0 - 2 / 18.0).epsilon(1e-6));
  // One box inside the other: 1/4 for the areas, and (1/2)^2 for each side.
  CHECK(overlap(BoxLoss::eiou, {0, 0, 1, 1}, {0, 0, 2, 2}).value == doctest::Approx(0.25 - 0.5).epsilon(1e-6));
  for (const double target : {0.0, 0.05, 0.6, 0.95, 1.0})
    for (const double logit : {-6.0, -1.0, 0.1, 2.0, 7.0}) {
      const auto value = [&](double v) { return binary_entropy(v, target, 1.3, 1.5).value; };
      CHECK(std::abs(binary_entropy(logit, target, 1.3, 1.5).slope - difference(value, logit)) <= 1e-8);
    }
}

TEST_CASE("what does not fit is refused by name") {
  const LossOptions options;
  CHECK_THROWS_AS(DetectionLoss(pixels, std::vector<index_t>{8, 16}, 3, options), ShapeError);
  CHECK_THROWS_AS(DetectionLoss({{10, 13, 5}}, std::vector<index_t>{8}, 3, options), ShapeError);
  CHECK_THROWS_AS(DetectionLoss(pixels, strides, 0, options), ShapeError);
  DetectionLoss loss({{10, 13}}, std::vector<index_t>{8}, 2, options);
  const Tensor good({1, 7, 2, 2}), odd({1, 8, 2, 2});
  const auto run = [&](const Tensor& x, const std::vector<BoxTarget>& targets) {
    const std::vector<View<const float>> heads{x.view<float>()};
    return loss(std::span<const View<const float>>(heads), targets);
  };
  CHECK(run(good, {}).box == 0);
  CHECK_THROWS_WITH_AS(run(odd, {}), doctest::Contains("not 7 channels"), ShapeError);
  CHECK_THROWS_WITH_AS(run(good, {{1, 0, 0.5f, 0.5f, 0.1f, 0.1f}}), doctest::Contains("image 1"), ShapeError);
  CHECK_THROWS_WITH_AS(run(good, {{0, 2, 0.5f, 0.5f, 0.1f, 0.1f}}), doctest::Contains("class 2"), ShapeError);
}

TEST_SUITE_END();
