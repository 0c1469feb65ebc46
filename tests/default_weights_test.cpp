// The weights that come with the library: they are what is written beside them, and what is asked for without
// --weights.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "slimneck/evaluate.hpp"
#include "slimneck/metrics.hpp"
#include "slimneck/weights.hpp"
#include "temporary_folder.hpp"
#include "workplace.hpp"

using namespace slimneck;
namespace fs = std::filesystem;

TEST_SUITE_BEGIN("default_weights");

namespace {

constexpr index_t img = 320;

/// The test pictures of the data set with which the weights were trained; none of the others is drawn.
DataSet test_pictures(const fs::path& folder) {
  const ShapesOptions shapes{.images = 1500, .img = img, .seed = 0};
  DataSet data;
  data.name = folder.string();
  data.nc = static_cast<index_t>(shape_names().size());
  for (index_t i = shapes.images * 9 / 10; i < shapes.images; ++i) {
    Sample sample{.image = folder / (std::to_string(i) + ".png"), .width = img, .height = img, .boxes = {}};
    write_image(sample.image, draw_shapes(shapes, i, sample.boxes));
    data.samples.push_back(std::move(sample));
  }
  return data;
}

}  // namespace

TEST_CASE("they say what they are") {
  const fs::path file = default_weights();
  CHECK(fs::file_size(file) < 5'000'000);
  const SafeTensors weights = read_weights(file);
  CHECK(nlohmann::json::parse(weights.metadata().at("names")) == nlohmann::json(shape_names()));
  CHECK(weights.metadata().at("model") == "slimneck-n");
  CHECK(fs::exists(fs::path(file).replace_extension(".md")));
}

TEST_CASE("they find what is written beside them") {
  std::ifstream file(fs::path(default_weights()).replace_extension(".json"));
  REQUIRE(file);
  const nlohmann::json wanted = nlohmann::json::parse(file);

  const SafeTensors weights = read_weights(default_weights());
  const Model model =
      parse_model(weights.metadata().at(std::string(metadata_key::yaml)), "weights", {.height = img, .width = img});
  Parameters parameters(model.graph);
  load_state_dict(parameters, weights);
  const test::TemporaryFolder place("default_weights");
  const DataSet data = test_pictures(place.path());
  Evaluator evaluator(model, parameters, data, {.batch = 16, .img = img, .workers = 1});
  const Metrics metrics = yolov5_metrics(evaluator().judged);
  CHECK(metrics.labels == 687);
  // Where two scores differ by the rounding of another instruction set a box may change places with its neighbour.
  const double one_box = 1.0 / static_cast<double>(metrics.labels);
  CHECK(std::abs(metrics.map50 - wanted.at("mAP50").get<double>()) < one_box);
  CHECK(std::abs(metrics.map50_95 - wanted.at("mAP50_95").get<double>()) < one_box);
}

#ifdef SLIMNECK_CLI
TEST_CASE("detect takes them when it is given none") {
  const test::Workplace place("default_weights");
  std::vector<BoxLabel> boxes;
  write_image(place / "drawn.png", draw_shapes({.images = 10, .img = img, .seed = 7}, 3, boxes));
  const test::Outcome outcome = place.run("detect --source drawn.png --img 320 --json --nosave");
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  CHECK(outcome.err.find("slimneck-n-shapes.safetensors") != std::string::npos);
  const nlohmann::json found = nlohmann::json::parse(outcome.out).at(0).at("detections");
  CHECK(!found.empty());
  for (const nlohmann::json& detection : found)
    CHECK(std::count(shape_names().begin(), shape_names().end(), detection.at("name").get<std::string>()) == 1);
  // A network of one's own still needs weights.
  CHECK(place.run("detect --cfg detector.yaml --source drawn.png").code == 2);
}
#endif
