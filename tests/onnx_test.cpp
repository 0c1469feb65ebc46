// ONNX files: what stands in them, and that other programs compute the same from them.
#include "slimneck/onnx.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>

#include "core/random.hpp"
#include "io/files.hpp"
#include "python.hpp"
#include "slimneck/ops.hpp"
#include "slimneck/weights.hpp"
#include "temporary_folder.hpp"

using namespace slimneck;

namespace {

/// The fields of a protobuf message: number -> contents, for those that are bytes; varints count as their digits.
std::multimap<int, std::string> fields(const std::string& message) {
  std::multimap<int, std::string> found;
  std::size_t at = 0;
  const auto varint = [&] {
    std::uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
      REQUIRE(at < message.size());
      const auto byte = static_cast<unsigned char>(message[at++]);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
  };
  while (at < message.size()) {
    const std::uint64_t key = varint();
    const int number = static_cast<int>(key >> 3);
    std::uint64_t length = 4;
    if ((key & 7) == 0) {
      found.emplace(number, std::to_string(varint()));
      continue;
    }
    if ((key & 7) == 2) length = varint();
    REQUIRE(length <= message.size() - at);
    found.emplace(number, message.substr(at, length));
    at += length;
  }
  return found;
}

std::string first(const std::multimap<int, std::string>& all, int number) {
  const auto at = all.find(number);
  return at == all.end() ? "" : at->second;
}

std::string content(const std::filesystem::path& path) {
  const std::vector<std::byte> bytes = io::read_file(path, std::uint64_t{1} << 28);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct Network {
  Model model;
  Parameters parameters;
};

/// A model with numbers in which every part of batch norm matters.
Network network(const std::string& name, const std::string& dialect, index_t height, index_t width) {
  Model model = load_model(name, {.dialect = dialect, .height = height, .width = width});
  Parameters parameters(model.graph);
  parameters.initialise(7);
  for (Parameters::Entry& entry : parameters.entries()) {
    const core::Stream random(entry.name, 1);
    const auto fill = [&](double low, double high) {
      for (index_t i = 0; i < entry.value.numel(); ++i)
        entry.value.data<float>()[i] = static_cast<float>(random.uniform(static_cast<std::uint64_t>(i), low, high));
    };
    if (entry.name.ends_with("bn.weight") || entry.name.ends_with("running_var")) fill(0.5, 1.5);
    if (entry.name.ends_with("bn.bias") || entry.name.ends_with("running_mean")) fill(-0.5, 0.5);
  }
  return {std::move(model), std::move(parameters)};
}

/// `count` pictures of noise and what the model makes of each.
void write_reference(const std::filesystem::path& path, Network& n, index_t count) {
  Plan plan(n.model.graph, n.parameters);
  const View<float> x = plan.input();
  std::vector<float> inputs, outputs;
  for (index_t i = 0; i < count; ++i) {
    const core::Stream random("picture", static_cast<std::uint64_t>(i));
    for (index_t k = 0; k < x.shape.numel(); ++k)
      x.data[k] = static_cast<float>(random.unit(static_cast<std::uint64_t>(k)));
    inputs.insert(inputs.end(), x.data, x.data + x.shape.numel());
    plan.forward();
    const View<float> y = plan.output("pred");
    outputs.insert(outputs.end(), y.data, y.data + y.shape.numel());
  }
  const Shape y = plan.output("pred").shape;
  write_safetensors(
      path, std::vector{TensorEntry{"x", {count, x.shape.c, x.shape.h, x.shape.w}, std::span<const float>(inputs)},
                        TensorEntry{"y", {count, y.h, y.w}, std::span<const float>(outputs)}});
}

// Reads the reference, runs every picture through PROGRAM and holds it to 1e-4 + 1e-4 |y|: ten times what ONNX Runtime
// demands of its own kernels for one op, because here are a hundred of them, in another order.
constexpr const char* script = R"(
import json, struct, sys
import numpy as np
def tensors(path):
    raw = open(path, 'rb').read()
    n = struct.unpack('<Q', raw[:8])[0]
    kinds = {'F32': np.float32}
    return {k: np.frombuffer(raw[8 + n + v['data_offsets'][0]:8 + n + v['data_offsets'][1]], kinds[v['dtype']]).reshape(v['shape'])
            for k, v in json.loads(raw[8:8 + n]).items()}
program, model, reference = sys.argv[1:4]
t = tensors(reference)
if program == 'onnxruntime':
    import onnx, onnxruntime
    onnx.checker.check_model(onnx.load(model), full_check=True)
    session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])
    run = lambda x: session.run(['output0'], {'images': x})[0]
else:
    import cv2
    net = cv2.dnn.readNetFromONNX(model)
    def run(x):
        net.setInput(x, 'images')
        return net.forward('output0')
worst = max(float(np.max(np.abs(run(t['x'][i:i + 1]) - t['y'][i:i + 1]) / (1e-4 + 1e-4 * np.abs(t['y'][i:i + 1])))) for i in range(len(t['x'])))
print(program, model.split('/')[-1], len(t['x']), 'pictures: worst error / bound =', round(worst, 4))
sys.exit(0 if worst <= 1 else 1)
)";

struct Family {
  std::string name, dialect;
};
const std::vector<Family> families{
    {"yolov5n", ""}, {"slimneck-n", "paper"}, {"slimneck-n", "y5"}, {"slimneck-c-n", "paper"}, {"slimneck-c-n", "y5"}};

}  // namespace

TEST_SUITE_BEGIN("onnx");

TEST_CASE("the file says what it is: inputs, outputs, operators, metadata") {
  const test::TemporaryFolder folder("onnx");
  const Network n = network("slimneck-n", "y5", 64, 96);
  write_onnx(folder / "n.onnx", n.model, n.parameters, {{"stride", "32"}, {"names", "[]"}});
  const auto model = fields(content(folder / "n.onnx"));
  CHECK(first(model, 1) == "8");
  CHECK(first(model, 2) == "slimneck");
  CHECK(first(fields(first(model, 8)), 2) == "17");
  CHECK(model.count(14) == 2);
  const auto graph = fields(first(model, 7));
  CHECK(first(fields(first(graph, 11)), 1) == "images");
  CHECK(first(fields(first(graph, 12)), 1) == "output0");
  std::map<std::string, std::ptrdiff_t> counts;
  for (auto [at, end] = graph.equal_range(1); at != end; ++at) ++counts[first(fields(at->second), 4)];
  const std::vector<char> needed = n.model.graph.needed(std::vector{n.model.graph.outputs().back().value});
  std::ptrdiff_t convolutions = 0, shuffles = 0;
  for (int i = 0; i < n.model.graph.size(); ++i) {
    if (!needed[static_cast<std::size_t>(i)]) continue;
    convolutions += n.model.graph.node(i).op == &ops::conv2d;
    shuffles += n.model.graph.node(i).op == &ops::channel_shuffle;
  }
  CHECK(counts["Conv"] == convolutions);
  CHECK(counts["BatchNormalization"] == 0);
  CHECK(shuffles > 0);
  CHECK(counts["Transpose"] == shuffles + 3);  // and one per level of Detect
  CHECK(counts["Gather"] == 0);
}

TEST_CASE("what cannot be exported is said, and leaves no file") {
  const test::TemporaryFolder folder("onnx_errors");
  Network n = network("yolov5n", "", 64, 64);
  CHECK_THROWS_WITH_AS(write_onnx(folder / "n.onnx", n.model, n.parameters, {}, {.opset = 18}),
                       "ONNX opset 18; wanted 11..17", Error);
  CHECK_THROWS_AS(write_onnx(folder / "none/n.onnx", n.model, n.parameters, {}), IoError);
  Model other = n.model;
  const Value y =
      other.graph.add(ops::pad_channels, {Value{0, 0}}, {{"first", index_t{0}}, {"total", index_t{4}}}, "p");
  other.graph.set_outputs({{"y", y}});
  CHECK_THROWS_WITH_AS(write_onnx(folder / "n.onnx", other, n.parameters, {}), doctest::Contains("pad_channels"),
                       Error);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("ONNX Runtime computes the same for every family, fixed and open") {
  const test::Python python("onnx,onnxruntime,numpy");
  if (!python) return;
  const test::TemporaryFolder folder("onnx_runtime");
  std::ofstream(folder / "check.py") << script;
  for (const Family& family : families) {
    CAPTURE(family.name);
    CAPTURE(family.dialect);
    Network n = network(family.name, family.dialect, 64, 96), other = network(family.name, family.dialect, 96, 32);
    const auto check = [&](const std::string& name, const OnnxOptions& options, Network& reference, index_t count) {
      const auto path = folder / (family.name + family.dialect + name + ".onnx");
      write_onnx(path, n.model, n.parameters, {{"stride", "32"}}, options);
      write_reference(folder / "reference", reference, count);
      CHECK(python.run((folder / "check.py").string() + " onnxruntime " + path.string() + " " +
                       (folder / "reference").string()) == 0);
    };
    check("", {}, n, 20);
    check("-open", {.dynamic = true}, other, 2);
    if (&family == &families.back()) check("-opset11", {.opset = 11}, n, 1);
  }
}

TEST_CASE("OpenCV computes the same") {
  const test::Python python("cv2,numpy");
  if (!python) return;
  const test::TemporaryFolder folder("onnx_opencv");
  std::ofstream(folder / "check.py") << script;
  for (const Family& family : families) {
    CAPTURE(family.name);
    Network n = network(family.name, family.dialect, 64, 96);
    const auto path = folder / (family.name + family.dialect + ".onnx");
    write_onnx(path, n.model, n.parameters, {});
    write_reference(folder / "reference", n, 2);
    CHECK(python.run((folder / "check.py").string() + " opencv " + path.string() + " " +
                     (folder / "reference").string()) == 0);
  }
}

TEST_SUITE_END();
