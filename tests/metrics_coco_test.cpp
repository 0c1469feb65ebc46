// COCO's twelve figures against pycocotools'.
#include <doctest/doctest.h>

#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "shared_data.hpp"
#include "slimneck/metrics.hpp"

using namespace slimneck;

namespace {

nlohmann::json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file);
}

/// pycocotools means over all numbers at once, slimneck class by class: at most 101 * 10 * 80 terms below one, each
/// with a rounding error of 2^-53.
constexpr double sum_error = 1e-11;

std::vector<Judged> pictures_of(const nlohmann::json& rows) {
  std::vector<Judged> pictures;
  for (const nlohmann::json& row : rows) {
    Judged& picture = pictures.emplace_back();
    for (const nlohmann::json& t : row.at("truth"))
      picture.truth.push_back({t[0], t[1], t[2], t[3], t[4], t[5].get<bool>(), t[6]});
    for (const nlohmann::json& d : row.at("found"))
      picture.detections.push_back(
          {d[1], d[2], d[3], d[4], d[5].is_null() ? std::numeric_limits<float>::quiet_NaN() : d[5].get<float>(), d[0]});
  }
  return pictures;
}

}  // namespace

TEST_CASE("coco metrics: random sets have the figures of pycocotools") {
  const nlohmann::json cases = read_json(test::test_data("coco/cases.json"));
  REQUIRE(cases.size() >= 16);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CAPTURE(i);
    const CocoMetrics metrics = coco_metrics(pictures_of(cases[i].at("pictures")));
    for (std::size_t k = 0; k < metrics.figures.size(); ++k) {
      CAPTURE(CocoMetrics::names[k]);
      CHECK(std::abs(metrics.figures[k] - cases[i].at("figures")[k].get<double>()) <= sum_error);
    }
  }
}

TEST_CASE("coco metrics: nothing to judge") {
  for (const double figure : coco_metrics({}).figures) CHECK(figure == -1);
  const Truth truth{.cls = 4, .x1 = 0, .y1 = 0, .x2 = 20, .y2 = 20};
  const CocoMetrics missed = coco_metrics(std::vector<Judged>{{.detections = {}, .truth = {truth}}});
  CHECK(missed.ap() == 0);
  REQUIRE(missed.classes.size() == 1);
  CHECK(missed.classes.front().ap50 == 0);
}

TEST_CASE("coco metrics: a published set of 100 pictures") {
  const auto folder = test::shared_data("data/metrics_cases/coco_eval");
  if (!folder) {
    MESSAGE("skipped: no SLIMNECK_SHARED");
    return;
  }
  std::map<int, Judged> by_image;  // COCO goes by image number
  const nlohmann::json truth = read_json(*folder / "gts.json");
  for (const nlohmann::json& a : truth.at("annotations")) {
    const auto b = a.at("bbox").get<std::vector<float>>();
    by_image[a.at("image_id")].truth.push_back({.cls = a.at("category_id"),
                                                .x1 = b[0],
                                                .y1 = b[1],
                                                .x2 = b[0] + b[2],
                                                .y2 = b[1] + b[3],
                                                .crowd = a.at("iscrowd") != 0,
                                                .area = a.at("area")});
  }
  for (const nlohmann::json& d : read_json(*folder / "dets.json")) {
    const auto b = d.at("bbox").get<std::vector<float>>();
    by_image[d.at("image_id")].detections.push_back(
        {b[0], b[1], b[0] + b[2], b[1] + b[3], d.at("score"), d.at("category_id")});
  }
  std::vector<Judged> pictures;
  for (const auto& [image, picture] : by_image) pictures.push_back(picture);
  const CocoMetrics metrics = coco_metrics(pictures);
  const std::array<double, 12> want{.503647, .696973, .571667, .593252, .557991, .489363,
                                    .386813, .593680, .595353, .654764, .603130, .553744};
  for (std::size_t k = 0; k < want.size(); ++k) {
    CAPTURE(CocoMetrics::names[k]);
    CHECK(std::abs(metrics.figures[k] - want[k]) <= 1e-6);
  }
}
