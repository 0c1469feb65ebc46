// Augmentation: its parts against the golden geometry and OpenCV's pictures, and whole batches of it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data_case.hpp"
#include "shared_data.hpp"
#include "slimneck/data.hpp"
#include "slimneck/error.hpp"
#include "slimneck/weights.hpp"
#include "train/hsv.hpp"
#include "train/mosaic.hpp"
#include "train/random.hpp"
#include "train/warp.hpp"

using namespace slimneck;
using namespace slimneck::train;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

json geometry() {
  std::ifstream file(test::test_data("post/geometry.json"));
  REQUIRE(file);
  return json::parse(file);
}

/// A picture of OpenCV, whose channels are blue, green, red.
Image picture_of(const SafeTensors& file, const char* name) {
  const auto* entry = file.find(name);
  REQUIRE(entry != nullptr);
  Image image(entry->dims[1], entry->dims[0]);
  std::memcpy(image.rgb.data(), entry->bytes.data(), image.rgb.size());
  return image;
}

Matrix3 matrix_of(const SafeTensors& file, const char* name) {
  Matrix3 matrix;
  const auto* entry = file.find(name);
  REQUIRE(entry != nullptr);
  REQUIRE(entry->bytes.size() == sizeof(matrix));
  std::memcpy(&matrix, entry->bytes.data(), sizeof(matrix));
  return matrix;
}

SafeTensors opencv() { return SafeTensors::read(test::test_data("post/cv2_images.safetensors")); }

std::array<index_t, 4> corners(const PixelRect& rect) { return {rect.x1, rect.y1, rect.x2, rect.y2}; }

/// Largest distance of two levels.
int distance(const Image& a, const Image& b) {
  REQUIRE(a.rgb.size() == b.rgb.size());
  int worst = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) worst = std::max(worst, std::abs(int{a.rgb[i]} - int{b.rgb[i]}));
  return worst;
}

LoaderOptions augmented(index_t batch) {
  LoaderOptions options;
  options.batch = batch;
  options.img = 64;
  options.augment = options.shuffle = true;
  options.seed = 3;
  options.hyp.degrees = 10;
  options.hyp.shear = 5;
  options.hyp.perspective = 0.0005;
  options.hyp.flipud = 0.3;
  options.hyp.mixup = 0.4;
  options.hyp.mosaic = 0.7;
  return options;
}

/// Nothing but what the test asks for.
Hyp still() {
  Hyp hyp;
  hyp.hsv_h = hyp.hsv_s = hyp.hsv_v = hyp.translate = hyp.scale = hyp.fliplr = hyp.mosaic = 0;
  return hyp;
}

}  // namespace

TEST_SUITE_BEGIN("data_augment");

TEST_CASE("golden: matrices, and what becomes of boxes") {
  const json golden = geometry()["random_perspective"];
  std::size_t count = 0;
  for (const json& one : golden["cases"]) {
    const std::vector<double> a = one["args"];
    const Extents from{static_cast<index_t>(a[1]), static_cast<index_t>(a[0])};
    const Extents to{static_cast<index_t>(a[3]), static_cast<index_t>(a[2])};
    WarpNumbers numbers{a[4], a[5], a[6], a[7], a[8], a[9]};
    if (a.size() > 10) {
      numbers.tilt_x = a[10];
      numbers.tilt_y = a[11];
    }
    const Matrix3 matrix = warp_matrix(numbers, from, to);
    const double size = static_cast<double>(std::max({from.width, from.height, to.width, to.height}));
    const double bound = 64 * size * 0x1p-52;  // about so many roundings of numbers up to `size`
    for (std::size_t i = 0; i < 3; ++i)
      for (std::size_t j = 0; j < 3; ++j) CHECK(std::abs(matrix[i][j] - one["M"][i][j].get<double>()) <= bound);
    for (std::size_t i = 0; i < golden["boxes"].size(); ++i) {
      const json& b = golden["boxes"][i];
      const WarpedBox got = warp_box({0, b[0], b[1], b[2], b[3]}, matrix, numbers.scale, to);
      CHECK(got.keep == one["keep"][i].get<bool>());
      const std::array<double, 4> box{got.box.x1, got.box.y1, got.box.x2, got.box.y2};
      for (std::size_t k = 0; k < 4; ++k) CHECK(std::abs(box[k] - one["boxes"][i][k].get<double>()) <= 8 * bound);
      ++count;
    }
  }
  CHECK(count == 20);
}

TEST_CASE("golden: tiles of mosaics") {
  std::size_t count = 0;
  const json golden = geometry();
  for (const json& one : golden["mosaic"])
    for (int corner = 0; corner < 4; ++corner) {
      const auto i = static_cast<std::size_t>(corner);
      const Extents picture{one["sizes"][i][1], one["sizes"][i][0]};
      const MosaicTile tile = mosaic_tile(corner, 2 * one["s"].get<index_t>(), one["xc"], one["yc"], picture);
      const json& want = one["tiles"][i];
      CHECK(corners(tile.canvas) == want["canvas"].get<std::array<index_t, 4>>());
      CHECK(corners(tile.source) == want["source"].get<std::array<index_t, 4>>());
      CHECK(std::array<index_t, 2>{tile.left, tile.top} == want["pad"].get<std::array<index_t, 2>>());
      ++count;
    }
  CHECK(count == 12);
}

TEST_CASE("golden: letterboxes") {
  const json golden = geometry();
  for (const json& one : golden["letterbox"]) {
    const Letterbox box =
        letterbox_geometry(one["h"], one["w"], one["new"][0], one["new"][1], one["auto"], one["scaleup"]);
    CHECK(box.gain == one["ratio"].get<double>());
    CHECK(std::array<index_t, 2>{box.resized_w, box.resized_h} == one["resized_wh"].get<std::array<index_t, 2>>());
    CHECK(std::array<double, 2>{box.pad_w, box.pad_h} == one["pad_dwdh"].get<std::array<double, 2>>());
    CHECK(std::array<index_t, 2>{box.out_h(), box.out_w()} == one["out_hw"].get<std::array<index_t, 2>>());
    CHECK(box.top == one["top"].get<index_t>());
    CHECK(box.left == one["left"].get<index_t>());
  }
  CHECK(golden["letterbox"].size() == 10);
}

TEST_CASE("golden: colour tables") {
  const json golden = geometry();
  for (const json& one : golden["hsv_lut"]) {
    const HsvTables tables = hsv_tables(one["gains"]);
    CHECK(tables.h == one["hue"].get<std::array<std::uint8_t, 256>>());
    CHECK(tables.s == one["sat"].get<std::array<std::uint8_t, 256>>());
    CHECK(tables.v == one["val"].get<std::array<std::uint8_t, 256>>());
  }
  CHECK(golden["hsv_lut"].size() == 3);
}

TEST_CASE("golden: OpenCV's colours and warps") {
  const SafeTensors file = opencv();
  const Image bgr = picture_of(file, "bgr"), hsv = picture_of(file, "hsv"), back = picture_of(file, "hsv_back");
  int worst = 0;
  for (std::size_t i = 0; i < bgr.rgb.size(); i += 3) {
    const Hsv want{hsv.rgb[i], hsv.rgb[i + 1], hsv.rgb[i + 2]};
    CHECK(to_hsv({bgr.rgb[i + 2], bgr.rgb[i + 1], bgr.rgb[i]}) == want);
    const Colour rgb = to_rgb(want);
    worst = std::max({worst, std::abs(int{rgb.r} - int{back.rgb[i + 2]}), std::abs(int{rgb.g} - int{back.rgb[i + 1]}),
                      std::abs(int{rgb.b} - int{back.rgb[i]})});
  }
  CHECK(worst == 0);
  const Extents same{bgr.width, bgr.height};
  CHECK(distance(warp(bgr, matrix_of(file, "affine_M"), same), picture_of(file, "warp_affine")) == 0);
  CHECK(distance(warp(bgr, matrix_of(file, "persp_M"), same), picture_of(file, "warp_persp")) == 0);
}

TEST_CASE("warps: the identity changes nothing, what is outside is grey, a flat matrix is no accident") {
  const Image image = test::noise(37, 21, 1);
  const Matrix3 identity = warp_matrix({}, {37, 21}, {37, 21});
  CHECK(warp(image, identity, {37, 21}).rgb == image.rgb);
  WarpNumbers away;
  away.x = 40;
  const Image gone = warp(image, warp_matrix(away, {37, 21}, {16, 8}), {16, 8});
  CHECK(std::all_of(gone.rgb.begin(), gone.rgb.end(), [](std::uint8_t level) { return level == 114; }));
  CHECK(warp(image, Matrix3{}, {4, 4}).rgb.size() == 48);
  Matrix3 huge{};
  huge[0][0] = huge[1][1] = 1e-300;
  huge[2][2] = 1;
  CHECK(warp(image, huge, {4, 4}).rgb.size() == 48);
  CHECK_FALSE(warp_box({0, 1, 1, 9, 9}, Matrix3{}, 1, {16, 16}).keep);
}

TEST_CASE("colours: there and back within what saturation and hue can tell apart") {
  for (int r = 0; r < 256; r += 5)
    for (int g = 0; g < 256; g += 5)
      for (int b = 0; b < 256; b += 5) {
        const Colour colour{static_cast<std::uint8_t>(r), static_cast<std::uint8_t>(g), static_cast<std::uint8_t>(b)};
        const Hsv hsv = to_hsv(colour);
        const Colour back = to_rgb(hsv);
        // Half a step of the saturation is half a level. Half a step of the hue, 1 degree, is a 60th of the range.
        const double range = std::max({r, g, b}) - std::min({r, g, b}), bound = 0.5 + 0.5 + 0.5 + range / 60;
        const int worst = std::max({std::abs(r - back.r), std::abs(g - back.g), std::abs(b - back.b)});
        if (hsv.h > 179 || worst > bound) FAIL_CHECK(r << " " << g << " " << b << " is " << worst << " off");
      }
}

TEST_CASE("mirrors and mixtures") {
  Image image = test::noise(7, 5, 2);
  const Image before = image;
  mirror_x(image);
  CHECK(image.rgb[0] == before.rgb[6 * 3]);
  CHECK(image.rgb[3 * 3 + 1] == before.rgb[3 * 3 + 1]);
  mirror_y(image);
  CHECK(image.rgb[0] == before.rgb[(4 * 7 + 6) * 3]);
  mirror_y(image);
  mirror_x(image);
  CHECK(image.rgb == before.rgb);
  Image bright(2, 1, {200, 100, 255});
  mix(bright, Image(2, 1, {100, 101, 255}), 0.25);
  CHECK(bright.rgb[0] == 125);
  CHECK(bright.rgb[1] == 100);
  CHECK(bright.rgb[2] == 255);
}

TEST_CASE("random numbers: shares, spread and independence") {
  Random random(1, Purpose::picture, 2, 3), other(1, Purpose::picture, 2, 4), again(1, Purpose::picture, 2, 3);
  CHECK(random.bits() != other.bits());
  CHECK(again.bits() != random.bits());
  constexpr int draws = 20000;
  double sum = 0, squares = 0, beta = 0, beta_squares = 0;
  std::array<int, 7> counts{};
  for (int i = 0; i < draws; ++i) {
    const double u = random.unit();
    CHECK((u >= 0 && u < 1));
    sum += u;
    squares += u * u;
    ++counts.at(static_cast<std::size_t>(random.below(7)));
    const double b = random.beta32();
    beta += b;
    beta_squares += (b - 0.5) * (b - 0.5);
  }
  // Five standard deviations of each mean.
  const double n = draws;
  CHECK(std::abs(sum / n - 0.5) < 5 * std::sqrt(1 / 12.0 / n));
  CHECK(std::abs(squares / n - 1 / 3.0) < 5 * std::sqrt(4 / 45.0 / n));
  for (const int count : counts) CHECK(std::abs(count - n / 7) < 5 * std::sqrt(n * 6 / 49));
  const double variance = 1 / 260.0;  // of Beta(32, 32): 1 / (4 * 65)
  CHECK(std::abs(beta / n - 0.5) < 5 * std::sqrt(variance / n));
  CHECK(std::abs(beta_squares / n - variance) < 5 * variance * std::sqrt(2 / n));
}

TEST_CASE("workers and cache do not change augmented batches; epochs and seeds do") {
  test::DataFolder folder("augment_workers");
  test::add_various(folder, 13);
  const DataSet data = folder.scan();
  for (const bool multi_scale : {false, true}) {
    LoaderOptions options = augmented(4);
    options.multi_scale = multi_scale;
    Loader alone(data, options);
    const std::vector<Batch> zero = test::epoch_of(alone, 0), one = test::epoch_of(alone, 1);
    REQUIRE(one.size() == 4);
    CHECK(one[0].geometry.empty());
    CHECK(zero[0].images[0].rgb != one[0].images[0].rgb);
    for (const int workers : {1, 4})
      for (const std::uint64_t cache : {std::uint64_t{0}, std::uint64_t{60000}}) {
        options.workers = workers;
        options.cache_bytes = cache;
        Loader loader(data, options);
        test::check_equal(test::epoch_of(loader, 1), one);
      }
    ++options.seed;
    Loader other(data, options);
    CHECK(test::epoch_of(other, 1)[0].images[0].rgb != one[0].images[0].rgb);
    for (std::size_t b = 0; b < one.size(); ++b)
      for (const Image& image : one[b].images)
        CHECK(image.width == (multi_scale ? multi_scale_size(64, 32, 3, 1, static_cast<index_t>(b)) : 64));
  }
}

TEST_CASE("targets lie in their pictures, and follow the mirrors") {
  test::DataFolder folder("augment_targets");
  test::add_various(folder, 11);
  const DataSet data = folder.scan();
  Loader loader(data, augmented(4));
  std::size_t targets = 0;
  for (index_t epoch = 0; epoch < 6; ++epoch)
    for (const Batch& batch : test::epoch_of(loader, epoch))
      for (const BoxTarget& t : batch.targets) {
        const double x = static_cast<double>(t.x), y = static_cast<double>(t.y), w = static_cast<double>(t.w) / 2,
                     h = static_cast<double>(t.h) / 2;
        CHECK((x - w >= -1e-6 && x + w <= 1 + 1e-6 && y - h >= -1e-6 && y + h <= 1 + 1e-6));
        CHECK((w > 0 && h > 0));
        CHECK((t.image >= 0 && t.image < static_cast<int>(batch.images.size())));
        ++targets;
      }
  CHECK(targets > 0);
}

TEST_CASE("without changes a sample stays what it is; mirrors alone mirror it") {
  test::DataFolder folder("augment_still");
  folder.add(64, 64, "1 0.25 0.375 0.5 0.25\n");
  const DataSet data = folder.scan();
  LoaderOptions options = augmented(1);
  options.hyp = still();
  Image picture = read_image(folder.picture(0));
  const auto made = [&]() {
    Loader loader(data, options);
    return test::epoch_of(loader, 0).at(0);
  };
  CHECK(made().images[0].rgb == picture.rgb);
  CHECK(made().targets[0] == BoxTarget{0, 1, 0.25F, 0.375F, 0.5F, 0.25F});
  options.hyp.fliplr = options.hyp.flipud = 1;
  mirror_x(picture);
  mirror_y(picture);
  CHECK(made().images[0].rgb == picture.rgb);
  CHECK(made().targets[0] == BoxTarget{0, 1, 0.75F, 0.625F, 0.5F, 0.25F});
  options.rect = true;
  options.shuffle = false;
  options.hyp.mosaic = 1;  // not in rectangular batches
  CHECK(made().images[0].rgb == picture.rgb);
}

TEST_CASE("a mosaic shows four pictures and their boxes where they are") {
  test::DataFolder folder("augment_mosaic");
  // One colour each; the box is the whole picture.
  for (int i = 0; i < 4; ++i) {
    folder.add(64, 64, std::to_string(i % 3) + " 0.5 0.5 1 1\n");
    const auto level = static_cast<std::uint8_t>(40 * i);
    write_image(folder.picture(i), Image(64, 64, {level, level, level}));
  }
  const DataSet data = folder.scan();
  LoaderOptions options = augmented(4);
  options.hyp = still();
  options.hyp.mosaic = 1;
  Loader loader(data, options);
  for (index_t epoch = 0; epoch < 5; ++epoch) {
    const Batch batch = test::epoch_of(loader, epoch).at(0);
    for (const BoxTarget& t : batch.targets) {
      const Image& image = batch.images[static_cast<std::size_t>(t.image)];
      const auto x = static_cast<index_t>(t.x * 64), y = static_cast<index_t>(t.y * 64);
      const int level = image.rgb[static_cast<std::size_t>((y * 64 + x) * 3)];
      CHECK(level % 40 == 0);
      CHECK(level / 40 % 3 == t.cls);
    }
    CHECK(batch.targets.size() >= 4);
  }
}

TEST_CASE("weights say which pictures mosaics are made of, but not which one a mosaic is mixed with") {
  test::DataFolder folder("augment_weights");
  for (int i = 0; i < 3; ++i) folder.add(64, 64, std::to_string(i) + " 0.5 0.5 1 1\n");
  const DataSet data = folder.scan();
  LoaderOptions options = augmented(3);
  options.hyp = still();
  options.hyp.mosaic = 1;
  const auto others = [&](double mixup) {
    options.hyp.mixup = mixup;
    Loader loader(data, options);
    loader.set_image_weights(std::vector<double>{1, 0, 0});
    std::vector<index_t> counts(3);  // of pictures that the others' boxes lie in
    for (index_t epoch = 0; epoch < 40; ++epoch) {
      const Batch batch = test::epoch_of(loader, epoch).at(0);
      std::array<index_t, 3> boxes{};  // of classes without weight, in each picture
      for (const BoxTarget& t : batch.targets)
        if (t.cls != 0) {
          ++counts[static_cast<std::size_t>(t.cls)];
          ++boxes[static_cast<std::size_t>(t.image)];
        }
      for (const index_t count : boxes) CHECK(count <= 1);  // the three around it have weight
    }
    return counts;
  };
  CHECK(others(0) == std::vector<index_t>{0, 0, 0});
  const std::vector<index_t> mixed = others(1);
  // 120 draws at 1/3 each, of which some are cut off by the crop.
  CHECK(mixed[1] > 10);
  CHECK(mixed[2] > 10);
  CHECK(mixed[1] + mixed[2] < 120);
}

TEST_CASE("a picture that is gone is replaced, in the same way by any number of workers") {
  test::DataFolder folder("augment_gone");
  test::add_various(folder, 9);
  const DataSet data = folder.scan();
  fs::remove(folder.picture(4));
  test::write_bytes(folder.picture(7), "no picture");
  LoaderOptions options = augmented(4);
  Loader alone(data, options);
  const std::vector<Batch> want = test::epoch_of(alone, 0);
  index_t pictures = 0;
  for (const Batch& batch : want) pictures += static_cast<index_t>(batch.images.size());
  CHECK(pictures == 9);
  CHECK(alone.skipped() == 2);
  options.workers = 3;
  Loader loader(data, options);
  test::check_equal(test::epoch_of(loader, 0), want);
  fs::remove_all(folder / "images");
  Batch batch;
  loader.begin_epoch(1);
  CHECK_THROWS_WITH_AS(loader.next(batch), doctest::Contains("none of its 9 pictures can be read"), FormatError);
}

TEST_CASE("without a label there is nothing to learn") {
  test::DataFolder folder("augment_nothing");
  folder.add(64, 64, nullptr);
  const DataSet data = folder.scan();
  CHECK_THROWS_WITH_AS(Loader(data, augmented(1)), doctest::Contains("no picture has a label"), FormatError);
}

TEST_CASE("a batch has its multi-scale size, whatever the quotient of sizes is rounded to") {
  constexpr index_t img = 672, size = 864;  // 672 * (864.0 / 672) / 32 is a little above 27
  static_assert(img * (static_cast<double>(size) / img) / 32 > 27);
  test::DataFolder folder("augment_scale");
  folder.add(40, 20, "1 0.5 0.5 0.5 0.5\n");
  const DataSet data = folder.scan();
  LoaderOptions options = augmented(1);
  options.img = img;
  options.multi_scale = true;
  options.hyp = still();
  index_t epoch = 0;
  while (multi_scale_size(img, 32, options.seed, epoch, 0) != size) ++epoch;
  for (const bool rect : {false, true}) {
    options.rect = rect;
    options.shuffle = !rect;
    Loader loader(data, options);
    const Image image = test::epoch_of(loader, epoch).at(0).images.at(0);
    CHECK(image.width == size);
    CHECK(image.height == (rect ? 480 : size));  // 352 of 672 become 452.6 of 864
  }
}

TEST_CASE("multi-scale sizes are multiples of the stride in half to one and a half times the size") {
  for (const auto& [img, stride] : {std::array<index_t, 2>{640, 32}, {96, 32}, {32, 32}, {320, 64}}) {
    index_t least = img * 2, most = 0;
    for (index_t batch = 0; batch < 2000; ++batch) {
      const index_t size = multi_scale_size(img, stride, 1, 0, batch);
      CHECK(size % stride == 0);
      least = std::min(least, size);
      most = std::max(most, size);
    }
    CHECK(least == (img / 2 + stride - 1) / stride * stride);
    CHECK(most == img * 3 / 2 / stride * stride);
  }
  CHECK_THROWS_AS(multi_scale_size(0, 32, 1, 0, 0), ShapeError);
}

TEST_SUITE_END();
