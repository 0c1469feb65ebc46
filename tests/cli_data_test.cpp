// Data sets through the program: what is wrong with one, and one that is drawn.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "data_case.hpp"
#include "program.hpp"
#include "slimneck/image.hpp"

#ifdef SLIMNECK_CLI

using namespace slimneck;
using slimneck::test::check_failed;
using slimneck::test::contains;
using slimneck::test::Outcome;
using slimneck::test::ProgramFolder;

namespace {

/// Three pictures with labels, in train and val.
class Workplace : public ProgramFolder {
 public:
  Workplace() : ProgramFolder("cli_data") {
    text("data.yaml", "train: images/train\nval: images/val\nnames: [cat, dog]\n");
    for (const char* picture : {"train/a", "train/b", "val/c"}) {
      std::filesystem::create_directories((*this / "images" / picture).parent_path());
      write_image((*this / "images" / picture).concat(".png"), test::noise(40, 30, 1));
      label(picture, "0 0.5 0.5 0.5 0.5\n1 0.3 0.3 0.2 0.2\n");
    }
  }

  void label(const std::string& picture, const std::string& rows) const {
    test::write_bytes(*this / ("labels/" + picture + ".txt"), rows);
  }
};

}  // namespace

TEST_SUITE_BEGIN("cli_data");

TEST_CASE("data check: counts of a data set without faults") {
  const Workplace place;
  place.label("train/b", "");
  const Outcome text = place.run("data check data.yaml");
  CHECK(text.code == 0);
  CHECK(text.err.empty());
  CHECK(contains(text.out, "train: 2 pictures, 0 of them not usable; 1 background (0 without a label file); 2 boxes"));
  CHECK(contains(text.out, "val: 1 picture, "));
  CHECK(contains(text.out, "dog"));
  const Outcome json = place.run("data check data.yaml --json --split train");
  CHECK(json.code == 0);
  const auto parsed = nlohmann::json::parse(json.out);
  CHECK(parsed["names"] == nlohmann::json({"cat", "dog"}));
  REQUIRE(parsed["splits"].size() == 1);
  const auto& train = parsed["splits"][0];
  CHECK(train["split"] == "train");
  CHECK(train["pictures"] == 2);
  CHECK(train["backgrounds"] == 1);
  CHECK(train["boxes"] == 2);
  CHECK(train["classes"][1] == nlohmann::json({{"name", "dog"}, {"boxes", 1}}));
  CHECK(train["problems"].empty());
}

TEST_CASE("data check: every bad row with its file and line, and the exit code") {
  const Workplace place;
  place.label("train/a",
              "0 0.5 0.5 0.5 0.5\n0,0.5,0.5,0.1,0.1\n2 0.5 0.5 0.1 0.1\n0 0.5 0.5 0.5 0.5\n0 0.5 0.5 0 0.5\n");
  test::write_bytes(place / "images/val/c.png", "no picture");
  const Outcome text = place.run("data check data.yaml");
  CHECK(text.code == 1);
  CHECK(text.err == "error: data.yaml: 4 bad label rows or pictures\n");
  CHECK(contains(text.out, "a.txt:2: "));
  CHECK(contains(text.out, "commas"));
  CHECK(contains(text.out, "a.txt:3: class 2, but the data set has 2 classes"));
  CHECK(contains(text.out, "a.txt:4: the same box again"));
  CHECK(contains(text.out, "a.txt:5: "));
  CHECK(contains(text.out, "c.png: "));
  CHECK(contains(text.out, "train: 2 pictures, 1 of them not usable"));
  check_failed(place.run("data check data.yaml --split val --json >/dev/null"), 1,
               "data.yaml: 1 bad label row or picture");
  const Outcome json = place.run("data check data.yaml --json");
  CHECK(json.code == 1);
  const auto parsed = nlohmann::json::parse(json.out);
  CHECK(parsed["splits"][0]["problems"].size() == 3);
  CHECK(parsed["splits"][0]["notices"].size() == 1);
  CHECK(parsed["splits"][0]["duplicates"] == 1);
  CHECK(parsed["splits"][1]["corrupt"] == 1);
}

TEST_CASE("data check: pictures") {
  const Workplace place;
  CHECK(place.run("data check data.yaml --plots a/look").code == 0);
  for (const char* name : {"labels_train.jpg", "pictures_train.jpg", "labels_val.jpg", "pictures_val.jpg"})
    CHECK(read_image(place / "a/look" / name).width > 200);
  place.text("taken", "");
  check_failed(place.run("data check data.yaml --plots taken/look"), 1, "taken/look: cannot be made");
}

TEST_CASE("data: wrong usage, and what is missing") {
  const Workplace place;
  check_failed(place.run("data"), 2, "slimneck data --help");
  check_failed(place.run("data look"), 2, "there is no command 'look' (see slimneck data --help)");
  check_failed(place.run("data check"), 2, "file");
  check_failed(place.run("data check data.yaml more"), 2, "(see slimneck data check --help)");
  check_failed(place.run("data check data.yaml --split all"), 2, "all");
  check_failed(place.run("data check none.yaml"), 1, "none.yaml: ");
  check_failed(place.run("data check data.yaml --split test"), 1, "data.yaml: there is no 'test'");
  check_failed(place.run("data make-shapes new --images 2"), 2, "--images");
  check_failed(place.run("data make-shapes ''"), 2, "may not be empty");
  check_failed(place.run("data make-shapes images"), 1, "images: is there already, and not an empty folder");
}

TEST_CASE("data make-shapes: a data set that passes the check") {
  const Workplace place;
  const Outcome made = place.run("data make-shapes shapes --images 12 --img 64 --seed 4");
  CHECK(made.code == 0);
  CHECK(made.out == "12 pictures of 8 kinds of shapes: shapes/data.yaml\n");
  const Outcome checked = place.run("data check shapes/data.yaml --json");
  CHECK(checked.code == 0);
  const auto parsed = nlohmann::json::parse(checked.out);
  REQUIRE(parsed["splits"].size() == 3);
  CHECK(parsed["splits"][0]["pictures"] == 10);
  CHECK(parsed["splits"][2]["usable"] == 1);
  CHECK(parsed["names"].size() == 8);
}

TEST_SUITE_END();

#endif
