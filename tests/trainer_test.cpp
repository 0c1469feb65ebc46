// The training loop on pictures of a few pixels: resumed, threaded and accumulated runs agree to the last bit.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "slimneck/error.hpp"
#include "slimneck/files.hpp"
#include "slimneck/train.hpp"
#include "temporary_folder.hpp"
#include "workplace.hpp"

using namespace slimneck;

TEST_SUITE_BEGIN("trainer");

namespace {

namespace fs = std::filesystem;

/// The detector of other tests with a module that has parameters which nothing reads: levels of strides 8 and 16.
std::string network() {
  const std::string end = "  - [-1, 1, GSConv, [16, 3, 2]]\nhead:\n  - [[2, 3], 1, Detect, [nc, anchors]]\n";
  const std::string other =
      "head:\n  - [-1, 1, VoVGSCSP, [16]]\n  - [-1, 1, GSConv, [16, 3, 2]]\n  - [[3, 4], 1, Detect, [nc, anchors]]\n";
  std::string yaml = test::detector_yaml;
  REQUIRE(yaml.ends_with(end));
  return yaml.replace(yaml.size() - end.size(), end.size(), other);
}

Model small_model() {
  ModelOptions options;
  options.height = options.width = 64;
  return parse_model(network(), "small.yaml", options);
}

/// Pictures of 64 x 64 with one bright box each, of class 0 (wide) or 1 (high).
class Pictures {
 public:
  explicit Pictures(index_t count) : folder_("trainer") {
    data.name = "drawn pictures";
    data.nc = 2;
    for (index_t i = 0; i < count; ++i) {
      const bool high = i % 2 == 1;
      const index_t w = high ? 14 : 30, h = high ? 30 : 14, x = 2 + i * 7 % 30, y = 1 + i * 11 % 30;
      Image image(64, 64, {60, 70, 80});
      for (index_t row = y; row < y + h; ++row)
        for (index_t column = x; column < x + w; ++column) {
          const auto at = static_cast<std::size_t>((row * 64 + column) * 3);
          image.rgb[at] = 230;
          image.rgb[at + (high ? 1 : 2)] = 200;
        }
      const fs::path file = folder_ / ("picture" + std::to_string(i) + ".png");
      write_image(file, image);
      const auto part = [](index_t pixels) { return static_cast<float>(pixels) / 64; };
      data.samples.push_back({file, 64, 64, {{high, part(2 * x + w) / 2, part(2 * y + h) / 2, part(w), part(h)}}});
    }
    data.found = count;
  }

  DataSet data;

 private:
  test::TemporaryFolder folder_;
};

TrainOptions small_options() {
  TrainOptions o;
  o.epochs = 4;
  o.batch = 4;
  o.img = 64;
  o.seed = 3;
  o.plan.exec.threads = 1;
  return o;
}

/// What a picture shows stays as it is.
Hyp plain_hyp() {
  Hyp hyp;
  hyp.hsv_h = hyp.hsv_s = hyp.hsv_v = hyp.translate = hyp.scale = hyp.fliplr = hyp.mosaic = 0;
  return hyp;
}

Parameters initial(const Model& model) {
  Parameters parameters(model.graph);
  parameters.initialise(1);
  return parameters;
}

/// So many batches; epochs that are over are booked, with a validation where there are data for it.
void advance(Trainer& trainer, int steps, bool validate) {
  while (steps > 0) {
    if (trainer.step()) {
      --steps;
      continue;
    }
    if (validate) {
      const Validation found = trainer.validate();
      trainer.finish_epoch(&found);
    } else {
      trainer.finish_epoch(nullptr);
    }
  }
}

/// Everything that a training is: its state without what is said about files, and the checksum of all its tensors.
std::string everything(Trainer& trainer) {
  const test::TemporaryFolder folder("everything");
  trainer.save(folder.path());
  TrainState state = find_checkpoint(folder.path()).state;
  state.generation = 0;
  state.tensors.clear();
  return write_train_state(state);
}

std::string failure(Trainer& trainer) {
  try {
    trainer.step();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool same(const Parameters& a, const Parameters& b, const std::string& name) {
  const Tensor &x = a.entries()[static_cast<std::size_t>(a.find(name))].value,
               &y = b.entries()[static_cast<std::size_t>(b.find(name))].value;
  return std::equal(x.data<float>(), x.data<float>() + x.numel(), y.data<float>());
}

/// A training that stands behind the warm-up, where gradients of 64 pictures are added up.
void skip_warmup(Trainer& trainer) {
  const test::TemporaryFolder folder("warm");
  trainer.save(folder.path());
  Checkpoint checkpoint = find_checkpoint(folder.path());
  checkpoint.state.iteration = 100;
  checkpoint.state.last_move = 99;
  CHECK(trainer.load(checkpoint).empty());
}

Validation judged(double of_first, double of_second) {
  Validation v;
  v.metrics.map50 = v.metrics.map50_95 = (of_first + of_second) / 2;
  for (const double ap : {of_first, of_second}) {
    ClassMetrics c;
    c.cls = static_cast<int>(v.metrics.classes.size());
    c.ap.fill(ap);
    v.metrics.classes.push_back(c);
  }
  return v;
}

}  // namespace

TEST_CASE("a training that was interrupted at any batch is the training that was not") {
  const Model model = small_model();
  const Pictures pictures(7), validation(3);
  struct Case {
    const char* name;
    TrainOptions options;
  };
  std::vector<Case> cases(3, {"", small_options()});
  cases[0].name = "SGD, a short last batch";
  cases[1].name = "Adam, pictures by weight, sizes that change";
  cases[1].options.optimizer = OptimizerKind::adamw;
  cases[1].options.image_weights = cases[1].options.multi_scale = true;
  cases[2].name = "gradients that wait, levels that are balanced";
  cases[2].options.batch = 2;
  cases[2].options.autobalance = true;
  for (const Case& each : cases) {
    const TrainOptions& options = each.options;
    CAPTURE(each.name);
    Trainer whole(model, initial(model), pictures.data, &validation.data, options);
    const bool wait = options.batch == 2;
    if (wait) skip_warmup(whole);
    advance(whole, 6, true);
    const std::string wanted = everything(whole);
    for (int first = 0; first <= 6; ++first) {
      CAPTURE(first);
      const test::TemporaryFolder folder("resumed");
      {
        Trainer trainer(model, initial(model), pictures.data, &validation.data, options);
        if (wait) skip_warmup(trainer);
        advance(trainer, first, true);
        trainer.save(folder.path(), {{"name", "value"}});
      }
      Parameters other(model.graph);
      other.initialise(99);
      Trainer trainer(model, other, pictures.data, &validation.data, options);
      const Checkpoint checkpoint = find_checkpoint(folder.path());
      CHECK(checkpoint.state.options.at("name") == "value");
      CHECK(trainer.load(checkpoint).empty());
      advance(trainer, 6 - first, true);
      CHECK(everything(trainer) == wanted);
    }
  }
}

TEST_CASE("threads, workers and a cache do not change a bit") {
  const Model model = small_model();
  const Pictures pictures(7), validation(3);
  std::string wanted;
  for (const auto& [threads, workers, cache] : {std::array{1, 0, 0}, {2, 0, 0}, {1, 1, 1}, {2, 4, 0}, {1, 4, 1}}) {
    TrainOptions options = small_options();
    options.plan.exec.threads = threads;
    options.workers = workers;
    options.cache_bytes = cache ? std::uint64_t{1} << 20 : 0;
    Trainer trainer(model, initial(model), pictures.data, &validation.data, options);
    advance(trainer, 5, true);
    if (wanted.empty()) wanted = everything(trainer);
    CHECK(everything(trainer) == wanted);
  }
}

TEST_CASE("steps tell where they stand, and the books are kept") {
  const Model model = small_model();
  const Pictures pictures(7);
  const Schedule schedule(Hyp{}, 4, 2, 4, false);
  index_t last_move = -1;
  Trainer trainer(model, initial(model), pictures.data, nullptr, small_options());
  CHECK(trainer.batches() == 2);
  CHECK_THROWS_WITH_AS(trainer.validate(), doctest::Contains("no data to validate"), Error);
  LossParts sum;
  for (index_t epoch = 0; epoch < 4; ++epoch) {
    CHECK_FALSE(trainer.finished());
    for (index_t batch = 0; batch < 2; ++batch) {
      const std::optional<StepResult> r = trainer.step();
      REQUIRE(r);
      CHECK(r->epoch == epoch);
      CHECK(r->batch == batch);
      CHECK(r->iteration == epoch * 2 + batch);
      CHECK(r->height == 64);
      CHECK(r->labels == static_cast<index_t>(trainer.batch().targets.size()));
      CHECK(static_cast<index_t>(trainer.batch().images.size()) == (batch == 0 ? 4 : 3));
      sum = batch == 0 ? r->loss : LossParts{sum.box + r->loss.box, sum.obj + r->loss.obj, sum.cls + r->loss.cls};
      CHECK(r->mean.obj == sum.obj / static_cast<double>(batch + 1));
      CHECK(r->rates.lr == schedule.at(r->iteration, epoch).lr);
      CHECK(r->moved == (r->iteration - last_move >= schedule.at(r->iteration, epoch).accumulate));
      CHECK((r->gradient_norm > 0) == r->moved);
      if (r->moved) last_move = r->iteration;
      CHECK(trainer.state().last_move == last_move);
    }
    CHECK_FALSE(trainer.step());
    CHECK(trainer.finish_epoch(nullptr));
    const EpochResult& row = trainer.state().history.back();
    CHECK(row.epoch == epoch);
    CHECK(row.train == LossParts{sum.box / 2, sum.obj / 2, sum.cls / 2});
    CHECK(row.lr[0] > row.lr[1]);  // in the warm-up biases come down while the others rise
  }
  CHECK(trainer.finished());
  CHECK_FALSE(trainer.step());
  CHECK_THROWS_WITH_AS(trainer.finish_epoch(nullptr), doctest::Contains("all 4 epochs are over"), Error);
  CHECK(trainer.state().history.size() == 4);
  CHECK(trainer.plan_stats().arena_bytes > 0);
  CHECK(trainer.skipped() == 0);
}

TEST_CASE("the loss falls on a few pictures") {
  const Model model = small_model();
  const Pictures pictures(8);
  TrainOptions options = small_options();
  options.epochs = 60;
  options.hyp = plain_hyp();
  options.hyp.warmup_bias_lr = 0.01;
  for (const BoxLoss measure : {BoxLoss::ciou, BoxLoss::eiou}) {
    options.box_loss = measure;
    Trainer trainer(model, initial(model), pictures.data, nullptr, options);
    for (index_t epoch = 0; epoch < options.epochs; ++epoch) {
      while (trainer.step()) {
      }
      trainer.finish_epoch(nullptr);
    }
    const std::vector<EpochResult>& history = trainer.state().history;
    CHECK(history.back().train.box < history.front().train.box);
    CHECK(history.back().train.cls < history.front().train.cls);
    CHECK(history.back().train.sum() < history.front().train.sum());
  }
}

TEST_CASE("frozen layers and dead parameters stay, everything else moves") {
  const Model model = small_model();
  const Pictures pictures(8);
  TrainOptions options = small_options();
  options.freeze = {0, 2};
  const Parameters before = initial(model);
  Trainer trainer(model, before, pictures.data, nullptr, options);
  advance(trainer, 4, false);
  const std::vector<std::string> dead = model_stats(model).dead;
  CHECK_FALSE(dead.empty());
  for (const Parameters::Entry& entry : before.entries()) {
    if (entry.role != Role::parameter) continue;
    CAPTURE(entry.name);
    const bool frozen = entry.name.starts_with("model.0.") || entry.name.starts_with("model.2.") ||
                        std::find(dead.begin(), dead.end(), entry.name) != dead.end();
    CHECK(same(before, trainer.parameters(), entry.name) == frozen);
    if (!frozen) CHECK_FALSE(same(before, trainer.average(), entry.name));
  }
  CHECK_FALSE(same(before, trainer.parameters(), "model.0.bn.running_mean"));
}

TEST_CASE("gradients are added up until they are those of 64 pictures") {
  const Model model = small_model();
  Pictures pictures(1);
  pictures.data.samples.resize(64, pictures.data.samples[0]);
  TrainOptions options = small_options();
  options.hyp = plain_hyp();
  options.batch = 16;
  Trainer trainer(model, initial(model), pictures.data, nullptr, options);
  skip_warmup(trainer);
  const Tensor& gradients = trainer.parameters().gradients();
  const std::vector<float> begin(trainer.parameters().entries()[0].value.data<float>(),
                                 trainer.parameters().entries()[0].value.data<float>() + 8);
  CHECK_FALSE(trainer.step()->moved);
  const std::vector<float> once(gradients.data<float>(), gradients.data<float>() + gradients.numel());
  CHECK_FALSE(trainer.step()->moved);
  for (std::size_t i = 0; i < once.size(); ++i) REQUIRE(gradients.data<float>()[i] == 2 * once[i]);
  CHECK_FALSE(trainer.step()->moved);
  CHECK(std::equal(begin.begin(), begin.end(), trainer.parameters().entries()[0].value.data<float>()));
  const std::optional<StepResult> last = trainer.step();
  CHECK(last->moved);
  CHECK(last->rates.accumulate == 4);
  double norm = 0;
  std::vector<char> counts(once.size(), 1);
  for (const Parameters::Entry& entry : trainer.parameters().entries())
    if (const auto dead = model_stats(model).dead; std::find(dead.begin(), dead.end(), entry.name) != dead.end())
      std::fill_n(counts.begin() + entry.gradient_offset, entry.value.numel(), 0);
  for (std::size_t i = 0; i < once.size(); ++i) norm += counts[i] * std::pow(4 * static_cast<double>(once[i]), 2);
  // 3 d and 4 d are rounded once more each: 2 u.
  CHECK(std::abs(last->gradient_norm / std::sqrt(norm) - 1) <= std::numeric_limits<float>::epsilon());
  CHECK(std::all_of(gradients.data<float>(), gradients.data<float>() + gradients.numel(),
                    [](float g) { return g == 0; }));
  CHECK_FALSE(std::equal(begin.begin(), begin.end(), trainer.parameters().entries()[0].value.data<float>()));
  CHECK(trainer.state().moves == 1);
  CHECK(trainer.state().averages == 1);
}

TEST_CASE("a number that is not finite ends the training: tensor, place and pictures are named, nothing moves") {
  const Model model = small_model();
  const Pictures pictures(4);
  TrainOptions options = small_options();
  options.batch = 2;
  for (const float poison : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const std::string name : {"model.1.conv.weight", "model.5.m.1.bias"}) {
      CAPTURE(name);
      Trainer trainer(model, initial(model), pictures.data, nullptr, options);
      advance(trainer, 1, false);
      trainer.parameters().at(name).value.data<float>()[4] = poison;
      trainer.parameters().touch();
      const Parameters before = trainer.parameters(), average = trainer.average();
      const std::string text = failure(trainer);
      CAPTURE(text);
      for (const std::string& part : {std::string("epoch 0, batch 1"), "first bad: " + name, std::string("pictures:")})
        CHECK(text.find(part) != std::string::npos);
      CHECK(trainer.batch().indices.size() == 2);
      for (const index_t i : trainer.batch().indices)
        CHECK(text.find(pictures.data.samples[static_cast<std::size_t>(i)].image.string()) != std::string::npos);
      for (const Parameters::Entry& entry : before.entries()) {
        if (entry.role == Role::parameter && entry.name != name) CHECK(same(before, trainer.parameters(), entry.name));
        CHECK(same(average, trainer.average(), entry.name));
      }
      CHECK(trainer.state().iteration == 1);
      const test::TemporaryFolder folder("broken");
      CHECK_THROWS_WITH_AS(trainer.save(folder.path()), doctest::Contains("not finite"), Error);
      CHECK_THROWS_WITH_AS(trainer.step(), doctest::Contains("not finite"), Error);
      CHECK(fs::is_empty(folder.path()));
    }
  }
  Trainer trainer(model, initial(model), pictures.data, nullptr, options);
  skip_warmup(trainer);
  CHECK_FALSE(trainer.step()->moved);
  trainer.parameters().gradient<float>(trainer.parameters().at("model.2.conv.weight")).data[7] = -INFINITY;
  const std::string text = failure(trainer);
  CHECK(text.find("the gradient of model.2.conv.weight") != std::string::npos);
  CHECK(same(initial(model), trainer.parameters(), "model.2.conv.weight"));
}

TEST_CASE("maps of one number cannot be normalised: the layer is named before anything is trained") {
  const Model model = small_model();
  const Pictures pictures(5);
  TrainOptions options = small_options();
  options.img = 16;
  CHECK_THROWS_WITH_AS(Trainer(model, initial(model), pictures.data, nullptr, options),
                       doctest::Contains("model.4.cv1.bn: a batch of 1x3x16x16"), ShapeError);
  options.img = 32;
  CHECK_NOTHROW(Trainer(model, initial(model), pictures.data, nullptr, options));
  options.multi_scale = true;
  CHECK_THROWS_WITH_AS(Trainer(model, initial(model), pictures.data, nullptr, options), doctest::Contains("1x3x16x16"),
                       ShapeError);
  options.img = 48;  // the smallest multiple of 16 from 24 on is 32
  CHECK_NOTHROW(Trainer(model, initial(model), pictures.data, nullptr, options));
}

TEST_CASE("patience counts the epochs since the best one") {
  const Model model = small_model();
  const Pictures pictures(4);
  TrainOptions options = small_options();
  options.epochs = 100;
  options.patience = 2;
  Trainer trainer(model, initial(model), pictures.data, nullptr, options);
  const auto epoch = [&](double ap) {
    const Validation v = judged(ap, ap);
    return trainer.finish_epoch(&v);
  };
  CHECK(epoch(0));  // 0 is not worse than nothing
  CHECK(epoch(0.3));
  CHECK(epoch(0.3));
  CHECK_FALSE(epoch(0.2));
  CHECK_FALSE(trainer.finished());
  CHECK_FALSE(epoch(std::numeric_limits<double>::quiet_NaN()));
  CHECK(trainer.finished());
  CHECK(trainer.state().best_epoch == 2);
  CHECK(trainer.state().best_fitness == doctest::Approx(0.3));
}

TEST_CASE("pictures of classes that are found already are drawn no more") {
  const Model model = small_model();
  const Pictures pictures(8);
  TrainOptions options = small_options();
  options.image_weights = true;
  Trainer trainer(model, initial(model), pictures.data, nullptr, options);
  const Validation v = judged(1, 0.25);
  trainer.finish_epoch(&v);
  CHECK(trainer.state().class_fitness == std::vector<double>{1, 0.25});
  for (int batch = 0; batch < 2; ++batch) {
    REQUIRE(trainer.step());
    for (const index_t i : trainer.batch().indices) CHECK(i % 2 == 1);
  }
  options.rect = true;
  CHECK_THROWS_AS(Trainer(model, initial(model), pictures.data, nullptr, options), ShapeError);
}

TEST_CASE("a checkpoint of another training is refused, and changed data are told") {
  const Model model = small_model();
  Pictures pictures(4);
  const test::TemporaryFolder folder("foreign");
  TrainOptions options = small_options();
  Trainer trainer(model, initial(model), pictures.data, nullptr, options);
  advance(trainer, 1, false);
  trainer.save(folder.path());
  const Checkpoint checkpoint = find_checkpoint(folder.path());
  const std::string before = everything(trainer);

  options.optimizer = OptimizerKind::adam;
  Trainer adam(model, initial(model), pictures.data, nullptr, options);
  const std::string untouched = everything(adam);
  CHECK_THROWS_WITH_AS(adam.load(checkpoint), doctest::Contains("'moment.1' is missing"), FormatError);
  CHECK(everything(adam) == untouched);

  for (const auto& change : std::vector<std::function<void(TrainState&)>>{
           [](TrainState& s) { s.epoch = 5; }, [](TrainState& s) { s.batch = 9; },
           [](TrainState& s) { s.balance = {4}; }, [](TrainState& s) { s.balance[1] = -1; },
           [](TrainState& s) { s.class_fitness = {0}; }, [](TrainState& s) { s.history.resize(2); },
           [](TrainState& s) { s.last_move = 7; }, [](TrainState& s) { s.moves = 12; },
           [](TrainState& s) { s.loss_sum.box = NAN; }}) {
    Checkpoint changed = checkpoint;
    change(changed.state);
    CHECK_THROWS_WITH_AS(trainer.load(changed), doctest::Contains("cannot be of this training"), FormatError);
  }
  CHECK(everything(trainer) == before);

  pictures.data.samples[2].boxes[0].x += 0.01F;
  options.optimizer = OptimizerKind::sgd;
  Trainer changed(model, initial(model), pictures.data, nullptr, options);
  const std::vector<std::string> notices = changed.load(checkpoint);
  REQUIRE(notices.size() == 1);
  CHECK(notices[0].starts_with("drawn pictures: other pictures or labels"));
}

TEST_CASE("what another training left in the folder is not newer than what is saved") {
  const Model model = small_model();
  const Pictures pictures(4);
  const test::TemporaryFolder folder("used");
  Trainer old(model, initial(model), pictures.data, nullptr, small_options());
  for (int i = 0; i < 3; ++i) old.save(folder.path(), {{"of", "old"}});
  Trainer trainer(model, initial(model), pictures.data, nullptr, small_options());
  for (int i = 0; i < 3; ++i) {
    trainer.save(folder.path(), {{"of", "new"}});
    CHECK(find_checkpoint(folder.path()).state.options.at("of") == "new");
  }
}

TEST_CASE("what cannot be trained is refused with the reason") {
  const Model model = small_model();
  const Pictures pictures(4);
  const auto refused = [&](const Model& m, const DataSet& data, const TrainOptions& options, const char* cause) {
    CHECK_THROWS_WITH_AS(Trainer(m, initial(m), data, nullptr, options), doctest::Contains(cause), Error);
  };
  const Model plain = parse_model(
      "nc: 2\ndepth_multiple: 1\nwidth_multiple: 1\nbackbone: [[-1, 1, Conv, [8, 3, 2]]]\nhead: []\n", "plain.yaml");
  refused(plain, pictures.data, small_options(), "plain: has no Detect");
  DataSet other = pictures.data;
  other.nc = 3;
  refused(model, other, small_options(), "small has 2 classes, drawn pictures has 3");
  TrainOptions options = small_options();
  options.freeze = {6};
  refused(model, pictures.data, options, "freeze: small has no layer 6");
  options = small_options();
  options.img = 40;
  refused(model, pictures.data, options, "img must be a multiple of stride 16");
  options = small_options();
  options.label_smoothing = NAN;
  refused(model, pictures.data, options, "label smoothing");
  options = small_options();
  options.hyp.hsv_h = 1.5;
  refused(model, pictures.data, options, "hyperparameters: hsv_h is 1.5; wanted a number in 0..1");
  options = small_options();
  options.plan.exec.dtype = DType::f64;
  refused(model, pictures.data, options, "f32");
  other = pictures.data;
  for (Sample& sample : other.samples) sample.boxes.clear();
  refused(model, other, small_options(), "no picture has a label");
}

TEST_SUITE_END();
