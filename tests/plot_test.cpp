// Plots: what is drawn where, and what is refused. SLIMNECK_PLOTS=FOLDER keeps the pictures for the eye.
#include "slimneck/plot.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "golden_case.hpp"
#include "picture_data.hpp"
#include "slimneck/error.hpp"

using namespace slimneck;

namespace {

const std::vector<std::string> names{"circle", "ring", "square", "a class with a long name"};

void keep(const std::string& name, const Image& image) {
  if (const char* folder = std::getenv("SLIMNECK_PLOTS")) write_image(std::string(folder) + "/" + name, image);
}

std::size_t count(const Image& image, const Colour& colour) {
  std::size_t found = 0;
  for (std::size_t i = 0; i < image.rgb.size(); i += 3)
    found += Colour{image.rgb[i], image.rgb[i + 1], image.rgb[i + 2]} == colour ? 1 : 0;
  return found;
}

double random(std::uint64_t i) { return test::uniform(5, i); }

/// Pictures with labels of four classes, most of which were found.
std::vector<Judged> judged() {
  std::vector<Judged> pictures;
  std::uint64_t n = 0;
  for (int i = 0; i < 40; ++i) {
    Judged& picture = pictures.emplace_back();
    for (int k = 0; k < 5; ++k) {
      const auto x = static_cast<float>(random(n++) * 500), y = static_cast<float>(random(n++) * 400);
      const int cls = static_cast<int>(random(n++) * 4);
      picture.truth.push_back({.cls = cls, .x1 = x, .y1 = y, .x2 = x + 80, .y2 = y + 60});
      const auto off = static_cast<float>(random(n++) * 25);
      const bool wrong = random(n++) < 0.2;
      picture.detections.push_back(
          {x + off, y, x + 80 + off, y + 60, static_cast<float>(random(n++)), wrong ? (cls + 1) % 4 : cls});
    }
  }
  return pictures;
}

std::string results_csv(int epochs) {
  std::string text =
      "epoch, train/box_loss, train/obj_loss, train/cls_loss, metrics/precision, metrics/recall, metrics/mAP_0.5, "
      "metrics/mAP_0.5:0.95, val/box_loss, val/obj_loss, val/cls_loss, x/lr0, x/lr1, x/lr2\n";
  for (int e = 0; e < epochs; ++e) {
    text += std::to_string(e);
    for (int c = 1; c < 14; ++c) {
      const double t = static_cast<double>(e) / 20, noise = 0.02 * random(static_cast<std::uint64_t>(e * 14 + c));
      text += ", " + std::to_string(c >= 4 && c <= 7 ? 0.9 * (1 - std::exp(-t)) + noise : 0.1 * std::exp(-t) + noise);
    }
    text += "\r\n";
  }
  return text;
}

}  // namespace

TEST_CASE("plot: curves of the metrics") {
  const Metrics metrics = yolov5_metrics(judged());
  REQUIRE(metrics.classes.size() == 4);
  const std::pair<MetricCurve, const char*> curves[] = {{MetricCurve::f1, "F1_curve.png"},
                                                        {MetricCurve::precision, "P_curve.png"},
                                                        {MetricCurve::recall, "R_curve.png"},
                                                        {MetricCurve::precision_recall, "PR_curve.png"}};
  for (const auto& [curve, name] : curves) {
    const Image image = plot_metric(metrics, curve, names);
    keep(name, image);
    CHECK(image.width == 1200);
    CHECK(count(image, {32, 36, 42}) > 3000);  // the mean, a thick line, and text
    CHECK(count(image, {0, 128, 96}) > 100);   // the third class
  }
  CHECK_NOTHROW((void)plot_metric({}, MetricCurve::f1, {}));
}

TEST_CASE("plot: a chart has its line where the numbers are, and gaps where there are none") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Chart chart{.title = "t",
                    .x_label = "x",
                    .y_label = "y",
                    .series = {{"", {0, 1, 2, 3, 4}, {1, 1, nan, 1, 1}}},
                    .x_range = Range{0, 4},
                    .y_range = Range{0, 2}};
  const Image image = plot_chart(chart, 600, 400);
  keep("gap.png", image);
  index_t top = image.height, bottom = 0;
  std::vector<bool> columns(static_cast<std::size_t>(image.width), false);
  for (index_t y = 0; y < image.height; ++y)
    for (index_t x = 0; x < image.width; ++x) {
      const std::uint8_t* p = image.rgb.data() + (y * image.width + x) * 3;
      if (!(Colour{p[0], p[1], p[2]} == Colour{31, 95, 178})) continue;
      top = std::min(top, y);
      bottom = std::max(bottom, y);
      columns[static_cast<std::size_t>(x)] = true;
    }
  CHECK(bottom - top <= 3);  // one level line
  const auto first = std::find(columns.begin(), columns.end(), true);
  const auto last = std::find(columns.rbegin(), columns.rend(), true).base();
  CHECK(last - first > 400);
  const auto hole = std::count(first, last, false);
  CHECK(std::abs(static_cast<double>(hole) / static_cast<double>(last - first) - 0.5) < 0.05);
  CHECK_THROWS_AS((void)plot_chart(chart, 10, 10), ShapeError);
  CHECK_THROWS_AS(
      (void)plot_chart(
          {.title = "", .x_label = "", .y_label = "", .series = {{"a", {1, 2}, {1}}}, .x_range = {}, .y_range = {}}),
      ShapeError);
}

TEST_CASE("plot: results.csv") {
  const Image image = plot_results(results_csv(60), "results.csv");
  keep("results.png", image);
  CHECK(image.width == 2400);
  CHECK(count(image, {214, 116, 22}) > 5000);  // ten smoothed lines of some 350 pixels, two whole ones high
  CHECK_NOTHROW((void)plot_results(results_csv(1), "results.csv"));
  const std::string good = results_csv(2);
  const auto message = [](const std::string& text) {
    try {
      (void)plot_results(text, "r.csv");
    } catch (const FormatError& problem) {
      return std::string(problem.what());
    }
    return std::string();
  };
  CHECK(message("") == "r.csv:1: 1 columns, wanted the 14 of results.csv");
  CHECK(message(good.substr(0, good.find('\n'))) == "r.csv:1: no row of results");
  CHECK(message(good + "1, 2\n") == "r.csv:4: 2 columns, wanted the 14 of results.csv");
  CHECK(message(good + "x, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14\n") == "r.csv:4: 'x' is no number");
  CHECK(message(good + "\n2, nan, inf, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 1e999\n").empty());
}

TEST_CASE("plot: confusion matrix") {
  ConfusionMatrix matrix(4);
  for (const Judged& picture : judged()) matrix.add(picture);
  const Image image = plot_confusion(matrix, names);
  keep("confusion_matrix.png", image);
  CHECK(image.width == image.height);
  ConfusionMatrix many(80), most(65535);
  many.add({.detections = {{0, 0, 40, 40, 0.9F, 79}}, .truth = {{.cls = 79, .x1 = 0, .y1 = 0, .x2 = 40, .y2 = 40}}});
  const Image large = plot_confusion(many, {});
  keep("confusion_matrix_80.png", large);
  CHECK(count(large, {15, 47, 178}) > 300);  // the one full cell
  CHECK_NOTHROW((void)plot_confusion(most, {}));
}

TEST_CASE("plot: labels") {
  std::vector<PlottedLabel> labels;
  for (std::uint64_t i = 0; i < 400; ++i) {
    const auto part = [i](std::uint64_t k) { return static_cast<float>(random(i * 7 + k)); };
    labels.push_back({static_cast<int>(part(0) * part(6) * 4), (part(1) + part(2)) / 2, (part(2) + part(3)) / 2,
                      part(4) * part(4), part(4) * part(5)});
  }
  labels.push_back({9, std::numeric_limits<float>::quiet_NaN(), 2, -1, std::numeric_limits<float>::infinity()});
  const Image image = plot_labels(labels, names);
  keep("labels.jpg", image);
  CHECK(count(image, class_colour(0)) > 1000);
  CHECK_NOTHROW((void)plot_labels({}, {}));
}

TEST_CASE("plot: labels' correlogram") {
  std::vector<PlottedLabel> labels;
  for (std::uint64_t i = 0; i < 600; ++i) {
    const auto x = static_cast<float>(random(2 * i)), w = static_cast<float>(random(2 * i + 1) * 0.5);
    labels.push_back({0, x, 1 - x, w, 2 * w});
  }
  labels.push_back({9, std::numeric_limits<float>::quiet_NaN(), 2, -1, std::numeric_limits<float>::infinity()});
  const Image image = plot_labels_correlogram(labels);
  keep("labels_correlogram.jpg", image);
  REQUIRE(image.width == image.height);
  const index_t side = image.width / 4;
  // How many pixels of a panel have colours (all texts and frames are nearly grey).
  const auto coloured = [&](index_t row, index_t column) {
    index_t found = 0;
    for (index_t y = row * side; y < (row + 1) * side; ++y)
      for (index_t x = column * side; x < (column + 1) * side; ++x) {
        const std::uint8_t* const pixel = image.rgb.data() + (y * image.width + x) * 3;
        found += pixel[2] - pixel[0] > 30 ? 1 : 0;
      }
    return found;
  };
  for (index_t row = 0; row < 4; ++row)
    for (index_t column = 0; column < 4; ++column) {
      CAPTURE(row);
      CAPTURE(column);
      CHECK((coloured(row, column) > 0) == (column <= row));
    }
  // y over x and height over width are lines, width over x is an area.
  CHECK(5 * coloured(1, 0) < coloured(2, 0));
  CHECK(5 * coloured(3, 2) < coloured(2, 0));
  CHECK_NOTHROW((void)plot_labels_correlogram({}));
}

TEST_CASE("plot: mosaic") {
  std::vector<Tile> tiles;
  for (int i = 0; i < 18; ++i)
    tiles.push_back({Image(640, i % 2 == 0 ? 640 : 480, {90, 110, 130}),
                     "picture" + std::to_string(i) + ".jpg",
                     {{100, 100, 300, 250, 0.87F, i % 4}, {350, 200, 600, 420, 0.4F, 7}}});
  const Image image = plot_mosaic(tiles, names, true);
  keep("mosaic.jpg", image);
  CHECK(image.width == 1920);
  CHECK(image.height == 1920);
  CHECK(count(image, class_colour(3)) > 1000);
  const Image one = plot_mosaic(std::vector<Tile>{tiles.front()}, names, false);
  keep("mosaic1.jpg", one);
  CHECK(one.width == 640);
  CHECK_THROWS_AS((void)plot_mosaic({}, names, true), ShapeError);
}
