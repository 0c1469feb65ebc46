// Anchors and weights out of a data set.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/threads.hpp"
#include "shared_data.hpp"
#include "slimneck/data.hpp"
#include "slimneck/error.hpp"

using namespace slimneck;
using nlohmann::json;

namespace {

using Sizes = std::vector<AnchorSize>;

/// YOLOv5's, in pixels.
const Sizes usual{{10, 13}, {16, 30}, {33, 23}, {30, 61}, {62, 45}, {59, 119}, {116, 90}, {156, 198}, {373, 326}};

/// Boxes around some sizes, in pictures of 100x100.
DataSet around(const Sizes& centres, int each) {
  DataSet data;
  data.name = "drawn";
  data.nc = 3;
  for (int i = 0; i < each; ++i) {
    Sample sample;
    sample.width = sample.height = 100;
    for (std::size_t k = 0; k < centres.size(); ++k) {
      const double factor = 1 + 0.02 * (i % 11 - 5), other = 1 + 0.02 * (i % 7 - 3);
      sample.boxes.push_back({static_cast<int>(k % 3), 0.5F, 0.5F, static_cast<float>(centres[k].w * factor / 100),
                              static_cast<float>(centres[k].h * other / 100)});
    }
    data.samples.push_back(sample);
  }
  return data;
}

double area(const AnchorSize& size) { return size.w * size.h; }

}  // namespace

TEST_SUITE_BEGIN("data_anchors");

TEST_CASE("golden: the fit of YOLOv5's anchors") {
  std::ifstream file(test::test_data("post/geometry.json"));
  REQUIRE(file);
  const json golden = json::parse(file)["autoanchor"];
  Sizes boxes;
  for (const json& wh : golden["wh"]) boxes.push_back({wh[0], wh[1]});
  const AnchorFit fit = anchor_fit(usual, boxes, golden["thr"]);
  // Sums of 40 terms.
  CHECK(std::abs(fit.recall - golden["bpr"].get<double>()) < 40 * 0x1p-52);
  CHECK(std::abs(fit.anchors_per_target - golden["aat"].get<double>()) < 40 * 8 * 0x1p-52);
  CHECK(std::abs(fit.fitness - golden["fitness"].get<double>()) < 40 * 0x1p-52);
}

TEST_CASE("the fit of anchors: what does not fit counts as nothing") {
  const AnchorFit fit = anchor_fit(Sizes{{10, 10}, {20, 10}}, Sizes{{10, 10}, {10, 39}, {10, 41}, {100, 100}}, 4);
  CHECK(fit.recall == 0.5);
  CHECK(fit.anchors_per_target == 1);  // both fit the first two boxes
  CHECK(fit.fitness == (1 + 10 / 39.0) / 4);
  CHECK(anchor_fit(usual, Sizes{}, 4).recall == 0);
  CHECK_THROWS_AS(anchor_fit(Sizes{}, usual, 4), ShapeError);
  CHECK_THROWS_AS(anchor_fit(usual, Sizes{{0, 1}}, 4), ShapeError);
  CHECK_THROWS_AS(anchor_fit(usual, usual, 0), ShapeError);
}

TEST_CASE("sizes of boxes: the longer side of every picture is img") {
  DataSet data = around({{10, 20}}, 2);
  data.samples[1].width = 400;
  const Sizes sizes = box_sizes(data, 200, 0, 1);
  REQUIRE(sizes.size() == 2);
  CHECK(std::abs(sizes[0].w - 2 * 9) < 1e-5);
  CHECK(std::abs(sizes[0].h - 2 * 18.8) < 1e-5);
  CHECK(std::abs(sizes[1].w - 200 * 0.092) < 1e-5);
  CHECK(std::abs(sizes[1].h - 50 * 0.192) < 1e-5);
  const Sizes jittered = box_sizes(data, 200, 0.1, 1);
  const double gain = jittered[0].w / sizes[0].w;
  CHECK(gain != 1);
  CHECK(std::abs(gain - 1) <= 0.1);
  CHECK(std::abs(jittered[0].h / sizes[0].h - gain) < 1e-12);
  CHECK(box_sizes(data, 200, 0.1, 1) == jittered);
  CHECK(box_sizes(data, 200, 0.1, 2) != jittered);
}

TEST_CASE("k-means finds the sizes there are; changes only make it better") {
  const Sizes centres{{5, 8}, {12, 6}, {20, 30}, {60, 25}, {50, 80}, {90, 90}};
  const DataSet data = around(centres, 200);
  const Sizes first = kmean_anchors(data, 6, 100, 4, 1, 0);
  REQUIRE(first.size() == 6);
  // Every centre's boxes are spread by a tenth at most, so the clusters are the centres'.
  for (const AnchorSize& centre : centres)
    CHECK(std::any_of(first.begin(), first.end(), [&](const AnchorSize& anchor) {
      return std::abs(anchor.w / centre.w - 1) < 0.1 && std::abs(anchor.h / centre.h - 1) < 0.1;
    }));
  CHECK(std::is_sorted(first.begin(), first.end(),
                       [](const AnchorSize& a, const AnchorSize& b) { return area(a) < area(b); }));
  const Sizes boxes = box_sizes(data, 100, 0, 0);
  CHECK(anchor_fit(first, boxes, 4).fitness > 0.9);
  const auto fitness = [&](int generations) {
    return anchor_fit(kmean_anchors(data, 3, 100, 4, 1, generations), boxes, 4).fitness;
  };
  const std::array<double, 3> rising{fitness(0), fitness(30), fitness(200)};
  CHECK(rising[0] <= rising[1]);
  CHECK(rising[1] <= rising[2]);
  CHECK(rising[0] < rising[2]);
}

TEST_CASE("anchors do not depend on the number of threads") {
  const DataSet data = around({{5, 8}, {20, 30}, {50, 80}}, 3000);
  const auto with = [&](int threads) {
    const core::ThreadScope scope(threads);
    return kmean_anchors(data, 2, 100, 4, 7, 50);
  };
  const Sizes one = with(1);
  CHECK(with(3) == one);
  CHECK(kmean_anchors(data, 2, 100, 4, 8, 50) != one);
}

TEST_CASE("automatic anchors: kept when they recall enough, replaced by better ones, never by worse ones") {
  const DataSet common = around({{10, 13}, {33, 23}, {62, 45}}, 20);
  const AutoAnchors kept = auto_anchors(common, usual, 100, 4, 1);
  CHECK_FALSE(kept.changed);
  CHECK(kept.anchors == usual);
  CHECK(kept.before.recall > 0.98);

  const DataSet needles = around({{3, 60}, {5, 90}, {4, 75}}, 20);
  const AutoAnchors changed = auto_anchors(needles, usual, 100, 4, 1);
  CHECK(changed.before.recall < 0.98);
  CHECK(changed.changed);
  CHECK(changed.anchors.size() == usual.size());
  CHECK(changed.after.recall > 0.98);

  const DataSet few = around({{3, 60}}, 2);
  const AutoAnchors stayed = auto_anchors(few, usual, 100, 4, 1);
  CHECK_FALSE(stayed.changed);
  CHECK(stayed.anchors == usual);
  CHECK_THROWS_WITH_AS(kmean_anchors(few, 9, 100, 4, 1), doctest::Contains("drawn: 2 different boxes"), FormatError);
}

TEST_CASE("weights of classes and pictures") {
  DataSet data = around({{10, 10}, {20, 20}}, 3);  // three boxes each of class 0 and 1, none of 2
  const std::vector<double> classes = class_weights(data);
  REQUIRE(classes.size() == 3);
  CHECK(std::abs(classes[0] - 0.2) < 1e-15);
  CHECK(std::abs(classes[2] - 0.6) < 1e-15);
  data.samples[1].boxes.clear();
  data.samples[2].boxes.push_back({2, 0.5F, 0.5F, 0.1F, 0.1F});
  CHECK(image_weights(data, std::vector<double>{1, 2, 4}) == std::vector<double>{3, 0, 7});
  CHECK_THROWS_AS(image_weights(data, std::vector<double>{1, 2}), ShapeError);
}

TEST_SUITE_END();
