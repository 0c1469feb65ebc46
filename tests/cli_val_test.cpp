// val as YOLOv5's users know it: its table, what a run leaves, and data that does not fit.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "square_data.hpp"
#include "workplace.hpp"

#ifdef SLIMNECK_CLI

using namespace slimneck;
using slimneck::test::check_failed;
using slimneck::test::contains;
using slimneck::test::Outcome;
namespace fs = std::filesystem;
using nlohmann::json;

TEST_SUITE_BEGIN("cli_val");

namespace {

const std::string val = "val --cfg network.yaml --weights eyes.safetensors --data squares.yaml --img 64 ";

/// Squares, and weights that see them.
class Workplace : public test::Workplace {
 public:
  Workplace() : test::Workplace("cli_val") {
    text("network.yaml", test::square_yaml);
    test::write_squares(*this / ".", test::square_pictures());
    const Model model = test::square_model();
    Parameters parameters(model.graph);
    test::open_eyes(parameters);
    save_state_dict(*this / "eyes.safetensors", parameters);
  }
};

}  // namespace

TEST_CASE("the table, the line of speed and the folder of a run") {
  const Workplace place;
  const Outcome outcome = place.run(val);
  CHECK(outcome.err.empty());
  REQUIRE(outcome.code == 0);
  const std::string table =
      "                 Class     Images  Instances          P          R      mAP50   mAP50-95\n"
      "                   all          5          8          1          1      0.995      0.995\n"
      "                   red          5          5          1          1      0.995      0.995\n"
      "                  blue          5          3          1          1      0.995      0.995\n"
      "Speed: ";
  CHECK_MESSAGE(outcome.out.starts_with(table), outcome.out);
  CHECK(contains(outcome.out, "ms NMS per image at shape (32, 3, 64, 64)\nResults saved to runs/val/exp\n"));
  for (const char* name : {"confusion_matrix.png", "F1_curve.png", "P_curve.png", "R_curve.png", "PR_curve.png",
                           "val_batch0_labels.jpg", "val_batch0_pred.jpg"})
    CHECK_MESSAGE(fs::exists(place / (std::string("runs/val/exp/") + name)), name);
  CHECK_FALSE(fs::exists(place / "runs/val/exp/val_batch1_pred.jpg"));

  // Only three batches are drawn; the next run has a folder of its own; what saves nothing leaves none.
  CHECK(place.run(val + "--batch 1 --square").code == 0);
  CHECK(fs::exists(place / "runs/val/exp2/val_batch2_labels.jpg"));
  CHECK_FALSE(fs::exists(place / "runs/val/exp2/val_batch3_labels.jpg"));
  CHECK(place.run(val + "--noplots --name bare").code == 0);
  CHECK_FALSE(fs::exists(place / "runs/val/bare"));
}

TEST_CASE("one row is enough for one class") {
  const Workplace place;
  const Outcome outcome = place.run(val + "--single-cls --noplots");
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.out, "all          5          8          1          1      0.995      0.995\nSpeed"));
}

TEST_CASE("JSON has the figures of both rules and nothing beside it") {
  const Workplace place;
  const Outcome outcome = place.run(val + "--json --metric coco --noplots");
  REQUIRE(outcome.code == 0);
  const json found = json::parse(outcome.out);
  CHECK(contains(outcome.err, "mAP50-95\n"));
  CHECK(found["images"] == 5);
  CHECK(found["labels"] == 8);
  CHECK(found["skipped"] == 0);
  CHECK(found["R"] == 1);
  CHECK(found["mAP50"] == doctest::Approx(1));  // COCO's curve does not fall at its end
  CHECK(found["mAP50_95"] == doctest::Approx(1));
  REQUIRE(found["classes"].size() == 2);
  CHECK(found["classes"][1]["name"] == "blue");
  CHECK(found["classes"][1]["labels"] == 3);
  CHECK(found["coco"].size() == 12);
  CHECK(found["coco"]["AP"] == doctest::Approx(1));
  CHECK(found["coco"]["APlarge"] == -1);  // there are none
  CHECK(found["speed_ms"]["inference"] > 0);
  CHECK(json::parse(place.run(val + "--json --noplots").out)["mAP50"] == doctest::Approx(0.995));
}

TEST_CASE("labels and COCO's JSON name every box") {
  const Workplace place;
  write_image(place / "images/000042.png", test::draw(test::square_pictures()[2]));
  const Outcome outcome = place.run(val + "--save-txt --save-conf --save-json --noplots");
  REQUIRE(outcome.code == 0);
  const std::string label = place.read("runs/val/exp/labels/c.txt");
  CHECK(label.starts_with("1 0.625 0.6875 0.25 0.125 "));  // centre (20, 44) and size 8 of 32 x 64 pixels
  CHECK_FALSE(fs::exists(place / "runs/val/exp/labels/e.txt"));

  const json boxes = json::parse(place.read("runs/val/exp/eyes_predictions.json"));
  REQUIRE(boxes.size() == 9);
  const auto of = [&](const json& id) {
    std::vector<json> found;
    for (const json& box : boxes)
      if (box["image_id"] == id) found.push_back(box);
    return found;
  };
  CHECK(of("a").size() == 3);
  REQUIRE(of(42).size() == 1);
  CHECK(of(42)[0]["category_id"] == 1);
  CHECK(of(42)[0]["bbox"] == json::array({16.0, 40.0, 8.0, 8.0}));
  CHECK(of(42)[0]["score"] > 0.9);
  check_failed(place.run(val + "--save-conf"), 2, "--save-txt");
}

TEST_CASE("COCO's JSON of nothing is an empty list; one that was not finished is no file") {
  const Workplace place;
  REQUIRE(place.run(val + "--save-json --noplots --conf 1").code == 0);
  CHECK(json::parse(place.read("runs/val/exp/eyes_predictions.json")) == json::array());
  std::string list;
  for (int i = 0; i < 5000; ++i) list += "images/a.png\n";
  place.text("many.txt", list);
  place.text("many.yaml", "train: images\nval: many.txt\nnames: [red, blue]\n");
  const Outcome stopped =
      place.shell("'" + std::string(test::program_file) +
                  "' val --cfg network.yaml --weights eyes.safetensors --img 64 "
                  "--data many.yaml --batch 1 --save-json --noplots --name many >out.txt 2>err.txt & pid=$!\n"
                  "until ls runs/val/many/.slimneck-* >/dev/null 2>&1 || ! kill -0 $pid; do sleep 0.01; done\n"
                  "kill -INT $pid; wait $pid");
  CHECK_MESSAGE(stopped.code == 130, place.read("err.txt"));
  CHECK_FALSE(fs::exists(place / "runs/val/many"));
}

TEST_CASE("pictures of one name have label files of their own, beside those that are called so") {
  const Workplace place;
  for (const char* name : {"c.jpg", "c-2.png"}) fs::copy_file(place / "images/c.png", place / "images" / name);
  CHECK(place.run(val + "--save-txt --noplots").code == 0);
  for (const char* name : {"c", "c-2", "c-3"})
    CHECK(place.read("runs/val/exp/labels/" + std::string(name) + ".txt") == "1 0.625 0.6875 0.25 0.125\n");
}

TEST_CASE("COCO's own classes have COCO's numbers") {
  const Workplace place;
  std::vector<std::string> names = class_names({}, 80);
  const auto categories = [&]() {
    std::string list;
    for (const std::string& name : names) list += "\n  - " + name;
    place.text("coco.yaml", "train: images\nval: images\nnames:" + list + "\n");
    const std::string network = "val --cfg network.yaml --nc 80 --init seed=1 --img 64 --conf 0 --data coco.yaml ";
    CHECK(place.run(network + "--save-json --noplots --exist-ok").code == 0);
    std::set<int> found;
    for (const json& box : json::parse(place.read("runs/val/exp/predictions.json")))
      found.insert(box["category_id"].get<int>());
    return found;
  };
  const std::set<int> coco = categories();
  REQUIRE(*coco.rbegin() > 80);  // the network is not trained: it finds classes of every number
  names[0] = "somebody";
  const std::set<int> plain = categories();
  std::vector<int> numbers(90);
  std::iota(numbers.begin(), numbers.end(), 1);
  for (const int none : {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}) std::erase(numbers, none);
  std::set<int> wanted;
  for (const int cls : plain) wanted.insert(numbers.at(static_cast<std::size_t>(cls)));
  CHECK(coco == wanted);
}

TEST_CASE("parts of the data, and speed") {
  const Workplace place;
  check_failed(place.run(val + "--task test"), 1, "squares.yaml: there is no 'test'");
  CHECK(place.run(val + "--task train --noplots").code == 0);
  const Outcome speed = place.run(val + "--task speed --batch-size 1");
  CHECK(speed.code == 0);
  CHECK(contains(speed.out, "at shape (1, 3, 64, 64)"));
  CHECK_FALSE(fs::exists(place / "runs/val/exp2"));
  check_failed(place.run(val + "--task study"), 2, "study");
}

TEST_CASE("what does not fit, and what is not there") {
  const Workplace place;
  place.text("three.yaml", "train: images\nval: images\nnames: [a, b, c]\n");
  const std::string network = "val --cfg network.yaml --weights eyes.safetensors --noplots --img 64 ";
  check_failed(place.run(network + "--data three.yaml"), 1, "has 3 classes, and network has 2 classes");
  check_failed(place.run(network + "--data nowhere.yaml"), 1, "nowhere.yaml");
  place.text("one.yaml", "train: images\nval: images\nnames: [a]\n");
  check_failed(place.run(network + "--data one.yaml"), 1, "class 1");
  fs::create_directories(place / "none");
  place.text("none.yaml", "train: none\nval: none\nnames: [red, blue]\n");
  check_failed(place.run(network + "--data none.yaml"), 1, "there are no pictures");
  check_failed(place.run("val --cfg plain.yaml --init seed=1 --data squares.yaml"), 1,
               "plain: the model has no Detect");
  check_failed(place.run("val --cfg network.yaml --data squares.yaml"), 2, "--weights FILE");
  check_failed(place.run("val --cfg network.yaml --init seed=1"), 2, "--data");
  check_failed(place.run("val --cfg network.yaml --init seed=1 --data squares.yaml --img 64 96"), 2, "one SIZE");
  check_failed(place.run(network + "--data squares.yaml --img 5000"), 2,
               "--img 5000: pictures of a data set are seen in at most 4096 pixels");
}

TEST_CASE("broken pictures are named and left out; without labels there is nothing to measure") {
  const Workplace place;
  place.text("images/a.png", "\x89PNG\r\n\x1a\nnothing");
  fs::remove_all(place / "labels");
  const Outcome outcome = place.run(val + "--noplots --json");
  REQUIRE(outcome.code == 0);
  CHECK(contains(outcome.err, "skipped: "));
  CHECK(contains(outcome.err, "a.png"));
  CHECK(contains(outcome.err, "there are no labels"));
  const json found = json::parse(outcome.out);
  CHECK(found["images"] == 4);
  CHECK(found["skipped"] == 1);
  CHECK(found["mAP50"] == 0);
}

TEST_SUITE_END();

#endif
