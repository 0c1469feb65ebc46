// Whole networks on CUDA plans: forward, every gradient, running statistics and five steps of training against golden
// numbers. Launches run in one order here; plan_test.cpp compares two.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "device.hpp"
#include "engine_case.hpp"
#include "golden_modules.hpp"
#include "golden_training.hpp"
#include "golden_trajectory.hpp"
#include "shared_data.hpp"
#include "slimneck/model.hpp"

using namespace slimneck;

namespace {

/// Of a new device that runs everything once, in a shuffled order.
Exec on_cuda() {
  static_cast<void>(emulation::Device::renewed());
  emulation::Device::instance().only = {emulation::Schedule::Kind::shuffled, 3};
  Exec exec;
  exec.device = Device::cuda;
  exec.direct = true;  // it has no Winograd: bounds are those of plans without
  return exec;
}

}  // namespace

TEST_CASE("modules on CUDA are the golden ones") { test::golden_modules::check_all(on_cuda(), "cuda"); }

TEST_CASE("slimneck-n on CUDA trains as the golden network does") {
  const nlohmann::json index = test::read_json(test::test_data("model/index.json"));
  for (const std::string name : {"mish_deint_64x64", "silu_inter_64x64"}) {
    const auto path = test::golden_data("model/full_" + name + ".safetensors");
    REQUIRE(path.has_value());
    test::TrainingCase(name + " cuda", *path, index[name], on_cuda()).run<float>();
  }
}

TEST_CASE("yolov5n on CUDA trains as the reference does in double") {
  ModelOptions options;
  options.classes = 3;
  options.batch = 2;
  options.height = options.width = 64;
  const Model model = load_model("yolov5n", options);
  for (const Mode mode : {Mode::infer, Mode::train}) {
    const test::AllNumbers want = test::all_numbers<double>(model.graph, mode, test::exec_of(DType::f64, 0));
    CHECK(test::distance(test::all_numbers<float>(model.graph, mode, on_cuda()), want) <= test::half_of_float);
  }
}

TEST_CASE("five steps of slimneck-n on CUDA follow the golden trajectory") {
  test::Trajectory("warmup", on_cuda()).run();
}

TEST_CASE("inference of slimneck-s on CUDA is one graph with no more launches than steps") {
  Exec exec = on_cuda();
  const Model model = load_model("slimneck-s", {});
  Parameters parameters(model.graph);
  const Plan plan(model.graph, parameters, {.exec = exec});
  MESSAGE(emulation::Device::instance().captured() << " launches, " << plan.steps().size() << " steps");
  CHECK(emulation::Device::instance().captured() <= static_cast<int>(plan.steps().size()));
}
