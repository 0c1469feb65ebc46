// Whole networks against golden data: every scale and neck forward, and YOLOv5n slim-neck through training with
// YOLOv5's loss, every gradient and the running statistics, on reference and mapped plans.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "golden_case.hpp"
#include "golden_network.hpp"
#include "golden_training.hpp"
#include "kernels/dispatch.hpp"
#include "shared_data.hpp"
#include "slimneck/gradcheck.hpp"
#include "slimneck/plan.hpp"

using namespace slimneck;
using nlohmann::json;

TEST_SUITE_BEGIN("golden_models");

namespace {

std::string model_of(const std::string& scale, const std::string& neck) {
  if (neck == "c3") return "yolov5" + scale;
  return (neck == "gsconv" ? "gsconv-" : neck == "slim" ? "slimneck-" : "slimneck-c-") + scale;
}

}  // namespace

TEST_CASE("every scale and neck gives the golden boxes") {
  const SafeTensors file = SafeTensors::read(test::test_data("model/nets_eval_64x64.safetensors"));
  const json index = test::read_json(test::test_data("model/nets_eval_index.json"));
  const std::vector<double> x = test::golden(file, "x").values;
  double worst = 0;
  std::string where;
  for (const auto& item : index.items()) {
    const std::string key = item.key();
    const json& info = item.value();
    const std::string scale = key.substr(0, 1), neck = key.substr(2, key.rfind('_') - 2);
    const Model model =
        load_model(model_of(scale, neck),
                   test::golden_options(info["family"], info["act"],
                                        info["shuffle"] == "inter" ? "interleave" : "deinterleave", 1, 64, 64));
    CHECK(model.graph.cost().parameters == info["params"].get<index_t>());
    Parameters parameters(model.graph);
    test::fill_by_name(parameters, 3);
    Plan plan(model.graph, parameters);
    std::transform(x.begin(), x.end(), plan.input().data, [](double v) { return static_cast<float>(v); });
    plan.forward();
    const View<float> pred = plan.output("pred");
    const std::vector<double> want = test::golden(file, key + ".decoded").values;
    REQUIRE(static_cast<std::size_t>(pred.shape.numel()) == want.size());
    const test::Extent extent = test::extent_of(model.graph);
    // Both sides are float runs; their errors pass through `depth` layers and add like a random walk.
    double scale_of = 0, error = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
      scale_of = std::max(scale_of, std::abs(want[i]));
      error = std::max(error, std::abs(static_cast<double>(pred.data[i]) - want[i]));
    }
    const double bound =
        2 * test::roundoff<float> * test::sum_factor(extent.length) * std::sqrt(extent.depth) * scale_of;
    CAPTURE(key);
    CHECK(error <= bound);
    if (error / bound > worst) {
      worst = error / bound;
      where = key + ": " + std::to_string(error) + " of " + std::to_string(scale_of);
    }
  }
  CHECK(index.size() == 40);
  MESSAGE("worst error / bound " << worst << " (" << where << ")");
}

TEST_CASE("slimneck-n trains as the golden network does") {
  const json index = test::read_json(test::test_data("model/index.json"));
  for (const char* name : {"mish_deint_64x64", "mish_deint_96x64", "silu_inter_64x64"}) {
    const auto path = test::golden_data("model/full_" + std::string(name) + ".safetensors");
    if (!path) {
      MESSAGE("skipped: full_" << std::string(name) << ".safetensors is not here");
      continue;
    }
    Exec exec;
    for (const index_t block : {0, 1, 16}) {
      exec.reference = block == 0;
      exec.block = block;
      exec.dtype = DType::f64;
      if (block != 1) test::TrainingCase(name, *path, index[name], exec).run<double>();
      exec.dtype = DType::f32;
      if (block != 16) test::TrainingCase(name, *path, index[name], exec).run<float>();
    }
    for (const Isa isa : kernels::available_isas()) {
      exec = {};
      exec.isa = isa;
      test::TrainingCase(name, *path, index[name], exec).run<float>();
      exec.direct = true;
      test::TrainingCase(name, *path, index[name], exec).run<float>();
    }
  }
}

TEST_SUITE_END();
