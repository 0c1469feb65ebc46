#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "shared_data.hpp"
#include "slimneck/detect.hpp"
#include "slimneck/weights.hpp"

using namespace slimneck;

namespace {

View<const float> rows_of(const std::vector<float>& values, index_t columns) {
  return {values.data(), Shape{1, 1, static_cast<index_t>(values.size()) / columns, columns}};
}

// The definition, word for word: every pair of all candidates is compared.
std::vector<Detection> plain_nms(const View<const float>& pred, const NmsOptions& o) {
  std::vector<Detection> all;
  const index_t classes = pred.shape.w - 5;
  for (index_t r = 0; r < pred.shape.h; ++r) {
    const auto v = [&](index_t column) { return pred.at(0, 0, r, column); };
    if (!(v(4) > o.conf)) continue;
    std::vector<float> scores;
    for (index_t c = 0; c < classes; ++c) scores.push_back(v(5 + c) * v(4));
    const auto best = std::max_element(scores.begin(), scores.end()) - scores.begin();
    for (index_t c = 0; c < classes; ++c) {
      if (!(o.multi_label && classes > 1) && c != best) continue;
      const bool wanted = o.classes.empty() || std::count(o.classes.begin(), o.classes.end(), c) > 0;
      const float score = scores[static_cast<std::size_t>(c)], half_w = v(2) / 2, half_h = v(3) / 2;
      if (wanted && score > o.conf)
        all.push_back({v(0) - half_w, v(1) - half_h, v(0) + half_w, v(1) + half_h, score, static_cast<int>(c)});
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.score > b.score; });
  if (static_cast<index_t>(all.size()) > o.max_nms) all.resize(static_cast<std::size_t>(o.max_nms));
  std::vector<Detection> moved = all;
  for (Detection& d : moved)
    for (float* side : {&d.x1, &d.y1, &d.x2, &d.y2}) *side += static_cast<float>(d.cls) * (o.agnostic ? 0 : o.max_wh);
  const auto area = [](const Detection& d) { return (d.x2 - d.x1) * (d.y2 - d.y1); };
  std::vector<bool> dead(all.size());
  std::vector<Detection> kept;
  for (std::size_t i = 0; i < all.size() && static_cast<index_t>(kept.size()) < o.max_det; ++i) {
    if (dead[i]) continue;
    kept.push_back(all[i]);
    for (std::size_t j = i + 1; j < all.size(); ++j) {
      const float w = std::max(0.0F, std::min(moved[i].x2, moved[j].x2) - std::max(moved[i].x1, moved[j].x1));
      const float h = std::max(0.0F, std::min(moved[i].y2, moved[j].y2) - std::max(moved[i].y1, moved[j].y1));
      if (w * h / (area(moved[i]) + area(moved[j]) - w * h) > o.iou) dead[j] = true;
    }
  }
  return kept;
}

std::vector<float> random_rows(index_t rows, index_t classes, unsigned seed) {
  std::mt19937 engine(seed);
  std::uniform_real_distribution<float> unit(0, 1);
  std::vector<float> values;
  for (index_t r = 0; r < rows; ++r) {
    for (const float scale : {300.0F, 300.0F, 150.0F, 150.0F}) values.push_back(unit(engine) * scale + 1);
    // Few distinct scores, so that ties occur.
    for (index_t c = 0; c <= classes; ++c) values.push_back(std::round(unit(engine) * 16) / 16);
  }
  return values;
}

}  // namespace

TEST_CASE("nms: a worse box that overlaps too much goes, class by class") {
  //                               x    y    w   h   obj  c0    c1
  const std::vector<float> rows{100, 100, 40, 40, 1.0F,  0.9F, 0.1F,   // kept
                                102, 100, 40, 40, 1.0F,  0.8F, 0.2F,   // overlaps the first
                                102, 100, 40, 40, 0.9F,  0.1F, 0.9F,   // the same place, another class
                                300, 300, 10, 10, 0.3F,  0.9F, 0.0F,   // alone
                                300, 100, 10, 10, 0.25F, 1.0F, 0.0F};  // objectness does not exceed 0.25
  const auto found = non_max_suppression(rows_of(rows, 7));
  REQUIRE(found.size() == 3);
  CHECK(found[0] == Detection{80, 80, 120, 120, 0.9F, 0});
  CHECK(found[1] == Detection{82, 80, 122, 120, 0.9F * 0.9F, 1});
  CHECK(found[2].score == 0.3F * 0.9F);

  NmsOptions options;
  options.agnostic = true;
  CHECK(non_max_suppression(rows_of(rows, 7), options).size() == 2);
  options.classes = {1, 99, -1};
  CHECK(non_max_suppression(rows_of(rows, 7), options).size() == 1);
  options = {};
  options.max_det = 1;
  CHECK(non_max_suppression(rows_of(rows, 7), options).size() == 1);
  options.max_det = 0;
  CHECK(non_max_suppression(rows_of(rows, 7), options).empty());
  options = {};
  options.multi_label = true;
  options.conf = 0.15F;
  CHECK(non_max_suppression(rows_of(rows, 7), options).size() == 4);
  CHECK(non_max_suppression(View<const float>(rows.data(), Shape{1, 1, 0, 7})).empty());
}

TEST_CASE("nms: the threshold itself does not suppress, equal scores keep the order of rows") {
  // Two 40x40 boxes, one moved by 20: IoU = 800 / 2400 = 1/3.
  const std::vector<float> rows{100, 100, 40, 40, 1, 0.5F, 120, 100, 40, 40, 1, 0.5F};
  NmsOptions options;
  options.iou = 800.0F / 2400.0F;
  const auto found = non_max_suppression(rows_of(rows, 6), options);
  REQUIRE(found.size() == 2);
  CHECK(found[0].x1 == 80);
  CHECK(found[1].x1 == 100);
  options.iou = std::nextafter(options.iou, 0.0F);
  CHECK(non_max_suppression(rows_of(rows, 6), options).size() == 1);
}

TEST_CASE("nms: equal to the plain definition on random rows") {
  for (unsigned seed = 0; seed < 30; ++seed) {
    const index_t classes = 1 + static_cast<index_t>(seed % 5);
    const std::vector<float> values = random_rows(200, classes, seed);
    const auto pred = rows_of(values, 5 + classes);
    NmsOptions options;
    options.conf = seed % 3 == 0 ? 0.001F : 0.25F;
    options.iou = 0.1F * static_cast<float>(seed % 8);
    options.multi_label = seed % 2 == 0;
    options.agnostic = seed % 4 == 1;
    options.max_nms = seed % 7 == 0 ? 50 : 30000;
    options.max_det = seed % 5 == 0 ? 5 : 300;
    if (seed % 6 == 5) options.classes = {0, 2};
    CHECK(non_max_suppression(pred, options) == plain_nms(pred, options));
  }
}

TEST_CASE("nms: any strides of the predictions") {
  const std::vector<float> values = random_rows(50, 3, 7);
  std::vector<float> turned(values.size());  // column by column
  for (std::size_t r = 0; r < 50; ++r)
    for (std::size_t c = 0; c < 8; ++c) turned[c * 50 + r] = values[r * 8 + c];
  View<const float> pred(turned.data(), Shape{1, 1, 50, 8});
  pred.sh = 1;
  pred.sw = 50;
  const auto found = non_max_suppression(pred);
  CHECK(!found.empty());
  CHECK(found == non_max_suppression(rows_of(values, 8)));
}

TEST_CASE("nms: scores and boxes that are no numbers are never kept") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), infinite = std::numeric_limits<float>::infinity();
  std::vector<float> rows{10,  10, 5, 5, nan, 1, 1, 10, 10, 5,        5, 1, nan, 1, 10, 10, 5, 5, 1, 1,    nan,
                          nan, 10, 5, 5, 1,   1, 1, 10, 10, infinite, 5, 1, 1,   1, 50, 50, 5, 5, 1, 0.5F, 0.75F};
  REQUIRE(rows.size() % 7 == 0);
  const auto found = non_max_suppression(rows_of(rows, 7));
  REQUIRE(found.size() == 1);
  CHECK(found[0].cls == 1);
  NmsOptions options;
  options.multi_label = true;
  for (const Detection& d : non_max_suppression(rows_of(rows, 7), options)) CHECK(std::isfinite(d.score + d.x1 + d.y2));
}

TEST_CASE("nms: shapes and options out of range are refused") {
  const std::vector<float> rows(60);
  CHECK_THROWS_AS(non_max_suppression(View<const float>(rows.data(), Shape{1, 1, 12, 5})), ShapeError);
  CHECK_THROWS_AS(non_max_suppression(View<const float>(rows.data(), Shape{2, 1, 5, 6})), ShapeError);
  CHECK_THROWS_AS(non_max_suppression(View<const float>(rows.data(), Shape{1, 2, 5, 6})), ShapeError);
  const auto refused = [&](auto change) {
    NmsOptions options;
    change(options);
    CHECK_THROWS_AS(non_max_suppression(rows_of(rows, 6), options), ShapeError);
  };
  refused([](NmsOptions& o) { o.conf = -0.1F; });
  refused([](NmsOptions& o) { o.conf = std::nanf(""); });
  refused([](NmsOptions& o) { o.iou = 1.5F; });
  refused([](NmsOptions& o) { o.max_det = -1; });
  refused([](NmsOptions& o) { o.max_nms = -1; });
}

TEST_CASE("nms: boxes go back to the picture and are cut at its edges") {
  std::vector<Detection> found{{100, 140, 200, 300, 0.5F, 0}, {-20, 100, 700, 600, 0.5F, 1}};
  scale_boxes(found, 640, 640, 720, 1280);  // half size, 140 rows of padding above
  CHECK(found[0] == Detection{200, 0, 400, 320, 0.5F, 0});
  CHECK(found[1] == Detection{0, 0, 1280, 720, 0.5F, 1});
  CHECK_THROWS_AS(scale_boxes(found, 0, 640, 720, 1280), ShapeError);
}

TEST_CASE("nms: golden cases are identical") {
  const auto index_path = test::golden_data("post/nms_index.json");
  if (!index_path) {
    MESSAGE("skipped: golden/post/nms_index.json is not here");
    return;
  }
  for (const char* name : {"default", "val_multilabel", "agnostic", "classes_1_3", "maxdet7", "iou0", "nc1_multilabel",
                           "empty", "nc80_offset", "no_rows"}) {
    CAPTURE(name);
    const auto path = test::golden_data("post/nms_" + std::string(name) + ".safetensors");
    REQUIRE(path);
    const SafeTensors file = SafeTensors::read(*path);
    const auto arguments = nlohmann::json::parse(file.metadata().at("args"));
    NmsOptions options;
    options.conf = arguments.value("conf", options.conf);
    options.iou = arguments.value("iou", options.iou);
    options.classes = arguments.value("classes", options.classes);
    options.agnostic = arguments.value("agnostic", false);
    options.multi_label = arguments.value("multi_label", false);
    options.max_det = arguments.value("max_det", options.max_det);
    const Tensor pred = file.tensor("pred");  // pictures x rows x columns
    for (index_t n = 0; n < pred.shape().c; ++n) {
      const Tensor wanted = file.tensor("out." + std::to_string(n));
      const auto image = View<const float>(pred.data<float>() + n * pred.shape().h * pred.shape().w,
                                           Shape{1, 1, pred.shape().h, pred.shape().w});
      const auto found = non_max_suppression(image, options);
      REQUIRE(static_cast<index_t>(found.size()) == wanted.shape().h);
      for (std::size_t i = 0; i < found.size(); ++i) {
        const float* row = wanted.data<float>() + i * 6;
        CHECK(found[i] == Detection{row[0], row[1], row[2], row[3], row[4], static_cast<int>(row[5])});
      }
    }
  }
}

TEST_CASE("nms: published detections come from published rows") {
  const auto rows_path = test::shared_data("data/reference/zidane_square320.safetensors");
  const auto boxes_path = test::shared_data("data/reference/detections_bus_zidane.json");
  if (!rows_path || !boxes_path) {
    MESSAGE("skipped: the reference detections are not here");
    return;
  }
  const Tensor pred = SafeTensors::read(*rows_path).tensor("pred");
  std::ifstream stream(*boxes_path);
  const auto wanted = nlohmann::json::parse(stream).at("zidane/square320");
  auto found = non_max_suppression(pred.view<float>());
  REQUIRE(found.size() == wanted.at("detections").size());
  scale_boxes(found, 320, 320, wanted.at("orig_hw")[0], wanted.at("orig_hw")[1]);
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto& detection = wanted.at("detections")[i];
    CHECK(found[i].cls == detection.at("cls").get<int>());
    CHECK(found[i].score == detection.at("conf").get<float>());
    const std::array<float, 4> sides{found[i].x1, found[i].y1, found[i].x2, found[i].y2};
    for (std::size_t k = 0; k < 4; ++k) CHECK(sides[k] == detection.at("xyxy")[k].get<float>());
  }
}
