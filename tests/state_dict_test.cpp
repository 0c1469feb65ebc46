// Weights in and out: names, types, counters, and every problem told at once.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "shared_data.hpp"
#include "slimneck/model.hpp"
#include "slimneck/plan.hpp"
#include "slimneck/weights.hpp"
#include "temporary_folder.hpp"

using namespace slimneck;

namespace {

constexpr const char* yaml = R"(depth_multiple: 1.0
width_multiple: 1.0
backbone:
  - [-1, 1, Conv, [8, 3, 1]]
head:
  - [-1, 1, VoVGSCSP, [8]]
)";

Graph small_graph() { return parse_model(yaml, "small.yaml", {.dialect = "y5", .height = 8, .width = 8}).graph; }

bool same_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

bool same_bits(const Parameters& a, const Parameters& b) {
  return std::equal(a.entries().begin(), a.entries().end(), b.entries().begin(), b.entries().end(),
                    [](const auto& x, const auto& y) { return x.name == y.name && same_bits(x.value, y.value); });
}

bool is_counter(const std::string& name) { return name.ends_with("num_batches_tracked"); }

/// A state dict that can be spoiled before it is written.
struct Dict {
  struct Item {
    std::string name;
    std::vector<index_t> dims;
    std::vector<float> values;
    StoredType type = StoredType::f32;
  };
  std::vector<Item> items;

  explicit Dict(const Parameters& parameters) {
    for (const Parameters::Entry& e : parameters.entries())
      if (!is_counter(e.name)) {
        const float* v = e.value.data<float>();
        items.push_back({e.name, e.dims, {v, v + e.value.numel()}});
      }
  }
  Item& at(std::string_view name) {
    return *std::find_if(items.begin(), items.end(), [&](const Item& item) { return item.name == name; });
  }
  [[nodiscard]] SafeTensors written(const std::filesystem::path& path) const {
    std::vector<TensorEntry> entries;
    for (const Item& i : items) entries.push_back({i.name, i.dims, std::span<const float>(i.values), i.type});
    write_safetensors(path, entries);
    return SafeTensors::read(path);
  }
};

std::string failure(Parameters& parameters, const SafeTensors& file) {
  try {
    load_state_dict(parameters, file);
  } catch (const FormatError& problem) {
    return problem.what();
  }
  return "";
}

}  // namespace

TEST_SUITE_BEGIN("state_dict");

TEST_CASE("what was saved is loaded to the last bit, into the same memory") {
  const test::TemporaryFolder folder("state_dict");
  const Graph graph = small_graph();
  for (const DType type : {DType::f32, DType::f64}) {
    Parameters first(graph, type), second(graph, type);
    first.initialise(5);
    Tensor& counter = first.at("model.0.bn.num_batches_tracked").value;
    if (type == DType::f64)
      *counter.data<double>() = 123456789;
    else
      *counter.data<float>() = 1234;
    save_state_dict(folder / "w.safetensors", first, {{"gsconv_dialect", "y5"}});
    const SafeTensors file = SafeTensors::read(folder / "w.safetensors");
    CHECK(file.metadata().at("format") == "pt");
    CHECK(file.metadata().at("gsconv_dialect") == "y5");
    CHECK(file.entries().size() == first.entries().size());
    const SafeTensors::Entry* stored = file.find("model.0.bn.num_batches_tracked");
    REQUIRE(stored != nullptr);
    CHECK(stored->dtype == "I64");
    CHECK(stored->dims.empty());
    REQUIRE(file.find("model.1.res.conv.weight") != nullptr);  // nothing depends on it, but published files have it
    CHECK(file.find("model.0.conv.weight")->dims == std::vector<index_t>{8, 3, 3, 3});

    std::vector<const void*> memory;
    for (const auto& e : second.entries()) memory.push_back(e.value.raw());
    const std::uint64_t version = second.version();
    CHECK_FALSE(same_bits(first, second));
    load_state_dict(second, file);
    CHECK(same_bits(first, second));
    CHECK(second.version() > version);
    for (std::size_t i = 0; i < memory.size(); ++i) CHECK(second.entries()[i].value.raw() == memory[i]);
  }
}

TEST_CASE("every floating type is read, and counters may be absent") {
  const test::TemporaryFolder folder("state_dict");
  const Graph graph = small_graph();
  Parameters parameters(graph);
  const float value = 0.30000001F;
  struct Case {
    StoredType type;
    float wanted;
  };
  for (const Case& each : {Case{StoredType::f16, 0.30004883F}, Case{StoredType::bf16, 0.30078125F},
                           Case{StoredType::f32, value}, Case{StoredType::f64, value}}) {
    Dict dict(parameters);
    for (Dict::Item& item : dict.items) {
      item.type = each.type;
      std::fill(item.values.begin(), item.values.end(), value);
    }
    *parameters.at("model.0.bn.num_batches_tracked").value.data<float>() = 7;
    load_state_dict(parameters, dict.written(folder / "w.safetensors"));
    for (const auto& e : parameters.entries()) {
      const float* v = e.value.data<float>();
      CHECK(std::all_of(v, v + e.value.numel(), [&](float x) { return x == (is_counter(e.name) ? 0 : each.wanted); }));
    }
  }
}

TEST_CASE("a prefix more or less does not matter") {
  const test::TemporaryFolder folder("state_dict");
  const Graph graph = small_graph();
  Parameters first(graph), second(graph);
  first.initialise(5);
  Dict longer(first), shorter(first);
  for (Dict::Item& item : longer.items) item.name = "model." + item.name;
  for (Dict::Item& item : shorter.items) item.name = item.name.substr(6);
  for (const Dict& dict : {longer, shorter}) {
    second.initialise(0);
    load_state_dict(second, dict.written(folder / "w.safetensors"));
    CHECK(same_bits(first, second));
  }
}

TEST_CASE("all problems are listed at once and nothing is changed") {
  const test::TemporaryFolder folder("state_dict");
  const Graph graph = small_graph();
  Parameters parameters(graph), before(graph);
  Dict dict(parameters);
  dict.at("model.0.conv.weight").dims = {8, 3, 9, 1};
  dict.at("model.1.cv1.conv.weight").values[3] = std::numeric_limits<float>::quiet_NaN();
  dict.at("model.1.cv2.conv.weight").values[0] = -std::numeric_limits<float>::infinity();
  dict.at("model.1.cv3.bn.running_var").values[1] = -1e-6F;
  dict.at("model.0.bn.bias").name = "model.0.bn.offset\n";
  dict.at("model.0.bn.weight").name = "model.0.bn.scale";
  const std::string text = failure(parameters, dict.written(folder / "w.safetensors"));
  CAPTURE(text);
  for (const char* part : {"w.safetensors: not the weights of this network: ",
                           "2 missing: 'model.0.bn.weight', 'model.0.bn.bias'", "2 unexpected: ", "'model.0.bn.scale'",
                           "1 of wrong shape: 'model.0.conv.weight' [8, 3, 9, 1] instead of [8, 3, 3, 3]",
                           "2 with NaN or infinity: ", "'model.1.cv1.conv.weight'", "'model.1.cv2.conv.weight'",
                           "1 with a negative variance: 'model.1.cv3.bn.running_var'"})
    CHECK(text.find(part) != std::string::npos);
  CHECK(text.find('\n') == std::string::npos);
  CHECK(same_bits(parameters, before));
}

TEST_CASE("integers are no weights, and a number too large for float is none either") {
  const test::TemporaryFolder folder("state_dict");
  Graph graph;
  graph.parameter("w", {2});
  Parameters single(graph), twice(graph, DType::f64);
  const std::vector<std::int64_t> integers{1, 2};
  write_safetensors(folder / "i.safetensors", std::vector{TensorEntry{"w", {2}, std::span(integers), StoredType::i64}});
  CHECK(failure(single, SafeTensors::read(folder / "i.safetensors")).find("1 of wrong type: 'w' I64") !=
        std::string::npos);
  const std::vector<double> large{1, 1e300};
  write_safetensors(folder / "l.safetensors", std::vector{TensorEntry{"w", {2}, std::span(large), StoredType::f64}});
  const SafeTensors file = SafeTensors::read(folder / "l.safetensors");
  CHECK(failure(single, file).find("1 with NaN or infinity: 'w'") != std::string::npos);
  load_state_dict(twice, file);
  CHECK(twice.at("w").value.data<double>()[1] == 1e300);
}

TEST_CASE("what fits by name and shape is transferred, the rest stays") {
  const test::TemporaryFolder folder("state_dict");
  Parameters source(load_model("yolov5n").graph);
  source.initialise(5);
  save_state_dict(folder / "w.safetensors", source);
  const Model model = load_model("slimneck-n", {.dialect = "y5", .classes = 3});
  Parameters parameters(model.graph), before(model.graph);
  const Transfer done = transfer_state_dict(parameters, SafeTensors::read(folder / "w.safetensors"));
  index_t fitting = 0, backbone = 0;
  for (const Parameters::Entry& e : parameters.entries()) {
    CAPTURE(e.name);
    const int at = source.find(e.name);
    const bool fits =
        at >= 0 && source.entries()[static_cast<std::size_t>(at)].dims == e.dims && !e.name.ends_with(".anchors");
    CHECK(same_bits(e.value, fits ? source.at(e.name).value : before.at(e.name).value));
    fitting += fits;
    const index_t layer = std::stol(e.name.substr(6));
    backbone += layer < 10;
    if (layer < 10) CHECK(fits);
  }
  CHECK(done.taken == fitting);
  CHECK(done.entries == static_cast<index_t>(parameters.entries().size()));
  CHECK(fitting >= backbone);
  CHECK(fitting < done.entries);

  Dict broken(source);
  broken.at("model.0.conv.weight").values[3] = std::numeric_limits<float>::quiet_NaN();
  Parameters untouched(model.graph);
  CHECK_THROWS_WITH_AS(transfer_state_dict(untouched, broken.written(folder / "b.safetensors")),
                       doctest::Contains("1 with NaN or infinity: 'model.0.conv.weight'"), FormatError);
  CHECK(same_bits(untouched, before));
}

TEST_CASE("names of classes") {
  CHECK(class_names({}, 80)[5] == "bus");
  CHECK(class_names({}, 80)[79] == "toothbrush");
  CHECK(class_names({}, 2) == std::vector<std::string>{"class0", "class1"});
  CHECK(class_names({{"names", R"(["cat", "dog"])"}}, 2) == std::vector<std::string>{"cat", "dog"});
  CHECK(class_names({{"names", R"({"1": "dog", "0": "cat"})"}}, 2) == std::vector<std::string>{"cat", "dog"});
  CHECK(class_names({{"names", "cat|dog"}}, 2) == std::vector<std::string>{"cat", "dog"});
  CHECK(class_names({{"names", ""}}, 2)[1] == "class1");
  CHECK(class_names({{"names", R"(["a\u001b[31m", "b\n"])"}}, 2) == std::vector<std::string>{"a [31m", "b "});
  for (const char* unusable : {"{", R"({"0": "cat", "2": "dog"})", "[1, 2]", "7"})
    CHECK_THROWS_AS(class_names({{"names", unusable}}, 2), FormatError);
  CHECK_THROWS_WITH_AS(class_names({{"names", R"(["cat"])"}}, 2), "the weights name 1 classes; the model has 2",
                       FormatError);
}

TEST_CASE("a published network loads and survives a round trip") {
  const auto path = test::shared_data("data/weights/yolov5n-v7.0.safetensors");
  if (!path) {
    MESSAGE("skipped: the published weights are not on this machine");
    return;
  }
  const test::TemporaryFolder folder("state_dict");
  const Graph graph = load_model("yolov5n").graph;
  Parameters first(graph), second(graph);
  load_state_dict(first, SafeTensors::read(*path));
  CHECK(*first.at("model.0.bn.num_batches_tracked").value.data<float>() > 0);
  save_state_dict(folder / "w.safetensors", first);
  load_state_dict(second, SafeTensors::read(folder / "w.safetensors"));
  CHECK(same_bits(first, second));
}

TEST_SUITE_END();
