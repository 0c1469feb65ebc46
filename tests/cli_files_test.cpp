// Weights as users have them, through the program: PyTorch's files in, safetensors, state dicts and ONNX out.
#include <doctest/doctest.h>

#include <limits>

#include "shared_data.hpp"
#include "slimneck/image.hpp"
#include "workplace.hpp"

#ifdef SLIMNECK_CLI

using namespace slimneck;
using slimneck::test::check_failed;
using slimneck::test::contains;
using slimneck::test::Outcome;

namespace {

class Workplace : public test::Workplace {
 public:
  Workplace() : test::Workplace("cli_files") {
    std::filesystem::copy(test::test_data("torch/y5.pt"), *this / "y5.pt");
    write_image(*this / "a.png", Image(96, 64, {200, 100, 50}));
  }
};

bool same(const SafeTensors& a, const SafeTensors& b) {
  return a.metadata() == b.metadata() && a.entries().size() == b.entries().size() &&
         std::all_of(a.entries().begin(), a.entries().end(), [&](const SafeTensors::Entry& e) {
           const SafeTensors::Entry* other = b.find(e.name);
           return other != nullptr && other->dtype == e.dtype && other->dims == e.dims &&
                  std::equal(e.bytes.begin(), e.bytes.end(), other->bytes.begin(), other->bytes.end());
         });
}

}  // namespace

TEST_SUITE_BEGIN("cli_files");

TEST_CASE("convert: there and back nothing is lost") {
  const Workplace place;
  CHECK(place.run("convert y5.pt a.safetensors").code == 0);
  CHECK(place.run("convert a.safetensors b.pt").code == 0);
  CHECK(place.run("convert b.pt c.safetensors").code == 0);
  const SafeTensors a = read_weights(place / "a.safetensors");
  CHECK(a.metadata().at("gsconv_dialect") == "y5");
  CHECK(same(a, read_weights(place / "b.pt")));
  CHECK(same(a, read_weights(place / "c.safetensors")));
  CHECK(a.find("model.0.conv.weight")->dtype == "F16");

  std::filesystem::copy(test::test_data("torch/paper.pt"), place / "paper.pt");
  CHECK(place.run("convert paper.pt whole.safetensors").code == 0);
  CHECK(place.run("convert whole.safetensors half.pt --half").code == 0);
  const SafeTensors half = read_weights(place / "half.pt");
  CHECK(half.find("model.0.conv.weight")->dtype == "F16");
  CHECK(half.find("model.0.bn.num_batches_tracked")->dtype == "I64");
  CHECK(half.find("model.0.bn.num_batches_tracked")->dims.empty());
}

TEST_CASE("convert says what is wrong") {
  const Workplace place;
  check_failed(place.run("convert y5.pt a.bin"), 2, "must end with .safetensors, .pt or .pth");
  check_failed(place.run("convert none.pt a.safetensors"), 1, "none.pt: cannot open");
  check_failed(place.run("convert y5.pt none/a.safetensors"), 1, "none/a.safetensors: cannot write");
  check_failed(place.run("convert detector.yaml a.safetensors"), 1, "detector.yaml: safetensors: ");
  const std::vector<float> bad{1, std::numeric_limits<float>::quiet_NaN()}, large{1e6F};
  write_safetensors(place / "nan.safetensors", std::vector{TensorEntry{"w", {2}, std::span<const float>(bad)}});
  const Outcome warned = place.run("convert nan.safetensors nan.pt");
  CHECK(warned.code == 0);
  CHECK(warned.err == "warning: w holds NaN or infinite numbers\n");
  write_safetensors(place / "large.safetensors", std::vector{TensorEntry{"w", {1}, std::span<const float>(large)}});
  check_failed(place.run("convert large.safetensors large.pt --half"), 1, "too large for F16");
  CHECK(!std::filesystem::exists(place / "large.pt"));
}

TEST_CASE("weights that hold their model file need no --cfg") {
  const Workplace place;
  CHECK(place.run("convert y5.pt a.safetensors").code == 0);
  for (const std::string weights : {"y5.pt", "a.safetensors"}) {
    const Outcome info = place.run("info --weights " + weights);
    CHECK(info.code == 0);
    CHECK(info.err.empty());
    CHECK(contains(info.out, "(dialect y5, nn.Mish(), deinterleave)"));
    const Outcome found = place.run("detect --weights " + weights + " --source a.png --img 64 --conf 0.01");
    CHECK(found.code == 0);
    CHECK(contains(found.out, "image 1/1 a.png: 48x64"));
  }
  const Outcome chosen =
      place.run("info --weights y5.pt --dialect paper");  // what the user says counts, and does not fit
  CHECK(chosen.code == 1);
  CHECK(contains(chosen.err, "not the weights of this network"));
  place.tensor("plain.safetensors", "w", {1});
  check_failed(place.run("info --weights plain.safetensors"), 2,
               "plain.safetensors does not say of which network it is");
  check_failed(place.run("info"), 2, "--cfg is required");
}

TEST_CASE("export writes what was asked for, where it was asked for") {
  const Workplace place;
  const Outcome both = place.run("export --weights y5.pt --include onnx safetensors --img 64");
  CHECK(both.code == 0);
  CHECK(both.out == "Results saved to y5.onnx\nResults saved to y5.safetensors\n");
  CHECK(contains(place.read("y5.onnx"), "output0"));
  CHECK(contains(place.read("y5.onnx"), "[\"cat\",\"d\u00f6g\"]"));
  const SafeTensors weights = read_weights(place / "y5.safetensors");
  CHECK(weights.metadata().at("stride") == "16");
  CHECK(place.run("info --weights y5.safetensors").code == 0);
  CHECK(place.run("export --cfg detector.yaml --init seed=1 --img 64 --dynamic --batch 2 --output d.onnx").code == 0);
  CHECK(contains(place.read("d.onnx"), "height"));

  check_failed(place.run("export --weights y5.safetensors --include safetensors"), 2, "would replace the weights");
  check_failed(place.run("export --weights y5.pt --include onnx onnx"), 2, "twice");
  check_failed(place.run("export --weights y5.pt --include onnx safetensors --output x"), 2, "one format");
  check_failed(place.run("export --weights y5.pt --opset 18"), 2, "11..17");
  check_failed(place.run("export --weights y5.pt --output none/x.onnx"), 1, "none/x.onnx: cannot write");
  check_failed(place.run("export --cfg detector.yaml"), 2, "--weights FILE or --init");
}

TEST_SUITE_END();

#endif
