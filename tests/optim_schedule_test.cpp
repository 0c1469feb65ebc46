// Schedules, optimisers and the moving average against golden numbers, and five steps of a whole network.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "golden_network.hpp"
#include "golden_trajectory.hpp"
#include "shared_data.hpp"
#include "slimneck/error.hpp"
#include "slimneck/optim.hpp"

using namespace slimneck;
using nlohmann::json;

TEST_SUITE_BEGIN("optim_schedule");

namespace {

Model one_layer() {
  ModelOptions options;
  options.height = options.width = 8;
  return parse_model(
      "nc: 2\ndepth_multiple: 1\nwidth_multiple: 1\nbackbone: [[-1, 1, Conv, [8, 3, 2]]]\nhead: [[-1, 1, Conv, [4, 1, "
      "1]]]\n",
      "layer.yaml", options);
}

/// What the parameters and their gradients hold: values of one sign and size for each, so that formulas can be checked.
void fill(Parameters& parameters, float value, float gradient) {
  for (Parameters::Entry& e : parameters.entries()) std::fill_n(e.value.data<float>(), e.value.numel(), value);
  std::fill_n(parameters.gradients().data<float>(), parameters.gradients().numel(), gradient);
}

double first(Parameters& parameters, const std::string& name) {
  return static_cast<double>(parameters.at(name).value.data<float>()[0]);
}

}  // namespace

TEST_CASE("learning rates, momentum and accumulation are YOLOv5's at every iteration") {
  const json golden = json::parse(std::ifstream(test::test_data("post/schedule.json")));
  index_t rows = 0;
  for (const json& c : golden.at("cases")) {
    const Schedule schedule(Hyp{}, c.at("epochs"), c.at("nb"), c.at("batch"), c.at("cos"));
    CHECK(schedule.warmup() == c.at("nw").get<index_t>());
    CHECK(schedule.weight_decay() == doctest::Approx(c.at("scaled_weight_decay").get<double>()).epsilon(1e-15));
    for (const json& row : c.at("rows")) {
      const Rates r = schedule.at(row[0], row[1]);
      CAPTURE(row.dump());
      for (std::size_t i = 0; i < 3; ++i) CHECK(std::abs(r.lr[i] - row[2][i].get<double>()) <= 1e-16);
      CHECK(std::abs(r.momentum - row[3].get<double>()) <= 4e-16);
      CHECK(r.accumulate == row[4].get<index_t>());
      ++rows;
    }
  }
  CHECK(rows > 40);
}

TEST_CASE("weights decay, biases and batch norms do not, and frozen parameters stay") {
  const Model model = one_layer();
  for (const OptimizerKind kind : {OptimizerKind::sgd, OptimizerKind::adam, OptimizerKind::adamw}) {
    CAPTURE(to_string(kind));
    Parameters parameters(model.graph);
    fill(parameters, 2, 0);
    Optimizer optimizer(parameters, {.kind = kind, .weight_decay = 0.1, .frozen = {"model.1.conv.weight"}});
    optimizer.step({{0.5, 0.25, 0.125}, 0.9, 1}, optimizer.gradient_norm());
    CHECK(first(parameters, "model.0.conv.weight") < 2);
    for (const char* name : {"model.0.bn.weight", "model.0.bn.bias", "model.1.conv.weight", "model.0.bn.running_var"})
      CHECK(first(parameters, name) == 2);
    CHECK(optimizer.steps() == 1);
  }
}

TEST_CASE("each group has its learning rate, and the norm counts what moves") {
  const Model model = one_layer();
  Parameters parameters(model.graph);
  fill(parameters, 2, 1);
  Optimizer optimizer(parameters, {.weight_decay = 0, .clip = 0, .frozen = {"model.1.conv.weight"}});
  const double counted = 8.0 * 3 * 9 + 4 * 8;
  CHECK(optimizer.gradient_norm() == doctest::Approx(std::sqrt(counted)).epsilon(1e-12));
  const std::uint64_t version = parameters.version();
  CHECK(optimizer.step({{0.5, 0.25, 0.125}, 0, 1}, 1e9) == 1);
  CHECK(parameters.version() > version);
  CHECK(first(parameters, "model.0.bn.bias") == 1.5);
  CHECK(first(parameters, "model.0.conv.weight") == 1.75);
  CHECK(first(parameters, "model.0.bn.weight") == 1.875);
  CHECK(optimizer.gradient_norm() == 0);
}

TEST_CASE("gradients above the clip are scaled to it") {
  const Model model = one_layer();
  Parameters parameters(model.graph);
  fill(parameters, 0, 3);
  Optimizer optimizer(parameters, {.weight_decay = 0, .clip = 10});
  const double norm = optimizer.gradient_norm(), scale = optimizer.step({{1, 1, 1}, 0, 1}, norm);
  CHECK(scale == 10 / (norm + 1e-6));
  CHECK(first(parameters, "model.0.conv.weight") == doctest::Approx(-3 * scale).epsilon(1e-6));
  std::fill_n(parameters.gradients().data<float>(), 5, std::numeric_limits<float>::quiet_NaN());
  CHECK(std::isnan(optimizer.gradient_norm()));
}

TEST_CASE("names and types that are none are refused") {
  CHECK(optimizer_of("AdamW") == OptimizerKind::adamw);
  CHECK_THROWS_WITH_AS(optimizer_of("Lion"), doctest::Contains("Lion"), Error);
  const Model model = one_layer();
  Parameters parameters(model.graph), wide(model.graph, DType::f64);
  CHECK_THROWS_WITH_AS(Optimizer(parameters, {.frozen = {"model.9.bias"}}), doctest::Contains("model.9.bias"), Error);
  CHECK_THROWS_AS(Optimizer(wide, {}), Error);
  CHECK_THROWS_AS(Ema{wide}, Error);
}

TEST_CASE("the average's decay rises as YOLOv5's does, and counters stay") {
  const json decays = json::parse(std::ifstream(test::test_data("post/schedule.json"))).at("ema_decay");
  const Model model = one_layer();
  for (const auto& item : decays.items()) {
    Parameters parameters(model.graph);
    fill(parameters, 1, 0);
    Ema ema(parameters);
    fill(parameters, 0, 0);
    ema.set_updates(std::stol(item.key()) - 1);
    ema.update(parameters);
    CHECK(ema.updates() == std::stol(item.key()));
    CHECK(first(ema.parameters(), "model.0.conv.weight") == doctest::Approx(item.value().get<double>()).epsilon(1e-7));
    CHECK(first(ema.parameters(), "model.0.bn.running_mean") == first(ema.parameters(), "model.0.conv.weight"));
    CHECK(first(ema.parameters(), "model.0.bn.num_batches_tracked") == 1);
  }
}

TEST_CASE("five steps of slimneck-n follow the golden trajectories") {
  for (const char* mode : {"const", "warmup"}) {
    CAPTURE(mode);
    test::Trajectory(mode).run();
  }
}

TEST_SUITE_END();
