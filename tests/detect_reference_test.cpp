// A trained network from the picture to the boxes: YOLOv5n v7.0 against what the reference program found, its raw heads
// and every layer of it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "golden_case.hpp"
#include "shared_data.hpp"
#include "slimneck/detect.hpp"
#include "slimneck/image.hpp"
#include "slimneck/model.hpp"
#include "slimneck/plan.hpp"

using namespace slimneck;
using nlohmann::json;
namespace fs = std::filesystem;

TEST_SUITE_BEGIN("detect_reference");

namespace {

constexpr const char* weights_file = "data/weights/yolov5n-v7.0.safetensors";

json read_json(const fs::path& path) {
  std::ifstream file(path);
  REQUIRE_MESSAGE(file, path.string());
  return json::parse(file);
}

/// True when all of them are here; says so when not.
bool have(std::initializer_list<std::string> files) {
  for (const std::string& file : files)
    if (!test::shared_data(file)) {
      MESSAGE("skipped: " << file << " is not here");
      return false;
    }
  return true;
}

Parameters trained(const Graph& graph, DType type = DType::f32) {
  Parameters parameters(graph, type);
  load_state_dict(parameters, SafeTensors::read(*test::shared_data(weights_file)));
  return parameters;
}

/// The network on the default plan, one for each size of picture.
class Detector {
 public:
  Detector() : model_(load_model("yolov5n")), parameters_(trained(model_.graph)) {}

  std::vector<Detection> operator()(const Image& image, index_t size, bool minimum, const NmsOptions& nms) {
    const Letterbox geometry = letterbox_geometry(image.height, image.width, size, size, minimum);
    Plan& plan = plan_for({1, 3, geometry.out_h(), geometry.out_w()});
    image_to_tensor(letterbox(image, geometry), plan.input());
    plan.forward();
    std::vector<Detection> found = non_max_suppression(plan.output("pred"), nms);
    scale_boxes(found, geometry.out_h(), geometry.out_w(), image.height, image.width);
    return found;
  }

 private:
  Plan& plan_for(const Shape& shape) {
    const std::pair size{shape.h, shape.w};
    if (const auto at = plans_.find(size); at != plans_.end()) return at->second;
    return plans_.try_emplace(size, model_.graph.with_inputs(std::span(&shape, 1)), parameters_).first->second;
  }

  Model model_;
  Parameters parameters_;
  std::map<std::pair<index_t, index_t>, Plan> plans_;
};

double box_distance(const Detection& a, const Detection& b) {
  return static_cast<double>(
      std::max({std::abs(a.x1 - b.x1), std::abs(a.y1 - b.y1), std::abs(a.x2 - b.x2), std::abs(a.y2 - b.y2)}));
}

/// Compares lists of detections and keeps the worst deviations.
class Comparison {
 public:
  explicit Comparison(const NmsOptions& nms) : nms_(nms) {}

  /// Every detection of one list has its like in the other: same class, box within 1 pixel, score within 0.002. Only
  /// where the score is that close to the threshold one side may lack it.
  void operator()(std::vector<Detection> got, const std::vector<Detection>& want) {
    wanted_ += want.size();
    for (const Detection& w : want) {
      const auto like = std::min_element(got.begin(), got.end(), [&](const Detection& a, const Detection& b) {
        return distance(a, w) < distance(b, w);
      });
      if (like == got.end() || distance(*like, w) > 1) {
        missing(w, like == got.end() ? std::string("nothing") : text(*like));
        continue;
      }
      box_ = std::max(box_, box_distance(*like, w));
      score_ = std::max(score_, static_cast<double>(std::abs(like->score - w.score)));
      got.erase(like);
    }
    for (const Detection& g : got) missing(g, "nothing in the reference");
  }

  void report(const std::string& what) const {
    MESSAGE(what << ": " << wanted_ << " detections, worst box " << box_ << " px, worst score " << score_ << ", "
                 << borderline_ << " at the threshold on one side only");
  }

  [[nodiscard]] std::size_t wanted() const noexcept { return wanted_; }

 private:
  static constexpr double box_limit = 1, score_limit = 0.002;

  /// In units of what is allowed; at most 1 for two that are alike.
  static double distance(const Detection& a, const Detection& b) {
    if (a.cls != b.cls) return HUGE_VAL;
    return std::max(box_distance(a, b) / box_limit, static_cast<double>(std::abs(a.score - b.score)) / score_limit);
  }

  static std::string text(const Detection& d) {
    return "class " + std::to_string(d.cls) + " score " + std::to_string(d.score) + " at " + std::to_string(d.x1) +
           " " + std::to_string(d.y1) + " " + std::to_string(d.x2) + " " + std::to_string(d.y2);
  }

  void missing(const Detection& d, const std::string& nearest) {
    if (static_cast<double>(d.score) <= static_cast<double>(nms_.conf) + score_limit) {
      ++borderline_;
      MESSAGE("at the threshold: " << text(d));
    } else {
      FAIL_CHECK(text(d) << "; on the other side: " << nearest);
    }
  }

  NmsOptions nms_;
  std::size_t wanted_ = 0;
  int borderline_ = 0;
  double box_ = 0, score_ = 0;
};

Detection detection_of(int cls, float score, const json& xyxy) {
  return {xyxy.at(0), xyxy.at(1), xyxy.at(2), xyxy.at(3), score, cls};
}

/// The reference's input, float in any precision.
template <class T>
void set_input(View<T> x, const SafeTensors& file) {
  const Tensor bytes = file.tensor("input_u8_rgb_chw");
  REQUIRE(bytes.numel() == x.shape.numel());
  std::transform(bytes.data<float>(), bytes.data<float>() + bytes.numel(), x.data,
                 [](float v) { return static_cast<T>(v / 255); });
}

}  // namespace

TEST_CASE("bus and zidane: the boxes of the reference in every mode") {
  if (!have({weights_file, "data/reference/detections_bus_zidane.json", "data/reference/bus.jpg",
             "data/reference/zidane.jpg"}))
    return;
  const json reference = read_json(*test::shared_data("data/reference/detections_bus_zidane.json"));
  Detector detector;
  for (const auto& entry : reference.items()) {
    const std::string& key = entry.key();
    const json& item = entry.value();
    CAPTURE(key);
    const std::string mode = key.substr(key.find('/') + 1), picture = item["image"];
    NmsOptions nms;
    nms.conf = item["conf"];
    nms.iou = item["iou"];
    const std::vector<Detection> got = detector(read_image(*test::shared_data("data/reference/" + picture)),
                                                mode.ends_with("320") ? 320 : 640, mode.starts_with("rect"), nms);
    std::vector<Detection> want;
    for (const json& d : item["detections"]) want.push_back(detection_of(d["cls"], d["conf"], d["xyxy"]));
    CHECK(got.size() == want.size());
    Comparison compare(nms);
    compare(got, want);
    compare.report(key);
  }
  CHECK(reference.size() == 6);
}

TEST_CASE("coco: the boxes of the reference on 33 pictures") {
  if (!have({weights_file, "data/coco_cc33/images",
             "data/coco_cc33/yolov5n-v7.0_square640_detections_conf0.25_iou0.45.json"}))
    return;
  const json reference =
      read_json(*test::shared_data("data/coco_cc33/yolov5n-v7.0_square640_detections_conf0.25_iou0.45.json"));
  REQUIRE(reference["columns"] == json({"cls", "conf", "x1", "y1", "x2", "y2"}));
  const NmsOptions nms;
  Detector detector;
  Comparison compare(nms);
  for (const auto& entry : reference["detections"].items()) {
    const std::string& picture = entry.key();
    CAPTURE(picture);
    std::vector<Detection> want;
    for (const json& row : entry.value())
      want.push_back({row.at(2), row.at(3), row.at(4), row.at(5), row.at(1), row.at(0)});
    compare(detector(read_image(*test::shared_data("data/coco_cc33/images/" + picture)), 640, false, nms), want);
  }
  CHECK(reference["detections"].size() == 33);
  CHECK(compare.wanted() == 150);
  compare.report("33 pictures");
}

namespace {

/// The largest difference of a head to the reference's, whose extents are anchors, h, w, numbers.
double head_difference(const View<float>& got, const test::Numbers& want) {
  const Shape s = want.shape;
  REQUIRE(got.shape == Shape{1, s.n * s.w, s.c, s.h});
  double worst = 0;
  for (index_t a = 0; a < s.n; ++a)
    for (index_t y = 0; y < s.c; ++y)
      for (index_t x = 0; x < s.h; ++x)
        for (index_t k = 0; k < s.w; ++k) {
          const double error = std::abs(static_cast<double>(got.at(0, a * s.w + k, y, x)) - want.at(a, y, x, k));
          worst = std::isnan(error) ? HUGE_VAL : std::max(worst, error);
        }
  return worst;
}

/// How far a decoded number may be from the reference's when the logits differ by `logit`: centres move by at most
/// stride / 2, extents by twice themselves, probabilities by 1 / 4 per unit of a logit. Then each side rounds about ten
/// times.
double decoded_bound(index_t column, double value, double stride, double logit) {
  const double slope = column < 2 ? stride / 2 : column < 4 ? 2 * value : 0.25;
  return slope * logit + 20 * test::roundoff<float> * std::max(std::abs(value), column < 2 ? stride : 0.0);
}

}  // namespace

TEST_CASE("zidane at 320: raw heads and decoded boxes") {
  if (!have({weights_file, "data/reference/zidane_square320.safetensors"})) return;
  const SafeTensors file = SafeTensors::read(*test::shared_data("data/reference/zidane_square320.safetensors"));
  ModelOptions options;
  options.height = options.width = 320;
  const Model model = load_model("yolov5n", options);
  Parameters parameters = trained(model.graph);
  Plan plan(model.graph, parameters);
  set_input(plan.input(), file);
  plan.forward();
  const test::Numbers want = test::golden(file, "pred");
  const View<float> got = plan.output("pred");
  REQUIRE(got.shape == want.shape);
  double pixels = 0, probability = 0, ratio = 0;
  index_t row = 0;
  for (std::size_t level = 0; level < 3; ++level) {
    const test::Numbers head = test::golden(file, "raw_p" + std::to_string(3 + level));
    const double logit = head_difference(plan.output("head." + std::to_string(level)), head);
    MESSAGE("head " << level << ": worst difference " << logit);
    CHECK(logit <= 1e-3);
    const double stride = static_cast<double>(model.strides.at(level));
    for (const index_t end = row + head.shape.n * head.shape.c * head.shape.h; row < end; ++row)
      for (index_t k = 0; k < head.shape.w; ++k) {
        const double value = want.at(0, 0, row, k);
        const double error = std::abs(static_cast<double>(got.at(0, 0, row, k)) - value);
        double& worst = k < 4 ? pixels : probability;
        worst = std::isnan(error) ? HUGE_VAL : std::max(worst, error);
        ratio = std::max(ratio, error / decoded_bound(k, value, stride, logit));
      }
  }
  CHECK(row == want.shape.h);
  MESSAGE("pred: worst difference " << pixels << " px, " << probability << " in probabilities; worst error / bound "
                                    << ratio);
  CHECK(std::isfinite(pixels));
  CHECK(probability <= 1e-3);
  CHECK(ratio <= 1);
}

namespace {

/// What rounding in float may do to a value of the network: errors of `depth` convolutions with sums of at most
/// `length` terms, in units of roundoff and of the value's scale.
double rounding_units(const Graph& graph, Value value) {
  const std::vector<char> needed = graph.needed(std::span(&value, 1));
  std::vector<double> depth(needed.size(), 0);
  index_t length = 1;
  for (std::size_t i = 0; i < needed.size(); ++i) {
    if (needed[i] == 0) continue;
    const Node& n = graph.node(static_cast<int>(i));
    for (const Value& v : n.inputs)
      if (v.valid()) depth[i] = std::max(depth[i], depth[static_cast<std::size_t>(v.node)]);
    if (n.op != &ops::conv2d) continue;
    const Shape& w = graph.shape(n.inputs[1]);
    length = std::max(length, w.c * w.h * w.w);
    depth[i] += 1;
  }
  return test::sum_factor(length) * std::sqrt(depth[static_cast<std::size_t>(value.node)]);
}

/// All values of one run, by name of the output.
template <class T>
std::map<std::string, std::vector<double>> run(const Graph& graph, const SafeTensors& file, bool reference) {
  Exec exec;
  exec.dtype = dtype_of<T>;
  exec.reference = reference;
  Parameters parameters = trained(graph, exec.dtype);
  Plan plan(graph, parameters, {Mode::infer, exec, false});
  set_input(plan.input<T>(), file);
  plan.forward();
  std::map<std::string, std::vector<double>> values;
  for (const std::string& name : plan.outputs()) {
    const View<T> y = plan.output<T>(name);
    values[name].assign(y.data, y.data + y.shape.numel());
  }
  return values;
}

struct Difference {
  double scale = 0, worst = 0;
};
Difference difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  Difference d;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double error = std::abs(a[i] - b[i]);
    d.scale = std::max(d.scale, std::abs(b[i]));
    d.worst = std::isnan(error) ? HUGE_VAL : std::max(d.worst, error);
  }
  return d;
}

}  // namespace

TEST_CASE("zidane at 160: every layer") {
  if (!have({weights_file, "data/reference/zidane_160_layers.safetensors"})) return;
  const SafeTensors file = SafeTensors::read(*test::shared_data("data/reference/zidane_160_layers.safetensors"));
  ModelOptions options;
  options.height = options.width = 160;
  Model model = load_model("yolov5n", options);
  std::vector<Output> outputs = model.graph.outputs();
  for (const ModelLayer& layer : model.layers)
    if (layer.module != "Detect")
      outputs.push_back({"layer " + std::to_string(layer.index), layer.outputs.at(0), OutputKind::probe});
  model.graph.set_outputs(outputs);

  const auto truth = run<double>(model.graph, file, true), blocked = run<float>(model.graph, file, false);
  struct Worst {
    double ratio = 0;
    std::string where;
    void add(double r, const std::string& name) {
      if (r > ratio || where.empty()) *this = {r, name};
    }
  } own, reference, both;
  int layers = 0;
  for (const SafeTensors::Entry& entry : file.entries()) {
    if (entry.name == "input_u8_rgb_chw") continue;
    const std::string name =
        entry.name == "pred" ? "pred" : "layer " + std::to_string(std::stoi(entry.name.substr(5, 2)));
    CAPTURE(entry.name);
    const auto output = std::find_if(outputs.begin(), outputs.end(), [&](const Output& o) { return o.name == name; });
    REQUIRE(output != outputs.end());
    const std::vector<double> want = test::golden(file, entry.name).values;
    const Difference a = difference(blocked.at(name), truth.at(name)), b = difference(want, truth.at(name)),
                     c = difference(blocked.at(name), want);
    const double bound = test::roundoff<float> * rounding_units(model.graph, output->value) * a.scale;
    CHECK(a.worst <= bound);
    CHECK(b.worst <= bound);
    CHECK(c.worst <= 2 * bound);
    own.add(a.worst / bound, entry.name);
    reference.add(b.worst / bound, entry.name);
    both.add(c.worst / (2 * bound), entry.name);
    ++layers;
  }
  CHECK(layers == 25);
  MESSAGE("worst error / bound: float plan to exact "
          << own.ratio << " (" << own.where << "), reference to exact " << reference.ratio << " (" << reference.where
          << "), float plan to reference " << both.ratio << " (" << both.where << ")");
}

TEST_SUITE_END();
