// Evaluation, step by step as YOLOv5's val.py (version 7): what comes out in float32 there is float32 here.
#include "slimneck/evaluate.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <optional>
#include <string>

#include "core/threads.hpp"
#include "slimneck/augmented.hpp"
#include "slimneck/error.hpp"
#include "train/each.hpp"
#include "train/stopwatch.hpp"

namespace slimneck {

namespace {

/// Batches come in the order of their shapes, so one plan does for all but the last of each.
constexpr std::size_t kept_plans = 2;

/// One picture of a batch.
template <class T>
View<T> picture(View<T> batch, index_t i) {
  batch.data += i * batch.sn;
  batch.shape.n = 1;
  return batch;
}

std::string classes_text(index_t classes) { return std::to_string(classes) + (classes == 1 ? " class" : " classes"); }

void check_model(const Model& model, const Parameters& parameters, const DataSet& data,
                 const EvaluateOptions& options) {
  if (model.strides.empty()) throw ShapeError(model.name + ": the model has no Detect");
  if (const index_t channels = model.graph.shape({0, 0}).c; channels != 3)
    throw ShapeError(model.name + ": the model takes " + std::to_string(channels) + " channels; pictures have 3");
  if (parameters.dtype() != DType::f32) throw ShapeError(model.name + ": evaluation takes parameters in float32");
  if (model.classes != data.nc && !options.single_cls)
    throw FormatError(data.name + ": the data set has " + classes_text(data.nc) + ", and " + model.name + " has " +
                      classes_text(model.classes));
  if (options.loss != nullptr && options.augment)
    throw ShapeError("evaluation: the loss is that of one look at a picture; augment has three");
}

LoaderOptions loader_options(const Model& model, const EvaluateOptions& options) {
  return {.batch = options.batch,
          .img = options.img,
          .stride = model.max_stride(),
          .rect = options.rect,
          .pad = options.rect ? 0.5 : 0,
          .hyp = {},
          .workers = options.workers,
          .cache_bytes = options.cache_bytes};
}

PlanOptions plan_options(const EvaluateOptions& options) {
  PlanOptions plan = options.plan;
  plan.mode = Mode::infer;
  plan.exec.dtype = DType::f32;
  return plan;
}

/// Boxes, and raw heads if they are needed: what is not asked for need not leave the plan.
Graph results_of(const Model& model, bool heads) {
  return model.graph.with_outputs([heads](const Output& o) { return heads || o.name == "pred"; });
}

/// The labels of picture i in its own pixels. They take the way of the detections, so they are rounded as those.
std::vector<Truth> truth_of(const Batch& batch, std::size_t i, const Sample& sample, bool single_cls) {
  const auto w = static_cast<float>(batch.images[i].width), h = static_cast<float>(batch.images[i].height);
  std::vector<Detection> boxes;
  for (const BoxTarget& t : batch.targets) {
    if (t.image != static_cast<int>(i)) continue;
    const float x = t.x * w, y = t.y * h, half_w = t.w * w / 2, half_h = t.h * h / 2;
    boxes.push_back({x - half_w, y - half_h, x + half_w, y + half_h, 1, single_cls ? 0 : t.cls});
  }
  scale_boxes(boxes, batch.geometry[i], sample.height, sample.width);
  std::vector<Truth> truth;
  for (const Detection& box : boxes)
    truth.push_back({.cls = box.cls, .x1 = box.x1, .y1 = box.y1, .x2 = box.x2, .y2 = box.y2});
  return truth;
}

}  // namespace

struct Evaluator::Impl {
  const DataSet& data;
  EvaluateOptions options;
  NmsOptions nms;
  std::size_t levels;
  Loader loader;
  std::optional<PlanCache> plans;
  std::optional<AugmentedPlans> augmented;

  Impl(const Model& model, Parameters& parameters, const DataSet& samples, const EvaluateOptions& chosen)
      : data(samples),
        options(chosen),
        nms{.conf = chosen.conf,
            .iou = chosen.iou,
            .classes = {},
            .agnostic = chosen.single_cls,
            .multi_label = true,
            .max_det = chosen.max_det},
        levels(model.strides.size()),
        loader(samples, loader_options(model, chosen)) {
    const std::array<float, 6> row{};
    static_cast<void>(non_max_suppression(View<const float>(row.data(), {1, 1, 1, 6}), nms));  // checks the options
    if (options.augment)
      augmented.emplace(model, parameters, plan_options(options), 1);
    else
      plans.emplace(results_of(model, options.loss != nullptr), parameters, plan_options(options), kept_plans);
  }

  /// Raw results of the batch, and what the way there took.
  View<const float> look(const Batch& batch, Evaluation& evaluation) {
    const Shape shape{static_cast<index_t>(batch.images.size()), 3, batch.images[0].height, batch.images[0].width};
    Plan* const plan = plans ? &plans->at(shape) : nullptr;
    const View<float> input = plan != nullptr ? plan->input() : augmented->input(shape);
    train::Stopwatch watch;
    for (std::size_t i = 0; i < batch.images.size(); ++i)
      image_to_tensor(batch.images[i], picture(input, static_cast<index_t>(i)));
    evaluation.ms.pre += watch.lap();
    if (plan == nullptr) {
      const View<const float> rows = augmented->forward();
      evaluation.ms.inference += watch.lap();
      return rows;
    }
    plan->forward();
    plan->wait();
    evaluation.ms.inference += watch.lap();
    if (options.loss != nullptr) add_loss(*plan, batch, evaluation.loss);
    return plan->output("pred");
  }

  void add_loss(Plan& plan, const Batch& batch, LossParts& sum) const {
    std::vector<View<const float>> heads;
    for (std::size_t level = 0; level < levels; ++level) heads.push_back(plan.output("head." + std::to_string(level)));
    const LossParts parts = (*options.loss)(std::span<const View<const float>>(heads), batch.targets);
    sum.box += parts.box;
    sum.obj += parts.obj;
    sum.cls += parts.cls;
  }

  std::vector<Judged> judge(const Batch& batch, View<const float> rows) const {
    std::vector<Judged> judged(batch.images.size());
    train::for_each_index(judged.size(), core::max_threads(), [&](std::size_t i) {
      const Sample& sample = data.samples[static_cast<std::size_t>(batch.indices[i])];
      std::vector<Detection>& found = judged[i].detections;
      found = non_max_suppression(picture(rows, static_cast<index_t>(i)), nms);
      scale_boxes(found, batch.geometry[i], sample.height, sample.width);
      if (options.single_cls)
        for (Detection& d : found) d.cls = 0;
      judged[i].truth = truth_of(batch, i, sample, options.single_cls);
    });
    return judged;
  }

  Evaluation run(const AfterBatch& after_batch) {
    const core::ThreadScope threads(options.plan.exec.threads);
    Evaluation evaluation;
    double batches = 0;
    Batch batch;
    for (loader.begin_epoch(0); loader.next(batch); ++batches) {
      const View<const float> rows = look(batch, evaluation);
      train::Stopwatch watch;
      std::vector<Judged> judged = judge(batch, rows);
      evaluation.ms.nms += watch.lap();
      evaluation.height = batch.images[0].height;
      evaluation.width = batch.images[0].width;
      if (after_batch) after_batch(batch, judged);
      evaluation.indices.insert(evaluation.indices.end(), batch.indices.begin(), batch.indices.end());
      std::move(judged.begin(), judged.end(), std::back_inserter(evaluation.judged));
    }
    const auto pictures = static_cast<double>(evaluation.judged.size());
    for (double* const sum : {&evaluation.loss.box, &evaluation.loss.obj, &evaluation.loss.cls}) *sum /= batches;
    for (double* const sum : {&evaluation.ms.pre, &evaluation.ms.inference, &evaluation.ms.nms}) *sum /= pictures;
    return evaluation;
  }
};

Evaluator::Evaluator(const Model& model, Parameters& parameters, const DataSet& data, const EvaluateOptions& options) {
  check_model(model, parameters, data, options);
  impl_ = std::make_unique<Impl>(model, parameters, data, options);
}

Evaluator::~Evaluator() = default;

Evaluation Evaluator::operator()(const AfterBatch& after_batch) { return impl_->run(after_batch); }

index_t Evaluator::batches() const noexcept { return impl_->loader.batches(); }

}  // namespace slimneck
