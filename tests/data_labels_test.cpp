// Label files and data.yaml as they are in the wild, and as they must not be.
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>

#include "slimneck/data.hpp"
#include "slimneck/error.hpp"
#include "temporary_folder.hpp"

using namespace slimneck;
namespace fs = std::filesystem;

namespace {

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

void write(const fs::path& path, std::string_view text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

/// Why a text is no data.yaml.
std::string refusal(std::string_view yaml) {
  try {
    parse_data(yaml, "d.yaml");
  } catch (const FormatError& error) {
    return error.what();
  }
  return "accepted";
}

constexpr std::string_view good = "train: a\nval: b\nnames: [x, y]\n";

}  // namespace

TEST_SUITE_BEGIN("data_labels");

TEST_CASE("labels: what is accepted") {
  const LabelFile file = parse_labels(
      "\xef\xbb\xbf"
      "0 0.5 0.5 0.25 0.125\r\n"
      "\t1.0\t0.5  .25 5e-1 0.5 \n\n   \n"
      "2 0.1 0.2 0.3 0.2 0.3 0.6 0.1 0.6\n"  // an outline
      "1 0.0625 0.5 0.25 0.5",               // 1/16 - 1/8 lies outside; no line end
      "f.txt");
  CHECK(file.problems.empty());
  CHECK(file.notices.empty());
  REQUIRE(file.boxes.size() == 4);
  CHECK(file.boxes[0] == BoxLabel{0, 0.5F, 0.5F, 0.25F, 0.125F});
  CHECK(file.boxes[1] == BoxLabel{1, 0.5F, 0.25F, 0.5F, 0.5F});
  CHECK(file.boxes[2] == BoxLabel{2, (0.1F + 0.3F) / 2, (0.2F + 0.6F) / 2, 0.3F - 0.1F, 0.6F - 0.2F});
  CHECK(file.boxes[3] == BoxLabel{1, 0.09375F, 0.5F, 0.1875F, 0.5F});
  CHECK(parse_labels("", "f.txt").boxes.empty());
  CHECK(parse_labels(" \n\n", "f.txt").problems.empty());
}

TEST_CASE("labels: what is accepted with a notice") {
  const LabelFile file = parse_labels("0 .5 .5 .1 .1\n0 0.50 0.5 0.1 0.1\n1 .5 .5 0.0009 .1\n", "f.txt");
  CHECK(file.problems.empty());
  CHECK(file.duplicates == 1);
  CHECK(file.boxes.size() == 2);
  REQUIRE(file.notices.size() == 2);
  CHECK(contains(file.notices[0], "f.txt:2: the same box again"));
  CHECK(contains(file.notices[1], "f.txt:3: a box narrower than a thousandth"));
}

TEST_CASE("labels: every bad row with its line and cause") {
  struct Row {
    std::string text, cause;
  };
  const std::vector<Row> rows{{"0,0.5,0.5,0.1,0.1", "commas"},
                              {"0 0.5 0.5 0.1", "4 columns, wanted 5"},
                              {"0 0.5 0.5 0.1 0.1 0.9", "confidence"},
                              {"0 .1 .1 .2 .2 .3 .3 .4", "8 columns"},
                              {"1.5 0.5 0.5 0.1 0.1", "class '1.5', wanted a whole number"},
                              {"-1 0.5 0.5 0.1 0.1", "class '-1'"},
                              {"cat 0.5 0.5 0.1 0.1", "class 'cat'"},
                              {"70000 0.5 0.5 0.1 0.1", "class '70000'"},
                              {"3 0.5 0.5 0.1 0.1", "class 3, but the data set has 3 classes (0..2)"},
                              {"0 320 240 64 64", "320 is outside of 0..1; coordinates are parts"},
                              {"0 -0.1 0.5 0.1 0.1", "-0.1 is outside"},
                              {"0 1.0001 0.5 0.1 0.1", "1.0001 is outside"},
                              {"0 0.5 0.5 0 0.1", "without width or height"},
                              {"0 0.5 0.5 0.1 0", "without width or height"},
                              {"0 0.3 0.1 0.3 0.5 0.3 0.2", "without width or height"},
                              {"0 nan 0.5 0.1 0.1", "'nan' is no number"},
                              {"0 inf 0.5 0.1 0.1", "'inf' is no number"},
                              {"0 0x1 0.5 0.1 0.1", "'0x1' is no number"},
                              {"0 1e999 0.5 0.1 0.1", "is no number"},
                              {"0 0.5.5 0.5 0.1 0.1", "is no number"},
                              {"0 \xd9\xa0 0.5 0.1 0.1", "is no number"},
                              {std::string("0 0.5\0 0.5 0.1 0.1", 18), "is no number"}};
  for (const Row& row : rows) {
    CAPTURE(row.text);
    const LabelFile file = parse_labels("0 .5 .5 .5 .5\n" + row.text + "\n1 .5 .5 .5 .5\n", "dir/f.txt", 3);
    REQUIRE(file.problems.size() == 1);
    CHECK_MESSAGE(contains(file.problems[0], "dir/f.txt:2: "), file.problems[0]);
    CHECK_MESSAGE(contains(file.problems[0], row.cause), file.problems[0]);
    CHECK(file.boxes.size() == 2);
    CHECK(file.unknown_class == contains(row.cause, "the data set has"));
  }
  std::string many;
  for (int i = 0; i < 100001; ++i) many += "0 .5 .5 .5 .5\n";
  const LabelFile file = parse_labels(many, "f.txt");
  REQUIRE(file.problems.size() == 1);
  CHECK(file.problems[0] == "f.txt:100001: more than 100000 rows");
}

TEST_CASE("label_path: the last images becomes labels") {
  CHECK(label_path("/d/images/train/a.jpg") == "/d/labels/train/a.txt");
  CHECK(label_path("images/images/b.c.png") == "images/labels/b.c.txt");
  CHECK(label_path("images/a.jpg") == "labels/a.txt");
  CHECK(label_path("pictures/a.jpeg") == "pictures/a.txt");
  CHECK(label_path("/my_images/images.jpg") == "/my_images/images.txt");
}

TEST_CASE("data.yaml: the forms in use") {
  const DataConfig list = parse_data(good, "d.yaml");
  CHECK(list.names == std::vector<std::string>{"x", "y"});
  CHECK(list.nc() == 2);
  CHECK(list.sources(Split::train) == std::vector<fs::path>{"a"});
  CHECK(list.sources(Split::test).empty());
  const DataConfig map = parse_data(
      "path: ../data\ntrain: [a, b/c.txt]\nval: v\ntest:  # none\nnc: 3\nnames:\n  0: x\n  1: 'y: z'\n  2: 7\n"
      "roboflow: {workspace: w, version: 2}\n",
      "d.yaml");
  CHECK(map.root == "../data");
  CHECK(map.names == std::vector<std::string>{"x", "y: z", "7"});
  CHECK(map.sources(Split::train) == std::vector<fs::path>{"a", "b/c.txt"});
  CHECK(map.warnings.empty());
  const DataConfig strange = parse_data("train: a\nval: b\nnames: [x, x]\ndownload: |\n  exit(1)\n", "d.yaml");
  REQUIRE(strange.warnings.size() == 2);
  CHECK(contains(strange.warnings[0], "d.yaml:3:8: two classes are called 'x'"));
  CHECK(contains(strange.warnings[1], "download is not run"));
}

TEST_CASE("data.yaml: what is refused") {
  struct Case {
    std::string yaml, cause;
  };
  const std::vector<Case> cases{{"", "the file is empty"},
                                {"- a\n", "not a map"},
                                {"val: b\nnames: [x]\n", "there is no 'train'"},
                                {"train: a\nnames: [x]\n", "there is no 'val'"},
                                {"train: a\nval: b\n", "there is no 'names'"},
                                {"train: a\nval:\nnames: [x]\n", "not nothing"},
                                {"train: []\nval: b\nnames: [x]\n", "an empty list"},
                                {"train: {a: b}\nval: b\nnames: [x]\n", "not a map"},
                                {"train: http://x/y\nval: b\nnames: [x]\n", "nothing is fetched"},
                                {"train: a\nval: b.zip\nnames: [x]\n", "unpack the archive"},
                                {"path: c.zip\ntrain: a\nval: b\nnames: [x]\n", "unpack the archive"},
                                {"train: a\nval: b\nnames: []\n", "there are no names"},
                                {"train: a\nval: b\nnames: x\n", "names must be a list"},
                                {"train: a\nval: b\nnames: [[x]]\n", "a class name must be a text"},
                                {"train: a\nval: b\nnames: {0: x, 2: y}\n", "no class 1, but 2"},
                                {"train: a\nval: b\nnames: {1: x}\n", "no class 0, but 1"},
                                {"train: a\nval: b\nnames: {a: x}\n", "a class number must be"},
                                {"train: a\nval: b\nnames: {0: x, 00: y}\n", "class 0 occurs twice"},
                                {"nc: 3\ntrain: a\nval: b\nnames: [x, y]\n", "nc is '3', but there are 2 names"},
                                {"nc: two\ntrain: a\nval: b\nnames: [x, y]\n", "nc is 'two'"}};
  CHECK(refusal(good) == "accepted");
  for (const Case& c : cases) {
    const std::string got = refusal(c.yaml);
    CHECK_MESSAGE(contains(got, c.cause), got);
    CHECK(got.starts_with("d.yaml"));
  }
}

TEST_CASE("load_data: paths are seen from path:, and that from the file") {
  const test::TemporaryFolder folder("data_yaml");
  write(folder / "set/images/train/a.txt", "");
  write(folder / "set/images/val/a.txt", "");
  const auto load = [&](const std::string& yaml) {
    write(folder / "set/d.yaml", yaml);
    return load_data(folder / "set/d.yaml");
  };
  const fs::path set = folder / "set";
  const DataConfig plain = load("train: images/train\nval: [images/val]\nnames: [x]\n");
  CHECK(plain.sources(Split::train)[0] == set / "images/train");
  CHECK(plain.sources(Split::val)[0] == set / "images/val");
  CHECK(load("path: images\ntrain: train\nval: val\nnames: [x]\n").sources(Split::val)[0] == set / "images/val");
  CHECK(load("path: " + set.string() + "/images\ntrain: train\nval: val\nnames: [x]\n").root == set / "images");
  // As Roboflow writes it.
  CHECK(load("train: ../images/train\nval: ../images/val\nnames: [x]\n").sources(Split::train)[0] ==
        set / "images/train");
  CHECK_THROWS_WITH_AS(load("train: nowhere\nval: images/val\nnames: [x]\n"),
                       ((set / "d.yaml").string() + ": train: there is no " + (set / "nowhere").string()).c_str(),
                       FormatError);
  CHECK_THROWS_AS(load("path: nowhere\ntrain: a\nval: b\nnames: [x]\n"), FormatError);
  CHECK_THROWS_AS(load_data(folder / "none.yaml"), IoError);
}

TEST_SUITE_END();
