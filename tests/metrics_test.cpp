// YOLOv5's and Pascal VOC's average precision and the confusion matrix.
#include "slimneck/metrics.hpp"

#include <doctest/doctest.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "golden_case.hpp"
#include "shared_data.hpp"
#include "slimneck/weights.hpp"

using namespace slimneck;

namespace {

constexpr float nan_score = std::numeric_limits<float>::quiet_NaN();

/// Sums of at most a thousand terms below one, in an order that NumPy does not promise.
constexpr double sum_error = 1e-12;

nlohmann::json index_of_cases() {
  std::ifstream file(test::test_data("post/map_index.json"));
  return nlohmann::json::parse(file);
}

Judged golden_picture(const SafeTensors& file, const std::string& name, int image) {
  Judged picture;
  const auto rows = [&](const char* what, index_t columns, const auto& take) {
    const std::string key = name + what + std::to_string(image);
    REQUIRE(file.find(key) != nullptr);
    const Tensor tensor = file.tensor(key);
    for (index_t r = 0; r < tensor.numel() / columns; ++r) take(tensor.data<float>() + r * columns);
  };
  rows(".det.", 6, [&](const float* v) {
    picture.detections.push_back({v[0], v[1], v[2], v[3], v[4], static_cast<int>(v[5])});
  });
  rows(".lab.", 5, [&](const float* v) {
    picture.truth.push_back({.cls = static_cast<int>(v[0]), .x1 = v[1], .y1 = v[2], .x2 = v[3], .y2 = v[4]});
  });
  return picture;
}

void check_list(const std::vector<double>& got, const nlohmann::json& want) {
  REQUIRE(got.size() == want.size());
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(std::abs(got[i] - want[i].get<double>()) <= sum_error);
}

}  // namespace

TEST_CASE("metrics: YOLOv5's golden cases, match by match and figure by figure") {
  const SafeTensors file = SafeTensors::read(test::test_data("post/map_cases.safetensors"));
  const nlohmann::json index = index_of_cases();
  for (const auto& item : index.at("cases").items()) {
    const std::string& name = item.key();
    const nlohmann::json& want = item.value();
    CAPTURE(name);
    std::vector<Judged> pictures;
    for (int i = 0; i < want.at("images").get<int>(); ++i) {
      pictures.push_back(golden_picture(file, name, i));
      const auto right = match_yolov5(pictures.back());
      const Tensor correct = file.tensor(name + ".correct." + std::to_string(i));
      REQUIRE(correct.numel() == static_cast<index_t>(right.size() * iou_steps));
      for (std::size_t d = 0; d < right.size(); ++d)
        for (std::size_t s = 0; s < iou_steps; ++s)
          CHECK(right[d][s] == (correct.data<float>()[d * iou_steps + s] != 0));
    }
    const Metrics metrics = yolov5_metrics(pictures);
    CHECK(metrics.images == want.at("images").get<index_t>());
    REQUIRE(metrics.classes.size() == want.at("classes").size());
    std::vector<double> p, r, f1;
    for (std::size_t c = 0; c < metrics.classes.size(); ++c) {
      const ClassMetrics& own = metrics.classes[c];
      CHECK(own.cls == want.at("classes")[c].get<int>());
      check_list({own.ap.begin(), own.ap.end()}, want.at("ap")[c]);
      p.push_back(own.p);
      r.push_back(own.r);
      f1.push_back(own.f1);
    }
    check_list(p, want.at("p"));
    check_list(r, want.at("r"));
    check_list(f1, want.at("f1"));
    check_list({metrics.p, metrics.r, metrics.map50, metrics.map50_95, metrics.fitness()},
               {want.at("mp"), want.at("mr"), want.at("map50"), want.at("map"), want.at("fitness")});
  }
}

TEST_CASE("metrics: YOLOv5's area under given curves") {
  const nlohmann::json index = index_of_cases();
  for (const nlohmann::json& curve : index.at("ap_curves")) {
    const auto recall = curve.at("recall").get<std::vector<double>>();
    const auto precision = curve.at("precision").get<std::vector<double>>();
    CHECK(std::abs(average_precision(recall, precision) - curve.at("ap").get<double>()) <= sum_error);
  }
  CHECK_THROWS_AS((void)average_precision(std::vector<double>{1}, {}), ShapeError);
}

TEST_CASE("metrics: nothing found, nothing there, scores that are no numbers") {
  CHECK(yolov5_metrics({}).map50 == 0);
  CHECK(yolov5_metrics(std::vector<Judged>(3)).classes.empty());
  const Truth truth{.cls = 1, .x1 = 10, .y1 = 10, .x2 = 50, .y2 = 50};
  const Metrics missed = yolov5_metrics(std::vector<Judged>{{.detections = {}, .truth = {truth}}});
  REQUIRE(missed.classes.size() == 1);
  CHECK(missed.labels == 1);
  CHECK(missed.map50 == 0);
  CHECK(missed.r == 0);
  CHECK(yolov5_metrics(std::vector<Judged>{{.detections = {{10, 10, 50, 50, 0.9F, 0}}, .truth = {}}}).classes.empty());

  // The detection without a score comes after the right one and takes nothing from it.
  std::vector<Judged> pictures{
      {.detections = {{10, 10, 50, 50, nan_score, 1}, {10, 10, 50, 50, 0.5F, 1}}, .truth = {truth}}};
  CHECK(match_yolov5(pictures.front())[1][9]);
  CHECK_FALSE(match_yolov5(pictures.front())[0][0]);
  // Right at once: the area up to recall 1, where the curve falls within the last of a hundred steps.
  CHECK(yolov5_metrics(pictures).map50 == doctest::Approx(0.995).epsilon(1e-12));
  // A crowd is no label.
  pictures.front().truth.front().crowd = true;
  CHECK(yolov5_metrics(pictures).classes.empty());
}

TEST_CASE("metrics: of equal scores the first one counts") {
  const Truth truth{.cls = 0, .x1 = 0, .y1 = 0, .x2 = 40, .y2 = 40};
  const Judged picture{.detections = {{0, 0, 40, 30, 0.5F, 0}, {0, 0, 40, 40, 0.5F, 0}}, .truth = {truth}};
  const auto right = match_yolov5(picture);
  CHECK(right[0][0]);
  CHECK_FALSE(right[1][0]);
  CHECK_FALSE(right[0][9]);  // overlaps by 0.75 only
  CHECK(right[1][9]);
}

TEST_CASE("confusion matrix: taken for another, missed, found beside every label") {
  ConfusionMatrix matrix(3);
  const auto truth = [](int cls, float x) { return Truth{.cls = cls, .x1 = x, .y1 = 0, .x2 = x + 40, .y2 = 40}; };
  const auto found = [](int cls, float x, float score) { return Detection{x, 0, x + 40, 40, score, cls}; };
  matrix.add({.detections = {found(0, 0, 0.9F),      // right
                             found(2, 105, 0.8F),    // class 1 taken for 2
                             found(1, 110, 0.9F),    // overlaps the same label less
                             found(1, 400, 0.7F),    // nothing there
                             found(0, 200, 0.25F)},  // not above the confidence
              .truth = {truth(0, 0), truth(1, 100), truth(2, 200)}});
  CHECK(matrix.count(0, 0) == 1);
  CHECK(matrix.count(2, 1) == 1);
  CHECK(matrix.count(1, 1) == 0);
  CHECK(matrix.count(3, 2) == 1);
  CHECK(matrix.count(1, 3) == 2);
  // No label was hit: then YOLOv5 counts the labels alone.
  matrix.add({.detections = {found(0, 300, 0.9F)}, .truth = {truth(0, 0)}});
  CHECK(matrix.count(3, 0) == 1);
  CHECK(matrix.count(0, 3) == 0);
  // Nor is one where there is none: a picture of background is not counted.
  matrix.add({.detections = {found(0, 300, 0.9F)}, .truth = {}});
  CHECK(matrix.count(0, 3) == 0);
  CHECK_THROWS_AS(matrix.add({.detections = {}, .truth = {truth(3, 0)}}), ShapeError);
  CHECK_THROWS_AS(matrix.add({.detections = {found(-1, 0, 1)}, .truth = {}}), ShapeError);
  CHECK_THROWS_AS(ConfusionMatrix(0), ShapeError);
}

TEST_CASE("metrics: Pascal VOC's rule on a published case") {
  const auto folder = test::shared_data("data/metrics_cases/voc_case_1");
  if (!folder) {
    MESSAGE("skipped: no SLIMNECK_SHARED");
    return;
  }
  std::vector<Judged> pictures;
  for (int i = 1; i <= 7; ++i) {
    const std::string name = "0000" + std::to_string(i) + ".txt";
    Judged picture;
    std::ifstream truth(*folder / "gts" / name), found(*folder / "dets" / name);
    REQUIRE(truth.good());
    REQUIRE(found.good());
    std::string object;
    float x = 0, y = 0, w = 0, h = 0, score = 0;
    while (truth >> object >> x >> y >> w >> h)
      picture.truth.push_back({.cls = 0, .x1 = x, .y1 = y, .x2 = x + w, .y2 = y + h});
    while (found >> object >> score >> x >> y >> w >> h) picture.detections.push_back({x, y, x + w, y + h, score, 0});
    pictures.push_back(picture);
  }
  // Published to ten digits.
  const auto check = [&](double iou, VocPoints points, double want) {
    CHECK(std::abs(voc_average_precision(pictures, 0, iou, points) - want) < 1e-10);
  };
  check(0.1, VocPoints::eleven, 0.3333333333);
  check(0.3, VocPoints::eleven, 0.2683982683);
  check(0.5, VocPoints::eleven, 0.0303030303);
  check(0.75, VocPoints::eleven, 0);
  check(0.1, VocPoints::every, 0.3371980676);
  check(0.3, VocPoints::every, 0.2456866804);
  check(0.5, VocPoints::every, 0.0222222222);
  check(0.75, VocPoints::every, 0);
  CHECK(voc_average_precision(pictures, 1, 0.5, VocPoints::every) == 0);
}
