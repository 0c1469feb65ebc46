// Evaluation: detections and labels in pixels of their pictures, whatever the batches, threads and workers.
#include <doctest/doctest.h>

#include <algorithm>
#include <limits>

#include "slimneck/augmented.hpp"
#include "slimneck/error.hpp"
#include "slimneck/evaluate.hpp"
#include "square_data.hpp"
#include "temporary_folder.hpp"
#include "workplace.hpp"

using namespace slimneck;

TEST_SUITE_BEGIN("val");

namespace {

/// A folder with squares, and the network that sees them.
struct Squares {
  test::TemporaryFolder folder{"val"};
  Model model = test::square_model();
  Parameters parameters{model.graph};
  DataSet data;
  EvaluateOptions options{.img = test::square_size};

  explicit Squares(const std::vector<test::SquarePicture>& pictures = test::square_pictures(), ScanOptions scan = {}) {
    test::write_squares(folder.path(), pictures);
    test::open_eyes(parameters);
    data = scan_data(load_data(folder / "squares.yaml"), Split::val, scan);
  }
  [[nodiscard]] Evaluation evaluate() { return Evaluator(model, parameters, data, options)(); }
};

/// In the order of samples.
std::vector<Judged> sorted(const Evaluation& evaluation) {
  std::vector<Judged> judged(evaluation.judged.size());
  for (std::size_t i = 0; i < judged.size(); ++i)
    judged[static_cast<std::size_t>(evaluation.indices[i])] = evaluation.judged[i];
  return judged;
}

bool same(const std::vector<Judged>& a, const std::vector<Judged>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Judged& x, const Judged& y) {
    const auto equal = [](const Truth& s, const Truth& t) {
      return s.cls == t.cls && s.x1 == t.x1 && s.y1 == t.y1 && s.x2 == t.x2 && s.y2 == t.y2;
    };
    return x.detections == y.detections &&
           std::equal(x.truth.begin(), x.truth.end(), y.truth.begin(), y.truth.end(), equal);
  });
}

/// Labels are written with six digits of parts of 128 pixels; each step after that rounds in float32.
constexpr float rounding = 128 * (1e-6F + 8 * std::numeric_limits<float>::epsilon());

template <class Box>
bool covers(const Box& box, const test::Square& square, index_t cell) {
  const auto close = [&](float value, index_t cells) {
    return std::abs(value - static_cast<float>(cells * cell)) <= rounding;
  };
  return box.cls == square.cls && close(box.x1, square.column) && close(box.y1, square.row) &&
         close(box.x2, square.column + 1) && close(box.y2, square.row + 1);
}

}  // namespace

TEST_CASE("every square is found where it is, in pixels of its picture") {
  Squares squares;
  const std::vector<test::SquarePicture> pictures = test::square_pictures();
  for (const bool rect : {false, true})
    for (const index_t batch : {1, 2, 32}) {
      CAPTURE(rect);
      CAPTURE(batch);
      squares.options.rect = rect;
      squares.options.batch = batch;
      const Evaluation evaluation = squares.evaluate();
      REQUIRE(evaluation.judged.size() == pictures.size());
      const std::vector<Judged> judged = sorted(evaluation);
      for (std::size_t i = 0; i < pictures.size(); ++i) {
        const auto& [name, columns, rows, cell, wanted] = pictures[i];
        CAPTURE(name);
        CHECK(judged[i].detections.size() == wanted.size());
        CHECK(judged[i].truth.size() == wanted.size());
        for (const test::Square& square : wanted) {
          const auto is_it = [&, cell = cell](const auto& box) { return covers(box, square, cell); };
          CHECK(std::any_of(judged[i].detections.begin(), judged[i].detections.end(), is_it));
          CHECK(std::any_of(judged[i].truth.begin(), judged[i].truth.end(), is_it));
        }
      }
      const Metrics metrics = yolov5_metrics(evaluation.judged);
      CHECK(metrics.images == 5);
      CHECK(metrics.labels == 8);
      CHECK(metrics.p == doctest::Approx(1).epsilon(1e-6));
      CHECK(metrics.r == 1);
      CHECK(metrics.map50_95 == doctest::Approx(0.995));  // as YOLOv5 has it: its curve falls to 0 at the last recall
      CHECK(coco_metrics(evaluation.judged).ap() == doctest::Approx(1));
    }
}

TEST_CASE("a label of another class is missed, and the square is a mistake") {
  std::vector<test::SquarePicture> pictures = test::square_pictures();
  Squares squares(pictures);
  pictures[0].squares[2].cls = 1;
  std::ofstream(squares.folder.path() / "labels" / "a.txt") << test::labels_of(pictures[0]);
  squares.data = scan_data(load_data(squares.folder / "squares.yaml"), Split::val);
  const Metrics metrics = yolov5_metrics(squares.evaluate().judged);
  REQUIRE(metrics.classes.size() == 2);
  CHECK(metrics.classes[0].labels == 4);
  CHECK(metrics.classes[0].r == 1);
  CHECK(metrics.classes[0].p < 1);
  CHECK(metrics.classes[1].labels == 4);
  CHECK(metrics.classes[1].r == 0.75);
}

TEST_CASE("batches have the shapes of their pictures, or squares") {
  Squares squares;
  squares.options.batch = 1;
  for (const bool rect : {false, true}) {
    squares.options.rect = rect;
    std::vector<std::array<index_t, 2>> shapes;
    Evaluator evaluator(squares.model, squares.parameters, squares.data, squares.options);
    CHECK(evaluator.batches() == 5);
    const Evaluation evaluation = evaluator([&](const Batch& batch, std::span<const Judged> judged) {
      CHECK(judged.size() == batch.images.size());
      shapes.push_back({batch.images[0].height, batch.images[0].width});
    });
    // With half a stride more: 64 becomes 80, and 32 becomes 48.
    using Shapes = std::vector<std::array<index_t, 2>>;
    CHECK(shapes == (rect ? Shapes{{48, 80}, {80, 80}, {80, 80}, {80, 80}, {80, 48}} : Shapes(5, {64, 64})));
    CHECK(evaluation.height == shapes.back()[0]);
    CHECK(evaluation.width == shapes.back()[1]);
  }
}

TEST_CASE("neither threads nor workers nor the size of batches change a bit") {
  Squares squares;
  squares.options.rect = false;
  const std::vector<Judged> wanted = sorted(squares.evaluate());
  for (const index_t batch : {1, 2, 5})
    for (const int threads : {1, 2, 3})
      for (const int workers : {0, 3}) {
        CAPTURE(batch);
        CAPTURE(threads);
        CAPTURE(workers);
        squares.options.batch = batch;
        squares.options.plan.exec.threads = threads;
        squares.options.workers = workers;
        CHECK(same(sorted(squares.evaluate()), wanted));
      }
}

TEST_CASE("an evaluator sees new parameters") {
  Squares squares;
  Evaluator evaluator(squares.model, squares.parameters, squares.data, squares.options);
  CHECK(yolov5_metrics(evaluator().judged).r == 1);
  squares.parameters.at("model.2.m.0.bias").value.data<float>()[4] = -100;
  squares.parameters.touch();
  for (const Judged& judged : evaluator().judged) CHECK(judged.detections.empty());
  test::open_eyes(squares.parameters);
  CHECK(yolov5_metrics(evaluator().judged).r == 1);
}

TEST_CASE("a picture that vanishes is left out and named; without any there is nothing to say") {
  Squares squares;
  squares.options.batch = 2;
  std::filesystem::remove(squares.folder.path() / "images/b.png");
  std::vector<std::string> skipped;
  Evaluator evaluator(squares.model, squares.parameters, squares.data, squares.options);
  const auto collect = [&](const Batch& batch, std::span<const Judged> /*judged*/) {
    skipped.insert(skipped.end(), batch.skipped.begin(), batch.skipped.end());
  };
  const Evaluation evaluation = evaluator(collect);
  CHECK(evaluation.judged.size() == 4);
  CHECK(evaluation.indices.size() == 4);
  CHECK(std::find(evaluation.indices.begin(), evaluation.indices.end(), 1) == evaluation.indices.end());
  REQUIRE(skipped.size() == 1);
  CHECK(skipped[0].find("b.png") != std::string::npos);
  CHECK(yolov5_metrics(evaluation.judged).r == 1);

  std::filesystem::remove_all(squares.folder.path() / "images");
  CHECK_THROWS_AS(squares.evaluate(), Error);
}

TEST_CASE("one class: colours do not matter") {
  std::vector<test::SquarePicture> pictures = test::square_pictures();
  pictures[0].squares[0].cls = 1;  // drawn blue, and labelled red
  Squares squares(pictures, {.single_cls = true});
  CHECK_THROWS_AS(squares.evaluate(), FormatError);
  squares.options.single_cls = true;
  const Evaluation evaluation = squares.evaluate();
  for (const Judged& judged : evaluation.judged) {
    for (const Detection& d : judged.detections) CHECK(d.cls == 0);
    for (const Truth& t : judged.truth) CHECK(t.cls == 0);
  }
  const Metrics metrics = yolov5_metrics(evaluation.judged);
  CHECK(metrics.classes.size() == 1);
  CHECK(metrics.labels == 8);
  CHECK(metrics.r == 1);
}

TEST_CASE("the loss is the mean over batches of what the raw results give") {
  Squares squares;
  squares.parameters.initialise(3);
  DetectionLoss loss(squares.model.anchors, squares.model.strides, 2, loss_options({}, 2, 2, test::square_size));
  squares.options.loss = &loss;
  squares.options.rect = false;
  squares.options.batch = 3;
  LossParts sum;
  Evaluator evaluator(squares.model, squares.parameters, squares.data, squares.options);
  const Evaluation evaluation = evaluator([&](const Batch& batch, std::span<const Judged> /*judged*/) {
    const Shape shape{static_cast<index_t>(batch.images.size()), 3, test::square_size, test::square_size};
    Plan plan(squares.model.graph.with_inputs(std::span(&shape, 1)), squares.parameters);
    const View<float> input = plan.input();
    for (index_t i = 0; i < shape.n; ++i)
      image_to_tensor(batch.images[static_cast<std::size_t>(i)],
                      View<float>(input.data + i * input.sn, {1, 3, shape.h, shape.w}));
    plan.forward();
    const std::vector<View<const float>> heads{plan.output("head.0"), plan.output("head.1")};
    const LossParts parts = loss(std::span<const View<const float>>(heads), batch.targets);
    sum.box += parts.box;
    sum.obj += parts.obj;
    sum.cls += parts.cls;
  });
  CHECK(evaluator.batches() == 2);
  CHECK(evaluation.loss.box == sum.box / 2);
  CHECK(evaluation.loss.obj == sum.obj / 2);
  CHECK(evaluation.loss.cls == sum.cls / 2);
  CHECK(evaluation.loss.box > 0);
}

TEST_CASE("augmented evaluation judges what all looks find") {
  Squares squares;
  squares.options.augment = true;
  squares.options.rect = false;
  const Evaluation evaluation = squares.evaluate();
  CHECK(yolov5_metrics(evaluation.judged).r == 1);
  const std::vector<Judged> judged = sorted(evaluation);

  AugmentedPlans plans(squares.model, squares.parameters);
  const Image image = read_image(squares.data.samples[0].image);
  image_to_tensor(image, plans.input({1, 3, image.height, image.width}));
  const NmsOptions nms{.conf = 0.001F, .iou = 0.6F, .classes = {}, .multi_label = true};
  CHECK(judged[0].detections == non_max_suppression(plans.forward(), nms));
}

TEST_CASE("what does not fit is refused, with both sides named") {
  Squares squares;
  const auto refused = [&](const Model& model, Parameters& parameters) -> std::string {
    try {
      Evaluator(model, parameters, squares.data, squares.options);
    } catch (const Error& problem) {
      return problem.what();
    }
    return "";
  };
  const Model three = parse_model(test::square_yaml, "three.yaml", {.classes = 3, .height = 64, .width = 64});
  Parameters others(three.graph);
  CHECK(refused(three, others) == squares.data.name + ": the data set has 2 classes, and three has 3 classes");
  const Model plain = parse_model(test::plain_yaml, "plain.yaml", {.height = 64, .width = 64});
  Parameters plains(plain.graph);
  CHECK(refused(plain, plains) == "plain: the model has no Detect");
  Parameters doubles(squares.model.graph, DType::f64);
  CHECK(refused(squares.model, doubles).find("float32") != std::string::npos);

  squares.options.conf = 2;
  CHECK(refused(squares.model, squares.parameters).find("conf 2") != std::string::npos);
  squares.options = {.img = 65};
  CHECK(refused(squares.model, squares.parameters).find("multiple of stride 16") != std::string::npos);
  DetectionLoss loss(squares.model.anchors, squares.model.strides, 2, {});
  squares.options = {.img = 64, .augment = true, .loss = &loss};
  CHECK(refused(squares.model, squares.parameters).find("augment") != std::string::npos);
  squares.options = {.img = 64};
  squares.data.samples.clear();
  CHECK(refused(squares.model, squares.parameters).find("no picture") != std::string::npos);
}

TEST_SUITE_END();
