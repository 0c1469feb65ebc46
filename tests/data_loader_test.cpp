// Batches without augmentation: shapes, geometry and labels by YOLOv5's rules, whoever makes them, and what happens
// when pictures go away.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "data_case.hpp"
#include "slimneck/data.hpp"
#include "slimneck/error.hpp"

using namespace slimneck;
namespace fs = std::filesystem;

namespace {

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

LoaderOptions small(index_t batch) {
  LoaderOptions options;
  options.batch = batch;
  options.img = 64;
  return options;
}

}  // namespace

TEST_SUITE_BEGIN("data_loader");

TEST_CASE("square batches: scaled, padded, labels and geometry by YOLOv5's rules") {
  test::DataFolder folder("loader_square");
  folder.add(100, 50, "0 0.5 0.5 0.5 0.5\n");
  folder.add(32, 24, "1 0.25 0.5 0.5 1.0\n2 0.9 0.9 0.2 0.2\n");
  folder.add(64, 64, nullptr);
  const DataSet data = folder.scan();
  Loader loader(data, small(2));
  CHECK(loader.batches() == 2);
  CHECK(loader.shape(1) == std::array<index_t, 2>{64, 64});
  const std::vector<Batch> batches = test::epoch_of(loader, 0);
  REQUIRE(batches.size() == 2);
  CHECK(batches[0].indices == std::vector<index_t>{0, 1});
  CHECK(batches[1].indices == std::vector<index_t>{2});
  CHECK(batches[1].targets.empty());

  // 100x50 becomes 64x32 by areas, 32x24 becomes 64x48 by interpolation, 64x64 stays.
  const auto pixels = [&](int number) { return read_image(folder.picture(number)); };
  const auto on_ground = [](const Image& scaled) {
    return letterbox(scaled, letterbox_geometry(scaled.height, scaled.width, 64, 64, false, false));
  };
  CHECK(batches[0].images[0].rgb == on_ground(resize_area(pixels(0), 64, 32)).rgb);
  CHECK(batches[0].images[1].rgb == on_ground(resize_bilinear(pixels(1), 64, 48)).rgb);
  CHECK(batches[1].images[0].rgb == pixels(2).rgb);

  REQUIRE(batches[0].targets.size() == 3);
  CHECK(batches[0].targets[0] == BoxTarget{0, 0, 0.5F, 0.5F, 0.5F, 0.25F});
  CHECK(batches[0].targets[1] == BoxTarget{1, 1, 0.25F, 0.5F, 0.5F, 0.75F});
  // The right edge is cut a thousandth of a pixel early.
  const BoxTarget& edge = batches[0].targets[2];
  CHECK(std::abs(static_cast<double>(edge.x + edge.w / 2) - (1 - 1e-3 / 64)) < 1e-6);

  const Letterbox& geometry = batches[0].geometry[0];
  CHECK(geometry.gain == 0.64);
  CHECK(geometry.pad_h == 16);
  CHECK(geometry.pad_w == 0);
  CHECK(geometry.resized_w == 64);
  CHECK(geometry.resized_h == 32);
}

TEST_CASE("scaled extents are rounded down and the gain is the height's") {
  test::DataFolder folder("loader_rounding");
  folder.add(97, 60, "0 0.5 0.5 0.5 0.5\n");  // 60 * 64 / 97 = 39.59
  const DataSet data = folder.scan();
  Loader loader(data, small(1));
  const Letterbox geometry = test::epoch_of(loader, 0).at(0).geometry.at(0);
  CHECK(geometry.resized_h == 39);
  CHECK(geometry.gain == 39.0 / 60);
  CHECK(geometry.pad_h == 12.5);
  CHECK(geometry.top == 12);
  CHECK(geometry.bottom == 13);
}

TEST_CASE("rectangular batches: by aspect ratio, each in its own shape") {
  test::DataFolder folder("loader_rect");
  for (const auto& [width, height] :
       {std::array<index_t, 2>{64, 64}, {128, 32}, {32, 128}, {64, 32}, {64, 20}, {30, 64}})
    folder.add(width, height, "0 0.5 0.5 0.5 0.5\n");
  const DataSet data = folder.scan();
  LoaderOptions options = small(2);
  options.img = 128;
  options.rect = true;
  SUBCASE("without padding") {
    Loader loader(data, options);
    CHECK(loader.shape(0) == std::array<index_t, 2>{64, 128});   // aspects 1/4 and 20/64: 40 rows
    CHECK(loader.shape(1) == std::array<index_t, 2>{128, 128});  // 1/2 and 1
    CHECK(loader.shape(2) == std::array<index_t, 2>{128, 64});   // 64/30 and 4: 60 columns
    const std::vector<Batch> batches = test::epoch_of(loader, 0);
    REQUIRE(batches.size() == 3);
    CHECK(batches[0].indices == std::vector<index_t>{1, 4});
    CHECK(batches[1].indices == std::vector<index_t>{3, 0});
    CHECK(batches[2].indices == std::vector<index_t>{5, 2});
    for (index_t b = 0; b < 3; ++b)
      for (const Image& image : batches[static_cast<std::size_t>(b)].images)
        CHECK(std::array<index_t, 2>{image.height, image.width} == loader.shape(b));
  }
  SUBCASE("with half a stride") {
    options.pad = 0.5;
    Loader loader(data, options);
    CHECK(loader.shape(0) == std::array<index_t, 2>{64, 160});
    CHECK(loader.shape(1) == std::array<index_t, 2>{160, 160});
    CHECK(loader.shape(2) == std::array<index_t, 2>{160, 96});
  }
}

TEST_CASE("workers and cache change nothing") {
  test::DataFolder folder("loader_workers");
  test::add_various(folder, 23);
  const DataSet data = folder.scan();
  for (const bool rect : {false, true}) {
    LoaderOptions options = small(4);
    options.rect = rect;
    options.shuffle = !rect;
    options.seed = 5;
    Loader alone(data, options);
    const std::vector<Batch> first = test::epoch_of(alone, 0), second = test::epoch_of(alone, 1);
    CHECK((first[0].indices == second[0].indices) == rect);
    for (const int workers : {1, 4})
      for (const std::uint64_t cache : {std::uint64_t{0}, std::uint64_t{60000}, std::uint64_t{1} << 30}) {
        options.workers = workers;
        options.cache_bytes = cache;
        Loader loader(data, options);
        test::check_equal(test::epoch_of(loader, 1), second);
        test::check_equal(test::epoch_of(loader, 0), first);
        CHECK(loader.cache_message().empty() == (cache != 60000));
        CHECK(loader.cached() == (cache == 0 ? 0 : cache == 60000 ? loader.cached() : 23));
      }
  }
}

TEST_CASE("an epoch that is left early, and one that was never begun") {
  test::DataFolder folder("loader_early");
  test::add_various(folder, 12);
  const DataSet data = folder.scan();
  LoaderOptions options = small(2);
  options.workers = 2;
  Loader loader(data, options);
  Batch batch;
  CHECK_THROWS_AS(loader.next(batch), ShapeError);
  loader.begin_epoch(0);
  CHECK(loader.next(batch));
  CHECK(test::epoch_of(loader, 1).size() == 6);
  CHECK_FALSE(loader.next(batch));
  CHECK(batch.images.empty());
  loader.begin_epoch(2);  // its workers are busy when the loader goes
}

TEST_CASE("pictures that go away while the loader lives are left out and named once") {
  test::DataFolder folder("loader_gone");
  test::add_various(folder, 7);
  const DataSet data = folder.scan();
  for (const int workers : {0, 3}) {
    LoaderOptions options = small(2);
    options.workers = workers;
    Loader loader(data, options);
    CHECK(test::epoch_of(loader, 0).size() == 4);
    fs::rename(folder.picture(2), folder / "hidden");
    fs::rename(folder.picture(6), folder / "hidden too");
    const std::vector<Batch> batches = test::epoch_of(loader, 1);
    REQUIRE(batches.size() == 3);  // the last one held the second of them alone
    CHECK(batches[1].indices == std::vector<index_t>{3});
    CHECK(batches[1].geometry.size() == 1);
    REQUIRE(batches[1].skipped.size() == 1);
    CHECK(contains(batches[1].skipped[0], folder.picture(2).string() + ": "));
    CHECK(loader.skipped() == 2);
    CHECK(test::epoch_of(loader, 2)[1].skipped.empty());
    fs::rename(folder / "hidden", folder.picture(2));
    fs::rename(folder / "hidden too", folder.picture(6));
  }
}

TEST_CASE("a picture that became another one, and one that is damaged") {
  test::DataFolder folder("loader_changed");
  test::add_various(folder, 4);
  const DataSet data = folder.scan();
  write_image(folder.picture(1), Image(20, 20));
  test::write_bytes(folder.picture(3), "\x89PNG\r\n\x1a\nand no more");
  Loader loader(data, small(4));
  const std::vector<Batch> batches = test::epoch_of(loader, 0);
  REQUIRE(batches.size() == 1);
  CHECK(batches[0].indices == std::vector<index_t>{0, 2});
  REQUIRE(batches[0].skipped.size() == 2);
  CHECK(contains(batches[0].skipped[0], "1.png: 20x20 pixels, 57x53 when the data set was scanned"));
  CHECK(contains(batches[0].skipped[1], "3.png: "));
}

TEST_CASE("when nothing can be read that is an error") {
  test::DataFolder folder("loader_nothing");
  test::add_various(folder, 5);
  const DataSet data = folder.scan();
  fs::remove_all(folder / "images");
  for (const int workers : {0, 2}) {
    LoaderOptions options = small(2);
    options.workers = workers;
    Loader loader(data, options);
    loader.begin_epoch(0);
    Batch batch;
    CHECK_THROWS_WITH_AS(loader.next(batch), doctest::Contains("none of its 5 pictures can be read"), FormatError);
    CHECK_THROWS_AS(loader.next(batch), FormatError);
  }
}

TEST_CASE("image weights draw what has weight") {
  test::DataFolder folder("loader_weights");
  test::add_various(folder, 6);
  const DataSet data = folder.scan();
  Loader loader(data, small(6));
  loader.set_image_weights(std::vector<double>{0, 1, 0, 3, 0, 0});
  index_t heavy = 0;
  for (index_t epoch = 0; epoch < 50; ++epoch) {
    const std::vector<Batch> batches = test::epoch_of(loader, epoch);
    for (const index_t index : batches.at(0).indices) {
      CHECK((index == 1 || index == 3));
      heavy += index == 3;
    }
  }
  // 300 draws at 3/4: mean 225, standard deviation 7.5; five of them are not left by chance.
  CHECK(heavy > 187);
  CHECK(heavy < 263);
  CHECK_THROWS_AS(loader.set_image_weights(std::vector<double>{1, 1}), ShapeError);
  CHECK_THROWS_AS(loader.set_image_weights(std::vector<double>(6, 0)), ShapeError);
  CHECK_THROWS_AS(loader.set_image_weights(std::vector<double>{1, 1, 1, 1, 1, -1}), ShapeError);
  loader.set_image_weights({});
  CHECK(test::epoch_of(loader, 0).at(0).indices == std::vector<index_t>{0, 1, 2, 3, 4, 5});
}

TEST_CASE("options out of range") {
  test::DataFolder folder("loader_options");
  test::add_various(folder, 2);
  const DataSet data = folder.scan();
  const auto refused = [&](auto change) {
    LoaderOptions options = small(2);
    change(options);
    CHECK_THROWS_AS(Loader(data, options), ShapeError);
  };
  refused([](LoaderOptions& o) { o.batch = 0; });
  refused([](LoaderOptions& o) { o.img = 65; });
  refused([](LoaderOptions& o) { o.img = 8192; });
  refused([](LoaderOptions& o) { o.img = 0; });
  refused([](LoaderOptions& o) { o.stride = 0; });
  refused([](LoaderOptions& o) { o.pad = -1; });
  refused([](LoaderOptions& o) { o.pad = std::nan(""); });
  refused([](LoaderOptions& o) { o.workers = -1; });
  refused([](LoaderOptions& o) { o.rect = o.shuffle = true; });
  refused([](LoaderOptions& o) { o.multi_scale = true; });
  DataSet none = data;
  none.samples.clear();
  CHECK_THROWS_AS(Loader(none, small(2)), FormatError);
}

TEST_SUITE_END();
