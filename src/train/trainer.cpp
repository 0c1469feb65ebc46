#include <algorithm>
#include <cmath>
#include <sstream>

#include "core/threads.hpp"
#include "io/digest.hpp"
#include "io/files.hpp"
#include "slimneck/error.hpp"
#include "slimneck/train.hpp"
#include "slimneck/version.hpp"
#include "train/checkpoint.hpp"
#include "train/stopwatch.hpp"
#include "train/team.hpp"
#include "train/tensors.hpp"

namespace slimneck {

namespace {

using train::all_finite;

const TrainOptions& checked(const TrainOptions& o, const Model& model, const DataSet& data) {
  if (model.strides.empty()) throw ShapeError(model.name + ": has no Detect, which training needs");
  if (model.classes != data.nc)
    throw ShapeError(model.name + " has " + std::to_string(model.classes) + " classes, " + data.name + " has " +
                     std::to_string(data.nc));
  if (o.epochs < 1 || o.patience < 0 || !(o.label_smoothing >= 0 && o.label_smoothing < 1))
    throw ShapeError("training: epochs are at least 1, patience at least 0, label smoothing in 0..1");
  check_hyp(o.hyp);
  if (o.rect && o.image_weights) throw ShapeError("training: rectangular batches have no image weights");
  if (o.plan.exec.dtype != DType::f32) throw Error("training: works in f32 alone");
  return o;
}

LoaderOptions loader_options(const TrainOptions& o, index_t stride, const train::Team* team) {
  LoaderOptions loader;
  loader.batch = o.batch;
  loader.img = o.img;
  loader.stride = stride;
  loader.augment = true;
  loader.rect = o.rect;
  loader.shuffle = !o.rect;
  loader.multi_scale = o.multi_scale;
  loader.hyp = o.hyp;
  loader.seed = o.seed;
  loader.workers = o.workers;
  loader.cache_bytes = o.cache_bytes;
  if (team != nullptr) loader.part = [team](index_t pictures) { return team->pictures(pictures); };
  return loader;
}

LossOptions loss_options(const TrainOptions& o, const Model& model) {
  LossOptions loss = slimneck::loss_options(o.hyp, static_cast<index_t>(model.strides.size()), model.classes, o.img);
  loss.label_smoothing = o.label_smoothing;
  loss.measure = o.box_loss;
  loss.autobalance = o.autobalance;
  return loss;
}

index_t processes(const TrainOptions& o) { return o.communicator != nullptr ? o.communicator->size() : 1; }

PlanOptions plan_options(const TrainOptions& o, Mode mode) {
  PlanOptions plan = o.plan;
  plan.mode = mode;
  return plan;
}

/// Parameters that never move: dead ones and those of frozen layers.
std::vector<std::string> frozen_names(const Model& model, const Parameters& parameters, const TrainOptions& o) {
  std::vector<std::string> names = model_stats(model).dead;
  for (const index_t layer : o.freeze) {
    if (layer < 0 || layer >= static_cast<index_t>(model.layers.size()))
      throw ShapeError("freeze: " + model.name + " has no layer " + std::to_string(layer));
    const std::string prefix = "model." + std::to_string(layer) + ".";
    for (const Parameters::Entry& entry : parameters.entries())
      if (entry.role == Role::parameter && entry.name.starts_with(prefix)) names.push_back(entry.name);
  }
  return names;
}

OptimizerOptions optimizer_options(const TrainOptions& o, double weight_decay, std::vector<std::string> frozen) {
  OptimizerOptions optimizer;
  optimizer.kind = o.optimizer;
  optimizer.weight_decay = weight_decay;
  optimizer.beta1 = o.hyp.momentum;
  optimizer.frozen = std::move(frozen);
  optimizer.exec = o.plan.exec;
  return optimizer;
}

std::unique_ptr<Evaluator> make_evaluator(const Model& model, Ema& ema, const DataSet* data, const TrainOptions& o,
                                          DetectionLoss& loss) {
  if (data == nullptr) return nullptr;
  EvaluateOptions evaluate;
  evaluate.batch = checked_multiply(o.batch, 2);
  evaluate.img = o.img;
  evaluate.workers = o.workers;
  evaluate.cache_bytes = o.cache_bytes;
  evaluate.loss = &loss;
  evaluate.plan = plan_options(o, Mode::infer);
  return std::make_unique<Evaluator>(model, ema.parameters(), *data, evaluate);
}

/// Throws ShapeError, naming the layer, where a channel of a batch would be a single number: it has no variance.
void require_statistics(const Graph& graph, const Shape& input) {
  const Graph sized = graph.with_inputs(std::span(&input, 1));
  for (const Node& node : sized.nodes()) {
    if (node.op != &ops::batch_norm) continue;
    const Shape& map = sized.shape(node.inputs[0]);
    if (map.n * map.h * map.w < 2)
      throw ShapeError(node.name + ": a batch of " + to_string(input) + " leaves one number a channel, " +
                       to_string(map) +
                       ", and that cannot be normalised: use larger pictures, or batches of two and more");
  }
}

}  // namespace

struct Trainer::Impl {
  Impl(const Model& m, const Parameters& initial, const DataSet& d, const DataSet* validation, const TrainOptions& o)
      : options(checked(o, m, d)),
        model(m),
        data(d),
        parameters(initial),
        team(make_team()),
        loader(d, loader_options(o, m.max_stride(), team.get())),
        schedule(o.hyp, o.epochs, loader.batches(), o.batch, o.cos_lr),
        frozen(frozen_names(m, initial, o)),
        optimizer(parameters, optimizer_options(o, schedule.weight_decay(), frozen)),
        ema(parameters, o.plan.exec),
        loss(m.anchors, m.strides, m.classes, loss_options(o, m)),
        plans(m.graph, parameters, plan_options(o, Mode::train), most_plans),
        evaluator(make_evaluator(model, ema, validation, o, loss)) {
    state.balance = loss.balance();
    state.data = train::fingerprint(data);
    Shape last;
    for (index_t i = 0; i < loader.batches(); ++i) {
      const Shape shape = shape_of_part(smallest_batch(i));
      if (shape != last) require_statistics(model.graph, shape);  // most are as the one before
      last = shape;
    }
  }

  /// Several processes, or one that works as several would.
  [[nodiscard]] std::unique_ptr<train::Team> make_team() {
    if (processes(options) == 1 && !options.sync_bn) return nullptr;
    if (processes(options) > 1) agree();
    train::TeamOptions t;
    t.plan = plan_options(options, Mode::train);
    t.communicator = options.communicator;
    t.sync_bn = options.sync_bn;
    t.batch = std::min(options.batch, static_cast<index_t>(data.samples.size()));
    t.most_plans = most_plans;
    t.dead = model_stats(model).dead;
    return std::make_unique<train::Team>(model, parameters, t);
  }

  [[nodiscard]] std::string other_options() const {
    std::string text = write_hyp(options.hyp) + std::string(to_string(options.optimizer));
    for (const bool flag : {options.box_loss == BoxLoss::eiou, options.cos_lr, options.autobalance, options.rect,
                            options.multi_scale, options.image_weights, options.sync_bn, options.plan.exec.direct})
      text += flag ? '1' : '0';
    text += std::to_string(options.label_smoothing) + " " + std::to_string(options.patience);
    for (const index_t layer : options.freeze) text += " " + std::to_string(layer);
    return text;
  }

  /// All processes train the same network on the same data with the same kernels; the first one's numbers count.
  void agree() {
    Communicator& all = *options.communicator;
    all.require_agreement(std::string("slimneck ") + SLIMNECK_VERSION_STRING + " with " +
                          std::string(name_of(resolve(options.plan.exec.isa))) + " kernels, " + model.name + ", data " +
                          train::fingerprint(data).substr(0, 8) + ", " + std::to_string(options.epochs) +
                          " epochs, batches of " + std::to_string(options.batch) + ", size " +
                          std::to_string(options.img) + ", seed " + std::to_string(options.seed) + ", other options " +
                          io::sha256(other_options()).substr(0, 8));
    for (Parameters::Entry& entry : parameters.entries())
      all.broadcast(
          std::as_writable_bytes(std::span(entry.value.data<float>(), static_cast<std::size_t>(entry.value.numel()))));
    parameters.touch();
  }

  /// For full batches and for the last, shorter one: each may need gigabytes, and is made again in a part of a step.
  static constexpr std::size_t most_plans = 2;

  [[nodiscard]] index_t pictures(index_t i) const {
    return std::min(options.batch, static_cast<index_t>(data.samples.size()) - i * options.batch);
  }
  [[nodiscard]] Shape full_batch() const {
    const std::array<index_t, 2> size = loader.shape(0);
    return {pictures(0), 3, size[0], size[1]};
  }
  [[nodiscard]] Shape smallest_batch(index_t i) const {
    std::array<index_t, 2> size = loader.shape(i);
    const index_t stride = model.max_stride();
    if (options.multi_scale) size.fill((options.img + 2 * stride - 1) / (2 * stride) * stride);
    return {pictures(i), 3, size[0], size[1]};
  }

  void require_sound() const {
    if (broken) throw Error("training: stopped at a number that is not finite; go on from a checkpoint");
  }

  [[nodiscard]] std::string place() const {
    return "epoch " + std::to_string(state.epoch) + ", batch " + std::to_string(state.batch);
  }

  /// Gradients were added up that moved nothing yet.
  [[nodiscard]] static bool pending(const TrainState& s) { return s.batch > 0 && s.last_move != s.iteration - 1; }

  void open_epoch() {
    if (options.image_weights) loader.set_image_weights(weights_of_images());
    loader.begin_epoch(state.epoch, state.batch);
    if (state.batch == 0) parameters.zero_grad();  // as YOLOv5 does: what moved nothing by the epoch's end is dropped
    open = true;
  }

  [[nodiscard]] std::vector<double> weights_of_images() const {
    std::vector<double> classes = class_weights(data);
    for (std::size_t i = 0; i < state.class_fitness.size(); ++i)
      classes[i] *= (1 - state.class_fitness[i]) * (1 - state.class_fitness[i]);
    std::vector<double> weights = slimneck::image_weights(data, classes);
    const bool any = std::any_of(weights.begin(), weights.end(), [](double w) { return w > 0; });
    return any ? weights : std::vector<double>{};
  }

  [[nodiscard]] Shape shape_of_part(const Shape& whole) const { return team ? team->part_of(whole) : whole; }
  Plan& full_plan() { return team ? team->plan(full_batch()) : plans.at(full_batch()); }

  Plan& filled_plan() {
    const Image& first = batch.images.front();
    Plan& plan = plans.at({static_cast<index_t>(batch.images.size()), 3, first.height, first.width});
    const View<float> input = plan.input();
    for (std::size_t i = 0; i < batch.images.size(); ++i)
      image_to_tensor(batch.images[i],
                      View<float>(input.data + static_cast<index_t>(i) * input.sn, {1, 3, first.height, first.width}));
    return plan;
  }

  LossParts measure(Plan& plan) {
    std::vector<View<const float>> heads;
    std::vector<View<float>> gradients;
    for (std::size_t i = 0; i < model.strides.size(); ++i) {
      heads.emplace_back(plan.output("head." + std::to_string(i)));
      gradients.push_back(plan.output_gradient("head." + std::to_string(i)));
    }
    const LossParts parts =
        loss(std::span<const View<const float>>(heads), batch.targets, std::span<const View<float>>(gradients));
    if (!std::isfinite(parts.sum())) fail(first_bad_value(heads, parts), "the loss");
    return parts;
  }

  /// ", the largest number is ... in head.N", which says how far things went.
  [[nodiscard]] static std::string largest_number(std::span<const View<const float>> heads) {
    float largest = 0;
    std::size_t at = 0;
    for (std::size_t i = 0; i < heads.size(); ++i)
      for (const float value : std::span(heads[i].data, static_cast<std::size_t>(heads[i].shape.numel())))
        if (std::abs(value) > std::abs(largest)) {
          largest = value;
          at = i;
        }
    std::ostringstream text;
    if (!heads.empty()) text << ", the largest number is " << largest << " in head." << at;
    return text.str();
  }

  /// Parameters and running statistics come first: what is wrong with them is the cause of the rest.
  [[nodiscard]] std::string first_bad_value(std::span<const View<const float>> heads, const LossParts& parts) const {
    for (const Parameters::Entry& entry : parameters.entries())
      if (!all_finite(entry.value.data<float>(), entry.value.numel())) return entry.name;
    for (std::size_t i = 0; i < heads.size(); ++i)
      if (!all_finite(heads[i].data, heads[i].shape.numel())) return "head." + std::to_string(i);
    return "the " +
           std::string(!std::isfinite(parts.box)   ? "box"
                       : !std::isfinite(parts.obj) ? "objectness"
                                                   : "class") +
           " loss of finite heads" + largest_number(heads);
  }

  /// The one that the backward reached first.
  [[nodiscard]] std::string first_bad_gradient() {
    const std::vector<Parameters::Entry>& entries = parameters.entries();
    const auto bad = std::find_if(entries.rbegin(), entries.rend(), [&](const Parameters::Entry& entry) {
      return entry.role == Role::parameter && std::find(frozen.begin(), frozen.end(), entry.name) == frozen.end() &&
             !all_finite(parameters.gradient<float>(entry).data, entry.value.numel());
    });
    return bad == entries.rend() ? "the sum of finite gradients" : "the gradient of " + bad->name;
  }

  [[noreturn]] void fail(const std::string& tensor, const std::string& what) {
    broken = true;
    std::string text = "training: " + place() + ": " + what + " is not finite, first bad: " + tensor + "; pictures:";
    for (const index_t i : batch.indices) text += " " + data.samples[static_cast<std::size_t>(i)].image.string();
    throw Error(text);
  }

  LossParts train_whole() {
    Plan& plan = filled_plan();
    plan.forward();
    plan.wait();
    const LossParts parts = measure(plan);
    plan.backward();
    plan.wait();
    return parts;
  }

  LossParts train_in_parts() {
    const LossParts parts = (*team)(batch, loss);
    if (!std::isfinite(parts.sum())) fail(first_bad_value({}, parts), "the loss");
    return parts;
  }

  void train_on_batch(StepResult& result) {
    const core::ThreadScope scope(options.plan.exec.threads);
    result.loss = team ? train_in_parts() : train_whole();
    const double norm = optimizer.gradient_norm();
    if (!std::isfinite(norm)) fail(first_bad_gradient(), "the norm of the gradients");
    result.rates = schedule.at(state.iteration, state.epoch);
    if (state.iteration - state.last_move < result.rates.accumulate) return;
    result.moved = true;
    result.gradient_norm = norm;
    optimizer.step(result.rates, norm);
    ema.update(parameters);
    state.last_move = state.iteration;
  }

  void count(StepResult& result) {
    result.epoch = state.epoch;
    result.batch = state.batch++;
    result.iteration = state.iteration++;
    state.loss_sum.box += result.loss.box;
    state.loss_sum.obj += result.loss.obj;
    state.loss_sum.cls += result.loss.cls;
    state.balance = loss.balance();
    state.moves = optimizer.steps();
    state.averages = ema.updates();
    result.mean = mean_loss();
  }

  [[nodiscard]] LossParts mean_loss() const {
    const auto count = static_cast<double>(std::max<index_t>(state.batch, 1));
    return {state.loss_sum.box / count, state.loss_sum.obj / count, state.loss_sum.cls / count};
  }

  [[nodiscard]] std::vector<double> fitness_of_classes(const Metrics& metrics) const {
    std::vector<double> fitness(static_cast<std::size_t>(model.classes), metrics.map50_95);
    for (const ClassMetrics& c : metrics.classes) fitness[static_cast<std::size_t>(c.cls)] = c.ap50_95();
    return fitness;
  }

  /// What the first process found out is what all go on with. Was there a validation?
  [[nodiscard]] bool share(EpochResult& row, std::vector<double>& class_fitness, bool validated) const {
    if (processes(options) == 1) return validated;
    std::vector<double> numbers{validated ? 1.0 : 0.0,
                                static_cast<double>(class_fitness.size()),
                                row.val.box,
                                row.val.obj,
                                row.val.cls,
                                row.p,
                                row.r,
                                row.map50,
                                row.map50_95};
    options.communicator->broadcast(std::as_writable_bytes(std::span(numbers)));
    class_fitness.resize(static_cast<std::size_t>(numbers[1]));
    options.communicator->broadcast(std::as_writable_bytes(std::span(class_fitness)));
    row.val = {numbers[2], numbers[3], numbers[4]};
    row.p = numbers[5];
    row.r = numbers[6];
    row.map50 = numbers[7];
    row.map50_95 = numbers[8];
    return numbers[0] > 0;
  }

  /// Throws FormatError when the state cannot be one of this training.
  void check(const TrainState& s, const std::string& name) const {
    const auto require = [&](bool good, const char* what) {
      if (!good) throw FormatError(name + ": " + what + " cannot be of this training");
    };
    require(s.epoch <= options.epochs && s.best_epoch <= s.epoch, "the epoch");
    require(static_cast<index_t>(s.history.size()) == s.epoch, "the history");
    require(s.batch <= loader.batches() && s.iteration >= s.batch && s.last_move < s.iteration, "the batch");
    require(s.moves <= s.iteration && s.averages == s.moves, "the number of steps");
    require(s.balance.size() == state.balance.size() &&
                std::all_of(s.balance.begin(), s.balance.end(), [](double b) { return std::isfinite(b) && b > 0; }),
            "the balance of the levels");
    require(s.class_fitness.empty() || (static_cast<index_t>(s.class_fitness.size()) == model.classes &&
                                        std::all_of(s.class_fitness.begin(), s.class_fitness.end(),
                                                    [](double f) { return std::isfinite(f); })),
            "the fitness of the classes");
    require(std::isfinite(s.loss_sum.sum()) && std::isfinite(s.best_fitness), "the loss");
  }

  const TrainOptions options;
  const Model model;
  const DataSet& data;
  Parameters parameters;
  std::unique_ptr<train::Team> team;  ///< none where one process works on whole batches
  Loader loader;
  Schedule schedule;
  std::vector<std::string> frozen;
  Optimizer optimizer;
  Ema ema;
  DetectionLoss loss;
  PlanCache plans;
  std::unique_ptr<Evaluator> evaluator;
  TrainState state;
  Batch batch;
  std::filesystem::path folder;  ///< of the last checkpoint
  bool open = false;             ///< the loader is at the next batch of the epoch
  bool broken = false;           ///< a number was not finite
};

Trainer::Trainer(const Model& model, const Parameters& initial, const DataSet& data, const DataSet* validation,
                 const TrainOptions& options)
    : impl_(std::make_unique<Impl>(model, initial, data, validation, options)) {}

Trainer::~Trainer() = default;

std::optional<StepResult> Trainer::step() {
  impl_->require_sound();
  if (impl_->state.epoch >= impl_->options.epochs) return std::nullopt;
  StepResult result;
  train::Stopwatch watch;
  if (!impl_->open) impl_->open_epoch();
  if (!impl_->loader.next(impl_->batch)) return std::nullopt;
  result.wait_ms = watch.lap();
  result.labels = static_cast<index_t>(impl_->batch.targets.size());
  if (!impl_->batch.images.empty()) {
    result.height = impl_->batch.images.front().height;
    result.width = impl_->batch.images.front().width;
  }
  impl_->train_on_batch(result);
  impl_->count(result);
  result.step_ms = watch.lap();
  return result;
}

const Batch& Trainer::batch() const noexcept { return impl_->batch; }
index_t Trainer::batches() const noexcept { return impl_->loader.batches(); }

Validation Trainer::validate(const std::function<void(const Batch&, std::span<const Judged>)>& after_batch) {
  impl_->require_sound();
  if (!impl_->evaluator) throw Error("training: there are no data to validate with");
  Validation found;
  found.evaluation = (*impl_->evaluator)(after_batch);
  found.metrics = yolov5_metrics(found.evaluation.judged);
  found.loss = found.evaluation.loss;
  return found;
}

bool Trainer::finish_epoch(const Validation* validation) {
  impl_->require_sound();
  TrainState& s = impl_->state;
  if (s.epoch >= impl_->options.epochs)
    throw Error("training: all " + std::to_string(s.epoch) + " epochs are over, there is none to finish");
  EpochResult row;
  row.epoch = s.epoch;
  row.train = impl_->mean_loss();
  row.lr = impl_->schedule.at(std::max<index_t>(s.iteration - 1, 0), s.epoch).lr;
  if (validation != nullptr) {
    const Metrics& m = validation->metrics;
    row.val = validation->loss;
    row.p = m.p;
    row.r = m.r;
    row.map50 = m.map50;
    row.map50_95 = m.map50_95;
    s.class_fitness = impl_->fitness_of_classes(m);
  }
  const bool validated = impl_->share(row, s.class_fitness, validation != nullptr);
  const bool best = !validated || row.fitness() >= s.best_fitness;
  if (best) s.best_epoch = s.epoch;
  if (best && validated) s.best_fitness = row.fitness();
  s.history.push_back(row);
  ++s.epoch;
  s.batch = 0;
  s.loss_sum = {};
  impl_->open = false;
  return best;
}

bool Trainer::finished() const noexcept {
  const TrainState& s = impl_->state;
  const index_t patience = impl_->options.patience;
  return s.epoch >= impl_->options.epochs || (patience > 0 && s.epoch > 0 && s.epoch - 1 - s.best_epoch >= patience);
}

const TrainState& Trainer::state() const noexcept { return impl_->state; }
const Model& Trainer::model() const noexcept { return impl_->model; }
const Parameters& Trainer::average() const noexcept { return impl_->ema.parameters(); }
Parameters& Trainer::parameters() noexcept { return impl_->parameters; }
PlanStats Trainer::plan_stats() { return impl_->full_plan().stats(); }
index_t Trainer::skipped() const noexcept { return impl_->loader.skipped(); }

void Trainer::save(const std::filesystem::path& folder, const std::map<std::string, std::string>& options) {
  impl_->require_sound();
  TrainState next = impl_->state;
  // What another training left in the folder must not look newer.
  if (folder != impl_->folder) next.generation = std::max(next.generation, train::last_generation(folder));
  ++next.generation;
  next.options = options;
  const std::vector<train::KeptTensor> kept =
      train::kept_tensors(impl_->parameters, impl_->ema, impl_->optimizer, Impl::pending(next));
  train::write_checkpoint(folder, next, train::tensor_entries(kept));
  impl_->state = std::move(next);
  impl_->folder = folder;
}

std::vector<std::string> Trainer::load(const Checkpoint& checkpoint) {
  const TrainState& s = checkpoint.state;
  const std::string name = checkpoint.folder.string();
  impl_->check(s, name);
  if (processes(impl_->options) > 1)
    impl_->options.communicator->require_agreement("the checkpoint " + s.tensors_sha256.substr(0, 8) + " after batch " +
                                                   std::to_string(s.iteration));
  const bool pending = Impl::pending(s);
  const SafeTensors file = train::read_tensors(checkpoint);
  train::restore_tensors(train::kept_tensors(impl_->parameters, impl_->ema, impl_->optimizer, pending), file);
  if (!pending) impl_->parameters.zero_grad();
  impl_->parameters.touch();
  impl_->ema.parameters().touch();
  impl_->optimizer.set_steps(s.moves);
  impl_->ema.set_updates(s.averages);
  impl_->loss.balance() = s.balance;
  std::vector<std::string> changes;
  if (s.data != impl_->state.data)
    changes.push_back(impl_->data.name + ": other pictures or labels than when " + name + " was written");
  std::string data = std::move(impl_->state.data);
  impl_->state = s;
  impl_->state.data = std::move(data);
  impl_->folder = checkpoint.folder;
  impl_->open = impl_->broken = false;
  return changes;
}

}  // namespace slimneck
