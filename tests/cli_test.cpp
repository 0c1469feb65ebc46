// The program as its users meet it: what it prints where, what it writes, and its exit codes.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "slimneck/image.hpp"
#include "slimneck/model.hpp"
#include "slimneck/plan.hpp"
#include "slimneck/weights.hpp"
#include "workplace.hpp"

#ifdef SLIMNECK_CLI

using namespace slimneck;
using namespace slimneck::test;
using nlohmann::json;

namespace {

std::vector<float> numbers(const SafeTensors& file, const std::string& name) {
  const Tensor tensor = file.tensor(name);
  return {tensor.data<float>(), tensor.data<float>() + tensor.numel()};
}

}  // namespace

TEST_SUITE_BEGIN("cli");

TEST_CASE("help and version") {
  const Workplace place;
  const Outcome help = place.run("--help");
  CHECK(help.code == 0);
  CHECK(help.err.empty());
  CHECK(contains(help.out, "Examples:"));
  for (const std::string command :
       {"demo", "compare", "detect", "info", "flops", "convert", "export", "explain", "bench", "run", "gradcheck"}) {
    CHECK(contains(help.out, "  " + command + " "));
    const Outcome one = place.run(command + " --help");
    CHECK(one.code == 0);
    CHECK(contains(one.out, "Example"));
    CHECK(contains(one.out, "slimneck " + command));
  }
  const Outcome version = place.run("--version");
  CHECK(version.code == 0);
  for (const char* part : {"slimneck ", "ISA: ", "OpenMP: "}) CHECK(contains(version.out, part));
}

TEST_CASE("a wrong command line is 2 and one line") {
  const Workplace place;
  const std::string detect = "detect --cfg detector.yaml --source x.png ";
  for (const Failure& failure :
       std::vector<Failure>{{"", "subcommand"},
                            {"fly", "no command 'fly'"},
                            {"--fly", "no option '--fly'"},
                            {"-f info", "-f"},
                            {"info", "--cfg"},
                            {"info --cfg yolov5n --fast", "--fast"},
                            {"info --cfg yolov5n --cfg yolov5s", "--cfg"},
                            {"info --cfg yolov5n --nc 0", "--nc"},
                            {"info --cfg yolov5n --nc 1e3", "--nc"},
                            {"info --cfg yolov5n --img 99999999999999999999", "--img"},
                            {"info --cfg yolov5n --img 64 64 64", "--img"},
                            {"info --cfg yolov5n --dialect y6", "paper"},
                            {"info --cfg yolov5n --act Sine", "Sine"},
                            {"info --cfg yolov5n --shuffle twice", "deinterleave"},
                            {"info --cfg yolov5n --init 5", "seed="},
                            {"info --cfg yolov5n --init seed=-1", "seed="},
                            {"info --cfg yolov5n --init seed=1 --weights w", "--weights"},
                            {"flops --cfg yolov5n --convention bops", "thop_old"},
                            {"flops --vs yolov5n", "--cfg"},
                            {detect, "--weights"},
                            {detect + "--init seed=1 --conf nan", "--conf"},
                            {detect + "--init seed=1 --iou-thres 1.5", "--iou"},
                            {detect + "--init seed=1 --max-det 0", "--max-det"},
                            {detect + "--init seed=1 --classes -1", "--classes"},
                            {detect + "--init seed=1 --square --rect", "--rect"},
                            {detect + "--init seed=1 --threads 2000", "--threads"},
                            {"run --cfg plain.yaml --init seed=1 --input x", "--output"},
                            {"run --cfg plain.yaml --init seed=1 --input x --output y --mode fast", "--mode"},
                            {"explain --cfg plain.yaml --block 3", "--block"},
                            {"gradcheck --module GSConf", "GSConf"},
                            {"gradcheck --op gsconv", "conv2d"},
                            {"gradcheck --op conv2d_bwd_x", "conv2d_bwd_x"},
                            {"gradcheck --op silu --dialect y5", "--dialect"},
                            {"gradcheck --module GSConv --nc 3", "--nc"},
                            {"gradcheck --module GSConv --img 64", "--img"},
                            {"gradcheck --module GSConv --init seed=1", "--init"},
                            {"gradcheck --module GSConv --weights w", "--weights"}}) {
    CAPTURE(failure.arguments);
    check_failed(place.run(failure.arguments), 2, failure.cause);
  }
}

TEST_CASE("what does not work is 1 and one line that names the file") {
  const Workplace place;
  place.text("twice.yaml", "nc: 1\nnc: 2\n");
  place.text("deep.yaml", "nc: " + std::string(2000, '[') + "\n");
  place.text("short.safetensors", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10));
  place.text("broken.png", "\x89PNG\r\n\x1a\nnothing");
  place.tensor("x.safetensors", "x", {1, 3, 32, 32});
  place.tensor("flat.safetensors", "x", {3, 32, 32});
  place.tensor("four.safetensors", "x", {1, 4, 32, 32});
  place.tensor("other.safetensors", "z", {1, 3, 32, 32});
  std::filesystem::create_directory(place / "empty");
  const std::string run = "run --cfg plain.yaml --init seed=1 --output y.safetensors --input ";
  for (const Failure& failure : std::vector<Failure>{
           {"info --cfg nowhere", "nowhere"},
           {"run --cfg plain.yaml --init seed=1 --input nowhere --output none/y", "none/y: cannot write"},
           {"info --cfg twice.yaml", "twice.yaml:2:1"},
           {"info --cfg deep.yaml", "deep.yaml:1:"},
           {"info --cfg plain.yaml --weights nowhere.safetensors", "nowhere.safetensors"},
           {"info --cfg plain.yaml --weights short.safetensors", "short.safetensors"},
           {"info --cfg plain.yaml --weights x.safetensors", "missing: 'model.0.conv.weight'"},
           {"detect --cfg detector.yaml --init seed=1 --nosave --source nowhere.png", "nowhere.png"},
           {"detect --cfg detector.yaml --init seed=1 --nosave --source empty", "empty: there are no pictures"},
           {"detect --cfg detector.yaml --init seed=1 --nosave --source broken.png", "broken.png"},
           {"detect --cfg plain.yaml --init seed=1 --nosave --source broken.png", "Detect"},
           {"detect --cfg detector.yaml --init seed=1 --project plain.yaml --source broken.png", "plain.yaml/exp"},
           {run + "nowhere.safetensors", "nowhere.safetensors"},
           {run + "other.safetensors", "no tensor 'x'"},
           {run + "flat.safetensors", "3x32x32"},
           {run + "four.safetensors", "the model takes 1x3x32x32"},
           {run + "x.safetensors --mode train --grad-output other.safetensors", "no tensor 'y'"},
           {"run --cfg plain.yaml --init seed=1 --input x.safetensors --output no/where.safetensors", "no/where"}}) {
    CAPTURE(failure.arguments);
    check_failed(place.run(failure.arguments), 1, failure.cause);
  }
  CHECK_FALSE(std::filesystem::exists(place / "y.safetensors"));
  place.tensor("gradient.safetensors", "y", {1, 8, 16, 15});
  check_failed(place.run(run + "x.safetensors --mode train --grad-output gradient.safetensors"), 1,
               "1x8x16x15; wanted 1x8x16x16");
}

TEST_CASE("a GPU that cannot be used is 1 and one line that says why") {
  try {
    require_device(Device::cuda, 0);
    MESSAGE("skipped: there is a GPU");
    return;
  } catch (const DeviceError&) {
  }
  const Workplace place;
  place.tensor("x.safetensors", "x", {1, 3, 32, 32});
  place.text("data.yaml", "train: a\nval: a\nnc: 1\nnames: [a]\n");
  for (const std::string command :
       {"explain --cfg plain.yaml", "bench --cfg plain.yaml", "compare --layer 8,8,3,1,8", "compare --model plain.yaml",
        "run --cfg plain.yaml --init seed=1 --input x.safetensors --output y.safetensors",
        "detect --cfg detector.yaml --init seed=1 --nosave --source x.png",
        "val --cfg detector.yaml --init seed=1 --data data.yaml", "train --cfg detector.yaml --data data.yaml"}) {
    CAPTURE(command);
    check_failed(place.run(command + " --device cuda:0"), 1, "cuda: ");
    check_failed(place.run(command + " --device cuda:x"), 2, "--device cuda:x: wanted cpu, or cuda:N");
  }
}

TEST_CASE("output that cannot be written is noticed") {
  const Workplace place;
  for (const std::string arguments : {"--help", "--version", "info --cfg yolov5n", "info --cfg yolov5n --json",
                                      "explain --cfg plain.yaml --img 32", "gradcheck --module Conv"}) {
    CAPTURE(arguments);
    const Outcome outcome = place.run(arguments + " >/dev/full");
    CHECK(outcome.code == 1);
    CHECK(outcome.err == "error: standard output: No space left on device\n");
  }
}

TEST_CASE("Ctrl-C is 130") {
  const Workplace place;
  const Outcome outcome =
      place.run("gradcheck --cfg slimneck-n --img 320", "timeout --preserve-status --signal=INT 0.5");
  CHECK(outcome.code == 130);
}

TEST_CASE("info counts slimneck-s as it was published") {
  const Workplace place;
  const Outcome table = place.run("info --cfg slimneck-s --dialect y5");
  CHECK(table.code == 0);
  CHECK(table.err.empty());
  CHECK(contains(table.out,
                 "\n                 from  n    params  module                                  arguments   "));
  CHECK(contains(table.out,
                 "\n  0                -1  1      3520  Conv                                    [3, 32, 6, 2, 2]"));
  CHECK(contains(table.out, "\n 12           [-1, 6]  1         0  Concat"));

  const Outcome outcome = place.run("info --cfg slimneck-s --dialect y5 --json");
  CHECK(outcome.code == 0);
  const json info = json::parse(outcome.out);
  CHECK(info["parameters"] == 7323133);
  CHECK(info["dead_parameters"] == 922752);
  CHECK(info["gflops"]["conv"].get<double>() == doctest::Approx(15.08).epsilon(1e-3));
  CHECK(info["macs"].get<double>() * 2e-9 == doctest::Approx(info["gflops"]["conv"].get<double>()));
  REQUIRE(info["layers"].size() == 25);
  CHECK(info["layers"][12]["from"] == json{-1, 6});
  CHECK(info["layers"][9]["shape"] == json{1, 512, 20, 20});
  CHECK(info["layers"][24]["shape"][0] == json{1, 3, 80, 80, 85});
  index_t sum = 0;
  for (const json& layer : info["layers"]) sum += layer["parameters"].get<index_t>();
  CHECK(sum == info["parameters"]);
}

TEST_CASE("flops: the same numbers as text, as JSON and as info gives them, and ratios of them") {
  const Workplace place;
  const std::string flops = "flops --cfg slimneck-n --vs yolov5n --img 64 ";
  const Outcome text = place.run(flops + "--layers");
  CHECK(text.code == 0);
  const json all = json::parse(place.run(flops + "--json").out);
  const json info = json::parse(place.run("info --cfg slimneck-n --img 64 --json").out);
  CHECK(all["parameters"] == info["parameters"]);
  CHECK(all["dead_parameters"] == 230976);
  REQUIRE(all["dead"].size() == 12);
  for (const json& name : all["dead"]) CHECK(contains(text.out, "no output depends on " + name.get<std::string>()));
  for (const auto& [name, gflops] : info["gflops"].items()) {
    CHECK(all["forward"][name].get<double>() / 1e9 == gflops);
    CHECK(contains(text.out, "\n" + name + " "));
  }

  // "<what> <ours> <theirs> <percent> %"
  const auto line_of = [&](const std::string& what) {
    std::istringstream line(text.out.substr(text.out.find("\n" + what + " ") + 1 + what.size()));
    std::array<double, 3> numbers{};
    for (double& number : numbers) line >> number;
    return numbers;
  };
  const json &ours = all["passes"], &theirs = all["vs"]["passes"];
  const std::vector<std::pair<std::string, std::string>> passes{
      {"forward", "forward"}, {"input gradients", "input_gradient"}, {"weight gradients", "weight_gradient"}};
  for (const auto& pass : passes) {
    const auto& [what, key] = pass;
    CAPTURE(pass.first);
    const std::array<double, 3> line = line_of(what);
    const double a = ours[key]["operations"], b = theirs[key]["operations"];
    CHECK(ours[key]["operations"] == ours[key]["macs"]);
    CHECK(line[0] == a);
    CHECK(line[1] == b);
    CHECK(line[2] == doctest::Approx(100 * a / b).epsilon(1e-4));  // two decimals of about 90
  }
  const double ratio = all["parameters"].get<double>() / all["vs"]["parameters"].get<double>();
  CHECK(line_of("all")[2] == doctest::Approx(100 * ratio).epsilon(1e-4));
  CHECK(contains(text.out, "SPPF"));

  // One convention for every pass and layer.
  const json fvcore = json::parse(place.run(flops + "--convention fvcore --json").out);
  CHECK(fvcore["forward"].size() == 1);
  CHECK(fvcore["passes"]["forward"]["operations"] == all["forward"]["fvcore"]);
  index_t sum = 0;
  for (const json& layer : fvcore["layers"]) sum += layer["passes"]["forward"]["operations"].get<index_t>();
  CHECK(sum == all["forward"]["fvcore"]);
}

TEST_CASE("sizes are rounded up to the stride, aloud") {
  const Workplace place;
  const Outcome outcome = place.run("info --cfg detector.yaml --img 50 --json");
  CHECK(outcome.code == 0);
  CHECK(outcome.err.starts_with("warning: --img"));
  CHECK(json::parse(outcome.out)["layers"][3]["shape"] == json{1, 16, 4, 4});
}

TEST_CASE("run gives what the library gives, in PyTorch's form") {
  const Workplace place;
  place.tensor("x.safetensors", "x", {2, 3, 32, 48});
  const Outcome outcome =
      place.run("run --cfg detector.yaml --init seed=3 --input x.safetensors --output y.safetensors");
  CHECK(outcome.code == 0);
  CHECK(outcome.out.empty());

  const Model model = parse_model(detector_yaml, "detector.yaml", {.batch = 2, .height = 32, .width = 48});
  Parameters parameters(model.graph);
  parameters.initialise(3);
  Plan plan(model.graph, parameters);
  const Tensor x = SafeTensors::read(place / "x.safetensors").tensor("x");
  std::copy_n(x.data<float>(), x.numel(), plan.input().data);
  plan.forward();

  const SafeTensors y = SafeTensors::read(place / "y.safetensors");
  std::set<std::string> names;
  for (const auto& entry : y.entries()) names.insert(entry.name);
  CHECK(names == std::set<std::string>{"head.0", "head.1", "pred"});
  CHECK(y.find("head.0")->dims == std::vector<index_t>{2, 3, 4, 6, 7});
  CHECK(y.find("pred")->dims == std::vector<index_t>{2, 3 * (4 * 6 + 2 * 3), 7});
  const View<float> head = plan.output("head.0"), pred = plan.output("pred");
  std::vector<float> wanted;
  for (index_t n = 0; n < 2; ++n)
    for (index_t a = 0; a < 3; ++a)
      for (index_t h = 0; h < 4; ++h)
        for (index_t w = 0; w < 6; ++w)
          for (index_t o = 0; o < 7; ++o) wanted.push_back(head.at(n, a * 7 + o, h, w));
  CHECK(numbers(y, "head.0") == wanted);
  CHECK(numbers(y, "pred") == std::vector<float>(pred.data, pred.data + pred.shape.numel()));

  CHECK(place.run("run --cfg detector.yaml --init seed=3 --input x.safetensors --output z.safetensors --layers").code ==
        0);
  const SafeTensors z = SafeTensors::read(place / "z.safetensors");
  for (const auto& entry : z.entries()) names.erase(entry.name);
  CHECK(names.empty());
  CHECK(z.entries().size() == 3 + 4);
  CHECK(z.find("layer.0")->dims == std::vector<index_t>{2, 8, 16, 24});
  CHECK(z.find("layer.3")->dims == std::vector<index_t>{2, 16, 2, 3});
}

TEST_CASE("run in training: gradients, running statistics, upstream gradients") {
  const Workplace place;
  place.tensor("x.safetensors", "x", {2, 3, 16, 16});
  const std::string run = "run --cfg plain.yaml --init seed=3 --mode train --input x.safetensors --output ";
  CHECK(place.run(run + "ones.safetensors").code == 0);
  const SafeTensors ones = SafeTensors::read(place / "ones.safetensors");
  std::set<std::string> names;
  for (const auto& entry : ones.entries()) names.insert(entry.name);
  std::set<std::string> wanted{"y", "grad.x"};
  for (const char* conv : {"model.0", "model.1.cv1", "model.1.cv2"}) {
    for (const char* parameter : {".conv.weight", ".bn.weight", ".bn.bias"})
      wanted.insert(std::string("grad.") + conv + parameter);
    for (const char* state : {".bn.running_mean", ".bn.running_var", ".bn.num_batches_tracked"})
      wanted.insert(std::string("buf.") + conv + state);
  }
  CHECK(names == wanted);
  CHECK(ones.find("grad.model.0.conv.weight")->dims == std::vector<index_t>{8, 3, 3, 3});
  CHECK(numbers(ones, "buf.model.0.bn.num_batches_tracked") == std::vector<float>{1});

  // The gradient is linear in the upstream gradient, and doubling it is exact.
  place.tensor("g.safetensors", "y", {2, 8, 8, 8}, 1);
  place.tensor("gg.safetensors", "y", {2, 8, 8, 8}, 2);
  CHECK(place.run(run + "one.safetensors --grad-output g.safetensors").code == 0);
  CHECK(place.run(run + "two.safetensors --grad-output gg.safetensors").code == 0);
  CHECK(place.run(run + "double.safetensors --grad-output g.safetensors --double --reference").code == 0);
  const SafeTensors one = SafeTensors::read(place / "one.safetensors");
  const SafeTensors two = SafeTensors::read(place / "two.safetensors");
  const SafeTensors exact = SafeTensors::read(place / "double.safetensors");
  CHECK(exact.find("grad.x")->dtype == "F64");
  for (const std::string& name : names) {
    if (!name.starts_with("grad.")) continue;
    CAPTURE(name);
    const std::vector<float> a = numbers(one, name), b = numbers(two, name), c = numbers(exact, name);
    REQUIRE(a.size() == b.size());
    float most = 0;
    for (const float v : c) most = std::max(most, std::abs(v));
    for (std::size_t i = 0; i < a.size(); ++i) {
      CHECK(b[i] == 2 * a[i]);
      CHECK(std::abs(a[i] - c[i]) <= 3e-4F * std::max(most, 1e-2F));
    }
  }
}

TEST_CASE("upstream gradients of heads are in PyTorch's form, too") {
  const Workplace place;
  place.tensor("x.safetensors", "x", {2, 3, 16, 16});
  // One number of head.1 (n, anchors, h, w, 5 + classes) of which only the bias of anchor 2's objectness knows.
  const std::vector<float> zero(2 * 3 * 2 * 2 * 7);
  std::vector<float> one(2 * 3 * 1 * 1 * 7);
  one[(1 * 3 + 2) * 7 + 4] = 1;
  write_safetensors(place / "g.safetensors",
                    std::vector{TensorEntry{"head.0", {2, 3, 2, 2, 7}, std::span<const float>(zero)},
                                TensorEntry{"head.1", {2, 3, 1, 1, 7}, std::span<const float>(one)}});
  CHECK(place
            .run("run --cfg detector.yaml --init seed=3 --mode train --input x.safetensors --output y.safetensors "
                 "--grad-output g.safetensors")
            .code == 0);
  const SafeTensors y = SafeTensors::read(place / "y.safetensors");
  std::vector<float> wanted(21);
  wanted[2 * 7 + 4] = 1;
  CHECK(numbers(y, "grad.model.4.m.1.bias") == wanted);
  CHECK(numbers(y, "grad.model.4.m.0.bias") == std::vector<float>(21));
  CHECK(y.find("pred") == nullptr);
}

TEST_CASE("detect draws, saves and reports") {
  const Workplace place;
  Image picture(90, 60, Colour{40, 90, 160});
  draw_box(picture, {10, 10, 60, 50}, "thing", {250, 200, 30}, 4);
  std::filesystem::create_directories(place / "more");
  write_image(place / "a.png", picture);
  write_image(place / "more/a.png", picture);
  const std::string detect =
      "detect --cfg detector.yaml --init seed=1 --img 64 --conf 0 --max-det 5 --source a.png more/a.png ";

  const Outcome human = place.run(detect);
  CHECK(human.code == 0);
  CHECK(human.err.empty());
  CHECK(contains(human.out, "image 1/2 a.png: 48x64 "));  // 64 x 42.7, padded to the stride of 16
  CHECK(contains(human.out, "image 2/2 more/a.png: 48x64 "));
  CHECK(contains(human.out, "ms inference, "));
  CHECK(contains(human.out, "at shape (1, 3, 64, 64)\n"));  // what --img asks for, as YOLOv5 prints it
  CHECK(contains(human.out, "\nResults saved to runs/detect/exp\n"));
  const Image drawn = read_image(place / "runs/detect/exp/a.png");
  CHECK(drawn.width == 90);
  CHECK(drawn.height == 60);
  CHECK(drawn.rgb != picture.rgb);
  CHECK(std::filesystem::exists(place / "runs/detect/exp/a-2.png"));

  const Outcome machine = place.run(detect + "--square --json");
  CHECK(machine.code == 0);
  const json found = json::parse(machine.out);
  CHECK(std::filesystem::exists(place / "runs/detect/exp2/a.png"));
  REQUIRE(found.size() == 2);
  CHECK(found[0]["source"] == "a.png");
  CHECK(found[0]["width"] == 90);
  CHECK(found[0]["height"] == 60);
  CHECK(found[0]["detections"].size() == 5);
  for (const json& d : found[0]["detections"]) {
    CHECK(d["name"] == "class" + std::to_string(d["class"].get<int>()));
    CHECK(d["conf"].get<double>() > 0);
    CHECK(d["xyxy"].size() == 4);
    CHECK(d["xyxy"][2].get<double>() <= 90);
    CHECK(d["xyxy"][3].get<double>() <= 60);
  }
  for (const char* stage : {"pre", "inference", "nms"}) CHECK(found[0]["ms"][stage].get<double>() >= 0);
  CHECK(found[0]["detections"] == found[1]["detections"]);

  const Outcome one_class = place.run(detect + "--classes 1 --nosave --json");
  const json first_picture = json::parse(one_class.out)[0];
  for (const json& d : first_picture["detections"]) CHECK(d["class"] == 1);
  CHECK_FALSE(std::filesystem::exists(place / "runs/detect/exp3"));
  check_failed(place.run(detect + "--classes 2 --nosave"), 2, "--classes");
  CHECK(place.run(detect + "--exist-ok --name exp2").code == 0);
  CHECK_FALSE(std::filesystem::exists(place / "runs/detect/exp22"));
}

TEST_CASE("gradcheck and explain") {
  const Workplace place;
  const Outcome module = place.run("gradcheck --module GSConv --dialect y5");
  CHECK(module.code == 0);
  CHECK(contains(module.out, "GSConv (y5)"));
  CHECK(contains(module.out, "  yes\n"));
  CHECK(contains(module.out, "\n1 checks."));
  const Outcome model = place.run("gradcheck --cfg detector.yaml --img 32");
  CHECK(model.code == 0);
  CHECK(contains(model.out, "detector ("));
  for (const std::string mode : {"infer", "train --batch 2", "train --block 8", "infer --reference"}) {
    const Outcome plan = place.run("explain --cfg plain.yaml --img 32 --mode " + mode);
    CHECK(plan.code == 0);
    CHECK(contains(plan.out, "model.0"));
    CHECK(contains(plan.out, "arena "));
  }
}

TEST_CASE("explain as data and as a page") {
  const Workplace place;
  for (const std::string mode : {"infer", "train"}) {
    const Outcome plan = place.run("explain --cfg detector.yaml --img 32 --json --html plan.html --mode " + mode);
    REQUIRE(plan.code == 0);
    const json all = json::parse(plan.out);
    for (const char* what : {"shuffle", "concat", "copy"}) CHECK(all["bytes_moved"][what] == 0);
    CHECK(all["arena_peak"].get<std::size_t>() >= all["arena_lower_bound"].get<std::size_t>());
    const auto first = std::find_if(all["nodes"].begin(), all["nodes"].end(), [](const json& node) {
      return node["op"] != "pack";
    });  // of parameters, in training
    REQUIRE(first != all["nodes"].end());
    CHECK((*first)["kernel"] != "reference");
    CHECK((*first)["macs"].get<std::int64_t>() > 0);
    CHECK(all["nodes"].back()["pass"] == (mode == "train" ? "backward" : "forward"));
    const std::string page = place.read("plan.html");
    CHECK(contains(page, "<svg"));
    CHECK(contains(page, "model.0"));
    for (const char* fetched : {" src=", "http", "@import", "url("}) CHECK(!contains(page, fetched));
  }
  check_failed(place.run("explain --cfg plain.yaml --img 32 --html missing/plan.html"), 1, "missing");
}

TEST_CASE("bench times models in turns") {
  const Workplace place;
  const Outcome table = place.run("bench --cfg plain.yaml plain.yaml --img 32 --time 0.02 --layers");
  CHECK(table.code == 0);
  for (const char* part : {"median ms", "plain.yaml / plain.yaml: ", "MACs 1.000", "of the median run", "model.0"})
    CHECK(contains(table.out, part));
  for (const std::string mode : {"infer", "train"}) {
    const Outcome data = place.run(
        "bench --cfg plain.yaml plain.yaml --img 32 --batch 2 --time 0.02 --layers --json "
        "--trace trace.json --mode " +
        mode);
    REQUIRE(data.code == 0);
    const json all = json::parse(data.out);
    REQUIRE(all["models"].size() == 2);
    const json& model = all["models"][0];
    CHECK(model["img"] == json{32, 32});
    CHECK(model["min_ms"].get<double>() <= model["median_ms"].get<double>());
    CHECK(model["median_ms"].get<double>() <= model["p95_ms"].get<double>());
    std::int64_t macs = 0;
    for (const json& layer : model["layers"]) macs += layer.value("macs", std::int64_t{0});
    CHECK(macs == model["macs"].get<std::int64_t>());
    REQUIRE(all["ratios"].size() == 1);
    CHECK(all["ratios"][0]["macs"] == 1.0);
    CHECK(all["ratios"][0]["time"].is_null() == all["ratios"][0].contains("reason"));
    const json trace = json::parse(place.read("trace.json"));
    CHECK(trace["traceEvents"].size() > 2 * model["layers"].size());
  }
  check_failed(place.run("bench --img 32"), 2, "--cfg");
}

TEST_SUITE_END();

#else

TEST_CASE("the program was not built") { MESSAGE("skipped: this build has no program"); }

#endif
