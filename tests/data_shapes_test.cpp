// The data set of drawn shapes: outlines, pictures that are the same everywhere, and what lies on the disk.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <set>

#include "data_case.hpp"
#include "slimneck/data.hpp"
#include "slimneck/error.hpp"
#include "train/shape_mask.hpp"

using namespace slimneck;
using namespace slimneck::train;
namespace fs = std::filesystem;

namespace {

/// FNV-1a of all levels.
std::uint64_t print_of(const Image& image) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const std::uint8_t level : image.rgb) hash = (hash ^ level) * 0x100000001B3U;
  return hash;
}

ShapesOptions sized(index_t img, std::uint64_t seed = 0) {
  ShapesOptions options;
  options.img = img;
  options.seed = seed;
  return options;
}

double area_of(const Mask& mask) { return std::accumulate(mask.cover.begin(), mask.cover.end(), 0.0) / Mask::full; }

/// Area of the corners' polygon, in pixels.
double polygon_area(const std::vector<Point>& corners) {
  double sum = 0;
  for (std::size_t i = 0; i < corners.size(); ++i) {
    const Point &a = corners[i], &b = corners[(i + 1) % corners.size()];
    sum += static_cast<double>(a.x * b.y - b.x * a.y);
  }
  return std::abs(sum) / 2 / (subpixels * subpixels);
}

}  // namespace

TEST_SUITE_BEGIN("data_shapes");

TEST_CASE("masks: rectangles are exact, partly covered pixels count in parts") {
  // 3.25 to 7.5 pixels across, 2 to 4.5 down.
  const Shape2d shape{{80, 50}, {}, {{52, 32}, {120, 32}, {120, 72}, {52, 72}}};
  const Mask mask = mask_of(shape);
  CHECK(area_of(mask) == 4.25 * 2.5);
  CHECK(mask.at(3, 2) == 48);
  CHECK(mask.at(7, 3) == 32);
  CHECK(mask.at(5, 3) == 64);
  CHECK(mask.at(5, 4) == 32);
  CHECK(mask.at(3, 4) == 24);
}

TEST_CASE("masks: every class covers its area, in every turn") {
  Random random(1, Purpose::shapes, 0, 0);
  for (int cls = 0; cls < static_cast<int>(shape_names().size()); ++cls)
    for (int i = 0; i < 20; ++i) {
      const index_t radius = 16 * (8 + random.below(60));
      const Point centre{random.below(4000) - 1000, random.below(4000) - 1000};
      const Shape2d shape = class_shape(cls, centre, radius, draw_turn(random));
      double want = polygon_area(shape.corners), sign = 1, around = 0;
      for (const index_t r : shape.circles) {
        const double pixels = static_cast<double>(r) / subpixels;
        want += sign * std::numbers::pi * pixels * pixels;
        sign = -sign;
        around += 8 * pixels;
      }
      for (std::size_t k = 0; k < shape.corners.size(); ++k) {
        const Point &a = shape.corners[k], &b = shape.corners[(k + 1) % shape.corners.size()];
        around += static_cast<double>(std::abs(a.x - b.x) + std::abs(a.y - b.y)) / subpixels;
      }
      // Every line ends a subpixel early or late at most; lines stand for a quarter of a pixel.
      CHECK(std::abs(area_of(mask_of(shape)) - want) <= around / subpixels + 1);
      const double reach = static_cast<double>(radius) * 1.001 + 2;
      for (const Point& p : shape.corners)
        CHECK(std::hypot(static_cast<double>(p.x - centre.x), static_cast<double>(p.y - centre.y)) <= reach);
    }
}

TEST_CASE("turns keep lengths") {
  Random random(2, Purpose::shapes, 0, 0);
  for (int i = 0; i < 1000; ++i) {
    const Turn turn = draw_turn(random);
    CHECK(std::abs(std::hypot(static_cast<double>(turn.cosine), static_cast<double>(turn.sine)) - 16384) < 2);
  }
}

TEST_CASE("pictures are the same on every machine") {
  struct Known {
    index_t img, index;
    std::uint64_t seed, print;
    std::size_t boxes;
  };
  for (const Known& known : std::vector<Known>{{64, 0, 0U, 0xB141F936D418F6BDU, 2},
                                               {64, 1, 7U, 0x53BEAEFCF8F01CFCU, 9},
                                               {320, 2, 0U, 0x2F50E1C7C8A8498AU, 4},
                                               {320, 11, 0U, 0x5851406D2BFD6A65U, 4},
                                               {33, 5, 1U, 0x0D82CE7F28A8B9FEU, 3},
                                               {640, 3, 123456789012345U, 0x65DA43F0130DBCCDU, 8}}) {
    std::vector<BoxLabel> boxes;
    const Image image = draw_shapes(sized(known.img, known.seed), known.index, boxes);
    CHECK(print_of(image) == known.print);
    CHECK(boxes.size() == known.boxes);
  }
}

TEST_CASE("labels lie in the picture; every class and backgrounds occur") {
  std::vector<int> counts(shape_names().size());
  int backgrounds = 0;
  for (index_t i = 0; i < 200; ++i) {
    std::vector<BoxLabel> boxes;
    const Image image = draw_shapes(sized(64, 3), i, boxes);
    CHECK(image.width == 64);
    CHECK(image.height == 64);
    backgrounds += boxes.empty();
    for (const BoxLabel& box : boxes) {
      ++counts.at(static_cast<std::size_t>(box.cls));
      for (const float end : {box.x - box.w / 2, box.x + box.w / 2, box.y - box.h / 2, box.y + box.h / 2})
        CHECK(end * 64 == std::nearbyint(end * 64));
      CHECK((box.x - box.w / 2 >= 0 && box.x + box.w / 2 <= 1 && box.y - box.h / 2 >= 0 && box.y + box.h / 2 <= 1));
      CHECK(box.w * 64 >= 2);
      CHECK(box.h * 64 >= 2);
    }
  }
  CHECK(backgrounds > 0);
  CHECK(backgrounds < 60);
  CHECK(*std::min_element(counts.begin(), counts.end()) >= 30);
}

TEST_CASE("on the disk: splits, labels to the last bit, nothing overwritten") {
  const test::TemporaryFolder folder("shapes");
  ShapesOptions options = sized(64, 9);
  options.images = 24;
  make_shapes(folder / "shapes", options);
  const DataConfig config = load_data(folder / "shapes" / "data.yaml");
  CHECK(config.names == shape_names());
  index_t index = 0;
  for (const auto& [split, count] : {std::pair{Split::train, 20}, {Split::val, 2}, {Split::test, 2}}) {
    ScanOptions check;
    check.check = true;
    const DataSet data = scan_data(config, split, check);
    CHECK(data.problems.empty());
    REQUIRE(data.samples.size() == static_cast<std::size_t>(count));
    for (const Sample& sample : data.samples) {
      std::vector<BoxLabel> boxes;
      const Image image = draw_shapes(options, index++, boxes);
      CHECK(read_image(sample.image).rgb == image.rgb);
      CHECK(sample.boxes == boxes);
    }
  }
  CHECK_THROWS_WITH_AS(make_shapes(folder / "shapes", options), doctest::Contains("not an empty folder"), IoError);
  CHECK_THROWS_AS(make_shapes(folder / "shapes" / "data.yaml", options), IoError);
  fs::create_directory(folder / "empty");
  options.images = 3;
  make_shapes(folder / "empty", options);
  CHECK(scan_data(load_data(folder / "empty" / "data.yaml"), Split::train).samples.size() == 1);
}

TEST_CASE("options out of range") {
  const test::TemporaryFolder folder("shapes_options");
  std::vector<BoxLabel> boxes;
  CHECK_THROWS_AS(draw_shapes(sized(31), 0, boxes), ShapeError);
  CHECK_THROWS_AS(draw_shapes(sized(4097), 0, boxes), ShapeError);
  ShapesOptions options;
  options.images = 2;
  CHECK_THROWS_AS(make_shapes(folder / "a", options), ShapeError);
  CHECK_FALSE(fs::exists(folder / "a"));
}

TEST_SUITE_END();
