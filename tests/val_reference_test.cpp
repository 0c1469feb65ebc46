// A trained network on real pictures: YOLOv5n v7.0 on 33 of COCO's, against the figures of the reference program.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "shared_data.hpp"
#include "slimneck/evaluate.hpp"
#include "slimneck/weights.hpp"

using namespace slimneck;

TEST_SUITE_BEGIN("val_reference");

TEST_CASE("average precision by YOLOv5's and by COCO's rule") {
  const auto weights = test::shared_data("data/weights/yolov5n-v7.0.safetensors");
  const auto folder = test::shared_data("data/coco_cc33");
  if (!weights || !folder) {
    MESSAGE("skipped: data/weights and data/coco_cc33 are not here");
    return;
  }
  std::ifstream file(*folder / "yolov5n-v7.0_square640_metrics.json");
  REQUIRE(file);
  const nlohmann::json wanted = nlohmann::json::parse(file);

  const Model model = load_model("yolov5n");
  Parameters parameters(model.graph);
  load_state_dict(parameters, SafeTensors::read(*weights));
  const DataSet data = scan_data(load_data(*folder / "data.yaml"), Split::val);
  Evaluator evaluator(model, parameters, data, {.batch = 4, .rect = false, .workers = 1});
  const Evaluation evaluation = evaluator();
  const Metrics metrics = yolov5_metrics(evaluation.judged);
  CHECK(metrics.images == wanted["images"]);
  CHECK(metrics.labels == wanted["instances"]);

  // The figures are those of another JPEG decoder's pixels and another library's sums: a box that changes places with
  // its neighbour in the order of scores moves the mean over 44 classes by about a thousandth.
  constexpr double one_box = 0.001;
  const auto& yolov5 = wanted["ultralytics_ap"];
  const auto& coco = wanted["coco_protocol_boxarea"];
  const auto close = [](double found, const nlohmann::json& figure, double most) {
    CAPTURE(found);
    CAPTURE(figure.get<double>());
    CHECK(std::abs(found - figure.get<double>()) <= most);
  };
  close(metrics.map50, yolov5["mAP50"], one_box);
  close(metrics.map50_95, yolov5["mAP50_95"], one_box);
  const CocoMetrics by_coco = coco_metrics(evaluation.judged);
  close(by_coco.ap(), coco["AP"], 2 * one_box);
  close(by_coco.ap50(), coco["AP50"], 2 * one_box);
}

TEST_SUITE_END();
