// Kernels chosen by measuring: what is asked for, what is remembered, what a broken memory does.
#include "slimneck/tune.hpp"

#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

#include "engine_case.hpp"
#include "slimneck/error.hpp"
#include "slimneck/model.hpp"
#include "temporary_folder.hpp"

using namespace slimneck;

TEST_SUITE_BEGIN("tune");

namespace {

PlanOptions measured(Mode mode, TuneCache* cache) {
  PlanOptions options;
  options.mode = mode;
  options.input_gradients = mode == Mode::train;
  options.tune = Tune::measure;
  options.tuned = cache;
  return options;
}

Model small_model() { return load_model("slimneck-n", {.batch = 1, .height = 96, .width = 64}); }

std::vector<std::string> kernels_of(const Model& model, const PlanOptions& options) {
  Parameters parameters(model.graph);
  std::vector<std::string> kernels;
  for (const PlanStep& s : Plan(model.graph, parameters, options).steps()) kernels.push_back(s.kernel);
  return kernels;
}

}  // namespace

TEST_CASE("plans whose kernels were measured compute what the reference computes") {
  const Model model = small_model();
  TuneCache cache;
  for (const Mode mode : {Mode::infer, Mode::train}) {
    Parameters parameters(model.graph);
    test::fill<float>(parameters);
    Plan plan(model.graph, parameters, measured(mode, &cache));
    const test::AllNumbers want = test::all_numbers<float>(model.graph, mode, test::exec_of(DType::f32, 0));
    CHECK(test::distance(test::run_once<float>(model.graph, plan, parameters, mode), want) <= test::half_of_float);
  }
  CHECK(cache.all().size() > 20);
}

TEST_CASE("what was measured is what the next plan does, whatever it says") {
  const Model model = small_model();
  TuneCache cache;
  const std::vector<std::string> first = kernels_of(model, measured(Mode::train, &cache));
  CHECK(kernels_of(model, measured(Mode::train, &cache)) == first);
  // Every choice turned into the general kernel.
  for (const auto& [key, kernel] : cache.all()) cache.put(key, "any");
  const std::vector<std::string> general = kernels_of(model, measured(Mode::train, &cache));
  const std::set<std::string> names(general.begin(), general.end());
  CHECK(names.count("any") == 1);
  CHECK(names.count("k1") == 0);
  CHECK(names.count("winograd4") == 0);
  // A name that is no kernel, and one that cannot do this: the table decides.
  PlanOptions table;
  table.mode = Mode::train;
  table.input_gradients = true;
  for (const char* other : {"no such kernel", "winograd2"}) {
    for (const auto& [key, kernel] : cache.all()) cache.put(key, other);
    CHECK(kernels_of(model, measured(Mode::train, &cache)) == kernels_of(model, table));
  }
  // Without a cache nothing is kept, and the plan is as good.
  CHECK(kernels_of(model, measured(Mode::infer, nullptr)).size() == kernels_of(model, {}).size());
}

TEST_CASE("direct plans measure direct kernels only") {
  const Model model = small_model();
  TuneCache cache;
  PlanOptions options = measured(Mode::train, &cache);
  options.exec.direct = true;
  static_cast<void>(kernels_of(model, options));
  for (const auto& [key, kernel] : cache.all()) CHECK_FALSE(kernel.starts_with("winograd"));
}

TEST_CASE("the cache file brings back what was saved, and nothing else") {
  const test::TemporaryFolder folder("tune");
  const std::string path = (folder.path() / "deep" / "kernels.txt").string();
  TuneCache empty;
  load_tune_cache(empty, path);
  CHECK(empty.all().empty());

  TuneCache cache;
  cache.put("conv2d avx512 | 1x2x3x4/16", "k1");
  cache.put("other", "winograd4");
  save_tune_cache(cache, path);
  TuneCache again;
  load_tune_cache(again, path);
  CHECK(again.all() == cache.all());

  SUBCASE("of another machine or version") {
    std::ofstream(path) << "slimneck 0.0.0 kernels on something else\nk1\tkey\n";
    load_tune_cache(empty, path);
    CHECK(empty.all().empty());
  }
  SUBCASE("broken lines") {
    std::string header;
    std::getline(std::ifstream(path) >> std::ws, header);
    std::ofstream(path) << header << "\n\tno kernel\nno key\t\nnothing\n"
                        << std::string(5000, 'x') << "\ty\nk3\tgood\n\xff\xfe";
    load_tune_cache(empty, path);
    CHECK(empty.all().size() == 1);
    CHECK(empty.find("good") == "k3");
  }
  SUBCASE("not a file, or too large") {
    CHECK_THROWS_AS(load_tune_cache(empty, folder.path().string()), IoError);
    std::ofstream(path, std::ios::binary).seekp(17 << 20).put('x');
    CHECK_THROWS_AS(load_tune_cache(empty, path), IoError);
    CHECK_THROWS_AS(save_tune_cache(cache, (std::filesystem::path(path) / "below" / "k.txt").string()), IoError);
  }
}

TEST_CASE("the cache lies where the user's caches lie") {
  const auto with = [](const char* xdg, const char* home) {
    const char* old_xdg = std::getenv("XDG_CACHE_HOME");
    const char* old_home = std::getenv("HOME");
    const std::string keep_xdg = old_xdg ? old_xdg : "", keep_home = old_home ? old_home : "";
    setenv("XDG_CACHE_HOME", xdg, 1);
    setenv("HOME", home, 1);
    const std::string path = tune_cache_path();
    old_xdg ? setenv("XDG_CACHE_HOME", keep_xdg.c_str(), 1) : unsetenv("XDG_CACHE_HOME");
    old_home ? setenv("HOME", keep_home.c_str(), 1) : unsetenv("HOME");
    return path;
  };
  CHECK(with("/c", "/h") == "/c/slimneck/kernels.txt");
  CHECK(with("", "/h") == "/h/.cache/slimneck/kernels.txt");
  CHECK(with("relative", "/h") == "/h/.cache/slimneck/kernels.txt");
  CHECK(with("", "").empty());
}

TEST_SUITE_END();
