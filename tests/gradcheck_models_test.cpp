// Whole networks: are the gradients of every model of the library derivatives? Central differences along random
// directions of all inputs and parameters at once, in double precision.
#include <doctest/doctest.h>

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "slimneck/gradcheck.hpp"
#include "slimneck/model.hpp"

using namespace slimneck;

TEST_SUITE_BEGIN("gradcheck_models");

namespace {

Model small_model(const std::string& name, const std::string& dialect) {
  ModelOptions options;
  options.dialect = dialect;
  options.batch = 2;
  options.height = options.width = 64;
  return load_model(name, options);
}

GradientCheckResult check(const Graph& graph, int directions) {
  Parameters parameters(graph, DType::f64);
  GradientCheckOptions options;
  options.initialise = false;
  options.directions = directions;
  return check_gradients(graph, parameters, options);
}

}  // namespace

TEST_CASE("the gradients of every model are derivatives") {
  for (const std::string& name : model_names())
    for (const char* dialect : {"paper", "y5"}) {
      const auto start = std::chrono::steady_clock::now();
      const Model model = small_model(name, dialect);
      const int directions = name.back() == 'n' ? 8 : name.back() == 's' ? 2 : 1;
      const GradientCheckResult result = check(model.graph, directions);
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      MESSAGE(name << " (" << dialect << "): worst difference / allowed " << result.worst << " of " << result.samples
                   << ", " << seconds.count() << " s");
      CAPTURE(name);
      CAPTURE(dialect);
      CHECK(result.samples == directions);
      CHECK(result.passed());
    }
}

TEST_SUITE_END();
