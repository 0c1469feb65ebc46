// Model files: scaling, names, dialects, and every kind of broken file.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "io/yaml.hpp"
#include "shared_data.hpp"
#include "slimneck/model.hpp"

using namespace slimneck;

namespace {

const std::string small = R"(nc: 3
depth_multiple: 1.0
width_multiple: 1.0
anchors: [[10, 13], [30, 61]]
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 2, C3, [16]]
head:
  - [-1, 1, Conv, [16, 3, 2]]
  - [[1, 2], 1, Detect, [nc, anchors]]
)";

/// `small` with one occurrence of `old` replaced.
std::string with(const std::string& old, const std::string& text) {
  std::string yaml = small;
  const std::size_t at = yaml.find(old);
  REQUIRE_MESSAGE(at != std::string::npos, old);
  return yaml.replace(at, old.size(), text);
}

/// `small` with another first line.
std::string after(const std::string& line) { return line + "\n" + small; }

Model parse(const std::string& yaml, ModelOptions options = {}) {
  options.height = options.width = 64;
  return parse_model(yaml, "m.yaml", options);
}

/// The message of the slimneck::Error that parsing throws; "" when it throws none.
std::string problem_of(const std::string& yaml, const ModelOptions& options = {}) {
  try {
    static_cast<void>(parse(yaml, options));
  } catch (const Error& problem) {
    return problem.what();
  }
  return {};
}

void check_problem(const std::string& yaml, const std::string& wanted, const ModelOptions& options = {}) {
  CAPTURE(yaml.substr(0, 400));
  const std::string message = problem_of(yaml, options);
  CAPTURE(message);
  CHECK(message.find(wanted) != std::string::npos);
  CHECK(message.find('\n') == std::string::npos);
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

/// Nine levels of ten aliases each: a billion values.
std::string alias_bomb() {
  std::string yaml = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string below = "*a" + std::to_string(i - 1);
    yaml += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + repeated(below + ", ", 9) + below + "]\n";
  }
  return yaml;
}

index_t width_of(const Model& model, std::size_t layer) {
  return model.graph.shape(model.layers.at(layer).outputs.at(0)).c;
}

}  // namespace

TEST_CASE("a small model file becomes the graph that it says") {
  const Model model = parse(small);
  CHECK(model.name == "m");
  CHECK(model.classes == 3);
  CHECK(model.dialect == "yolov5");
  CHECK(model.warnings.empty());
  CHECK(model.strides == std::vector<index_t>{2, 4});
  CHECK(model.max_stride() == 4);
  REQUIRE(model.layers.size() == 4);
  CHECK(model.layers[1].arguments == "[8, 16, 2]");
  CHECK(model.layers[3].arguments == "[3, [[10, 13], [30, 61]], [16, 16]]");
  CHECK(model.layers[3].from == std::vector<int>{1, 2});
  REQUIRE(model.layers[3].outputs.size() == 2);
  CHECK(model.graph.shape(model.layers[3].outputs[1]) == Shape{1, 8, 16, 16});
  REQUIRE(model.graph.outputs().size() == 3);
  CHECK(model.graph.outputs()[2].name == "pred");
  CHECK(model.graph.shape(model.graph.outputs()[2].value) == Shape{1, 1, 32 * 32 + 16 * 16, 8});
}

TEST_CASE("spelling does not matter: block style, quotes, aliases, CRLF, byte order mark") {
  const index_t parameters = model_stats(parse(small)).parameters;
  std::string crlf = "\xEF\xBB\xBF";
  for (const char c : small) crlf += c == '\n' ? std::string("\r\n") : std::string(1, c);
  const std::string block = R"(anchors: &a
- [10, 13]
- [30, 61]
"nc": 3
'depth_multiple': 1
width_multiple: 1.0e0
backbone:
- - -1
  - 1
  - 'Conv'
  - [8, 3, 2]   # a comment
- [-1, 2, "C3", [16]]
head:
- [-1, 1, Conv, [16, 3, 2, None, 1]]
- [[1, 2], 1, Detect, ['nc', *a]]
)";
  const std::string flow = R"(# a heading
nc: 3  # classes
depth_multiple: 1.0  # a comment
width_multiple: 1.0
anchors:
  - [10,13]  # first
  - [30,61]

# a comment between
backbone:
  # from, number, module, args
  [[-1, 1, Conv, [8, 3, 2]],  # 0
   [-1, 2, C3, [16]],
  ]

head:
  [[-1, 1, Conv, [16, 3, 2]],

   [[1, 2], 1, Detect, [nc, anchors]],  # Detect
  ]
)";
  for (const std::string& yaml : {crlf, block, flow}) {
    CAPTURE(yaml);
    CHECK(model_stats(parse(yaml)).parameters == parameters);
  }
}

TEST_CASE("repeats and widths scale as in YOLOv5") {
  const auto scaled = [](const std::string& n, const std::string& depth) {
    std::string yaml = with("[-1, 2, C3", "[-1, " + n + ", C3");
    yaml.replace(yaml.find("depth_multiple: 1.0"), 19, "depth_multiple: " + depth);
    return parse(yaml).layers[1].repeats;
  };
  // Halves go to the even neighbour.
  CHECK(scaled("5", "0.5") == 2);
  CHECK(scaled("7", "0.5") == 4);
  CHECK(scaled("3", "0.5") == 2);
  CHECK(scaled("9", "0.33") == 3);
  CHECK(scaled("3", "0.1") == 1);
  CHECK(scaled("1", "3.0") == 1);

  const auto width = [](const std::string& c2, const std::string& multiple, const std::string& more = "") {
    std::string yaml = with("Conv, [8,", "Conv, [" + c2 + ",");
    yaml.replace(yaml.find("width_multiple: 1.0"), 19, "width_multiple: " + multiple);
    return width_of(parse(yaml + more), 0);
  };
  CHECK(width("64", "0.25") == 16);
  CHECK(width("60", "0.25") == 16);
  CHECK(width("1", "1.0") == 8);
  CHECK(width("64", "1.25") == 80);
  CHECK(width("64", "0.25", "channel_multiple: 32\n") == 32);
  // A width of na*(nc+5) is a head's and stays.
  CHECK(parse(with("[16, 3, 2]]", "[24, 3, 2]]"), {.classes = 19}).layers[2].arguments == "[16, 24, 3, 2]");
  CHECK(width_of(parse(with("[16, 3, 2]]", "[11, 3, 2]]"), {.classes = 6}), 2) == 11);
  CHECK(width_of(parse(with("[16, 3, 2]]", "[11, 3, 2]]")), 2) == 16);
}

TEST_CASE("modules without repeats of their own are chained") {
  const Model model = parse(with("[-1, 1, Conv, [16, 3, 2]]", "[-1, 3, Conv, [16, 3, 2]]"));
  CHECK(model.layers[2].repeats == 3);
  CHECK(model.strides == std::vector<index_t>{2, 16});
  const auto& nodes = model.graph.nodes();
  CHECK(std::any_of(nodes.begin(), nodes.end(), [](const Node& n) { return n.name == "model.2.2.bn.running_var"; }));
  check_problem(with("[-1, 1, Conv, [8, 3, 2]]", "[-1, 2, Conv, [8, 3, 2]]"), "reads 3 channels and gives 8");
}

TEST_CASE("an anchor count makes YOLOv5's place holders") {
  const Model model = parse(with("[[10, 13], [30, 61]]", "2"));
  CHECK(model.anchors == std::vector<std::vector<double>>{{0, 1, 2, 3}, {0, 1, 2, 3}});
  CHECK(model.graph.shape(model.layers[3].outputs[0]).c == 2 * 8);
}

TEST_CASE("a graph without Detect has the output y") {
  std::string yaml = small.substr(0, small.find("  - [[1, 2]"));
  const Model model = parse(yaml);
  CHECK(model.strides.empty());
  CHECK(model.max_stride() == 32);
  REQUIRE(model.graph.outputs().size() == 1);
  CHECK(model.graph.outputs()[0].name == "y");
}

TEST_CASE("dialect, activation and shuffle are chosen in order of rank") {
  const std::string gs = with("Conv, [16, 3, 2]", "GSConv, [16, 3, 2]");
  CHECK(parse(gs).dialect == "paper");
  CHECK(parse(gs).activation == "nn.Mish()");
  CHECK(parse("dialect: v8\n" + gs).dialect == "v8");
  CHECK(parse("dialect: v8\n" + gs, {.weights_dialect = "y5"}).dialect == "y5");
  CHECK(parse("dialect: v8\n" + gs, {.dialect = "v4", .weights_dialect = "y5"}).dialect == "v4");
  CHECK(parse(gs, {.dialect = "y5"}).shuffle == "deinterleave");
  CHECK(parse("shuffle: interleave\n" + gs, {.dialect = "y5"}).shuffle == "interleave");
  CHECK(parse("shuffle: interleave\n" + gs, {.shuffle = "deinterleave"}).shuffle == "deinterleave");
  CHECK(parse("activation: nn.LeakyReLU(0.1)\n" + gs).activation == "nn.LeakyReLU(0.1)");
  CHECK(parse("activation: nn.LeakyReLU(0.1)\n" + gs, {.activation = "relu"}).activation == "nn.ReLU()");
  // The backbone follows too, and an activation written in a row stands above all.
  const Model model = parse(with("[16, 3, 2]", "[16, 3, 2, None, 1, nn.ReLU()]"), {.dialect = "paper"});
  const auto count = [&](std::string_view op) {
    const auto& nodes = model.graph.nodes();
    return std::count_if(nodes.begin(), nodes.end(), [&](const Node& n) { return n.op->name == op; });
  };
  CHECK(count("relu") == 1);
  CHECK(count("mish") == 8);
  CHECK(count("silu") == 0);
  check_problem(small, "unknown dialect 'v9'", {.dialect = "v9"});
  check_problem(small, "unknown activation 'nn.Foo()'", {.activation = "nn.Foo()"});
  check_problem(small, "unknown shuffle 'none'", {.shuffle = "none"});
}

TEST_CASE("activations have names") {
  for (const char* name : {"nn.SiLU()", "nn.SiLU", "SiLU", "silu", "torch.nn.SiLU()", "nn.SiLU(inplace=True)"}) {
    CAPTURE(name);
    REQUIRE(find_activation(name));
    CHECK(to_string(*find_activation(name)) == "nn.SiLU()");
  }
  CHECK(find_activation("leaky_relu")->slope == 0.01);
  CHECK(find_activation("nn.LeakyReLU(negative_slope=0.2, inplace=True)")->slope == 0.2);
  CHECK(find_activation("nn.Identity()")->kind == kernels::Act::none);
  for (const char* name :
       {"", "nn.", "nn.SiLU(", "nn.SiLU(3)", "nn.LeakyReLU(x)", "nn.LeakyReLU(nan)", "__import__('os')"}) {
    CAPTURE(name);
    CHECK_FALSE(find_activation(name));
  }
}

TEST_CASE("positions of arguments follow the dialect") {
  const auto args = [](const std::string& module, const std::string& args) {
    return with("Conv, [16, 3, 2]", module + ", [" + args + "]");
  };
  const auto groups_of_layer_2 = [](const Model& model) {
    for (int i = model.layers[2].first_node; i < model.layers[2].last_node; ++i)
      if (model.graph.node(i).op->name == "conv2d") return model.graph.node(i).attributes.integer("groups");
    return index_t{0};
  };
  // The third argument of GSConv is g, but p in v8.
  CHECK(groups_of_layer_2(parse(args("GSConv", "16, 3, 2, 4"), {.dialect = "paper"})) == 4);
  CHECK(groups_of_layer_2(parse(args("GSConv", "16, 3, 2, 1, 4"), {.dialect = "v8"})) == 4);
  // What follows g is a dilation or the activation.
  CHECK(problem_of(args("Conv", "16, 3, 2, None, 1, False"), {.dialect = "y5"}).empty());
  check_problem(args("Conv", "16, 3, 2, None, 1, False"), "argument d (dilation) is False", {.dialect = "yolov5"});
  CHECK(problem_of(args("Conv", "16, 3, 2, None, 1, 1, False"), {.dialect = "yolov5"}).empty());
}

TEST_CASE("an odd GSConv names the width that the published code would give") {
  const std::string yaml = "channel_multiple: 1\n" + with("Conv, [16, 3, 2]", "GSConv, [13, 3, 2]");
  check_problem(yaml,
                "m.yaml:10:5: 'model.2': width 13 is no multiple of 2; the published code would silently give 12");
}

TEST_CASE("names of the library's models") {
  const std::vector<std::string> names = model_names();
  CHECK(names.size() == 24);
  for (const char* name : {"yolov5n", "gsconv-x", "slimneck-s", "slimneck-c-m", "slimneck2-n", "slimneck3-s"})
    CHECK_MESSAGE(std::find(names.begin(), names.end(), name) != names.end(), name);
  for (const std::string& name : names) {
    CAPTURE(name);
    const Model model = load_model(name, {.height = 64, .width = 96});
    CHECK(model.name == name);
    CHECK(model.warnings.empty());
    CHECK(model.strides == std::vector<index_t>{8, 16, 32});
    CHECK(model.activation == "nn.SiLU()");
  }
  CHECK(load_model("slimneck-s.yaml").name == "slimneck-s");
  const std::filesystem::path folder = test::test_data("../../models");
  CHECK(load_model(folder / "slimneck-s.yaml").name == "slimneck-s");
  CHECK(load_model(folder / "slimneck.yaml", {.scale = "m"}).name == "slimneck-m");
  CHECK_THROWS_WITH_AS(load_model("slimnek-s"), doctest::Contains("did you mean 'slimneck-s'"), IoError);
  CHECK_THROWS_WITH_AS(load_model("slimneck-q"), doctest::Contains("no scale 'q'; wanted one of n, s, m, l, x"),
                       FormatError);
  CHECK_THROWS_WITH_AS(load_model("slimneck"), doctest::Contains("must end with a scale"), FormatError);
  CHECK_THROWS_AS(load_model("/dev/null"), Error);
  CHECK_THROWS_AS(load_model("/dev/zero"), IoError);
  CHECK_THROWS_AS(load_model(folder), IoError);
}

TEST_CASE("every model has a file of its own that needs no base and no scale") {
  for (const std::string& name : model_names()) {
    CAPTURE(name);
    const Model model = load_model(name, {.classes = 7, .height = 64, .width = 64});
    const Model again = parse_model(model.yaml, "best.safetensors", {.height = 64, .width = 64});
    CHECK(again.yaml == model.yaml);
    CHECK(again.classes == 7);
    CHECK(again.anchors == model.anchors);
    CHECK(again.dialect == model.dialect);
    CHECK(again.activation == model.activation);
    CHECK(again.shuffle == model.shuffle);
    REQUIRE(again.layers.size() == model.layers.size());
    for (std::size_t i = 0; i < model.layers.size(); ++i) {
      CHECK(again.layers[i].module == model.layers[i].module);
      CHECK(again.layers[i].arguments == model.layers[i].arguments);
      CHECK(again.layers[i].from == model.layers[i].from);
    }
    REQUIRE(again.graph.size() == model.graph.size());
    for (int i = 0; i < model.graph.size(); ++i) CHECK(again.graph.node(i).name == model.graph.node(i).name);
  }
}

TEST_CASE("anchors may come from elsewhere") {
  const std::vector<std::vector<double>> anchors{{1, 2}, {3.5, 4}, {5, 6}};
  const Model model = load_model("yolov5n", {.anchors = anchors, .height = 64, .width = 64});
  CHECK(model.anchors == anchors);
  CHECK(parse_model(model.yaml, "x.yaml", {.height = 64, .width = 64}).anchors == anchors);
  CHECK_THROWS_AS(load_model("yolov5n", {.anchors = {{1, 2, 3}, {1, 2, 3}, {1, 2, 3}}}), ShapeError);
}

TEST_CASE("base, neck and scales") {
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / "slimneck_model_yaml_test";
  fs::create_directories(folder);
  const auto write = [&](const char* name, const std::string& text) { std::ofstream(folder / name) << text; };
  const auto load = [&](const std::string& text) {
    return parse_model(text, (folder / "child-b.yaml").string(), {.height = 64, .width = 64});
  };
  write("parent.yaml", "scales: {a: [1.0, 1.0], b: [1.0, 2.0, 8]}\n" + small);
  write("grandchild.yaml", "base: parent.yaml\n");

  const Model model = load("base: parent.yaml\nnc: 5\nneck: {Conv: GSConv}\n");
  CHECK(model.classes == 5);
  CHECK(model.layers[0].module == "Conv");
  CHECK(model.layers[2].module == "GSConv");
  CHECK(width_of(model, 0) == 16);
  CHECK(width_of(model, 1) == 16);  // cut to 8 before scaling
  const auto problem = [&](const std::string& text, const char* wanted) {
    CHECK_THROWS_WITH_AS(load(text), doctest::Contains(wanted), Error);
  };
  problem("base: parent.yaml\nneck: {Cov: GSConv}\n", "child-b.yaml:2:8: the head has no 'Cov' to replace");
  problem("base: parent.yaml\nneck: {Conv: GSCov}\n",
          "child-b.yaml:2:14: unknown module 'GSCov'; did you mean 'GSConv'");
  problem("base: grandchild.yaml\n", "grandchild.yaml:1:7: a base has no base");
  problem("base: none.yaml\n", "child-b.yaml:1:7: base: ");
  problem("base: ../parent.yaml\n", "wanted the name of a file in the same folder");
  problem("base: /etc/passwd\n", "wanted the name of a file in the same folder");
  problem("base: .\n", "wanted the name of a file in the same folder");
  problem("base: [parent.yaml]\n", "wanted the name of a file in the same folder");
  problem("base: parent.yaml\nscales: {b: [1]}\n", "a scale is a list of 1");
  problem("base: parent.yaml\nscales: [1]\n", "scales is a list of 1");
  problem("base: parent.yaml\nscales: {b: [0, 1]}\n", "depth is '0'");
  fs::remove_all(folder);
}

TEST_CASE("warnings: unknown keys and layers that nobody reads") {
  const Model typo = parse(after("depth_mutliple: 2"));
  REQUIRE(typo.warnings.size() == 1);
  CHECK(typo.warnings[0] ==
        "m.yaml:1: key 'depth_mutliple' is unknown and has no effect; did you mean 'depth_multiple'?");
  const Model unread = parse(with("[[1, 2], 1, Detect", "[[1, 1], 1, Detect"));
  REQUIRE(unread.warnings.size() == 1);
  CHECK(unread.warnings[0] == "m.yaml:9: nothing reads layer 2");
}

TEST_CASE("broken YAML") {
  const std::string deep = repeated("[", 5000);
  const std::string levels = "x: " + repeated("[", 70) + repeated("]", 70) + "\n";
  check_problem("", "m.yaml:1:1: the file is empty");
  check_problem("# nothing\n", "m.yaml:1:1: the file is empty");
  check_problem("[1, 2]\n", "m.yaml:1:1: a model file is a list of 2; wanted a map");
  check_problem("word\n", "m.yaml:1:1: a model file is 'word'; wanted a map");
  check_problem("~\n", "a model file is nothing");
  check_problem(small + "  - [", "m.yaml:");
  check_problem(small + "\t- x: [}", "m.yaml:");
  check_problem(after("nc: 4"), "m.yaml:2:1: key 'nc' occurs twice");
  check_problem(after("'nc': 4"), "m.yaml:2:1: key 'nc' occurs twice");
  check_problem(small + "---\n" + small, "m.yaml:11:1: a second document begins");
  check_problem(small + "...\nx\n", "a second document begins");
  check_problem(with("nc: 3", "nc: !!int 3"), "m.yaml:1:5: tag 'tag:yaml.org,2002:int'; tags are not read");
  check_problem(with("anchors: [", "anchors: !!python/object/apply:os.system ["), "tags are not read");
  check_problem(after("[1, 2]: 3"), "a key must be a plain word");
  check_problem(after("? {a: b}\n: 3"), "a key must be a plain word");
  check_problem(after("~: 3"), "a key must be a plain word");
  check_problem(after("x: &x [*x]"), "m.yaml:1:8: an alias inside of what it stands for");
  check_problem(after("x: &x {y: *x}"), "an alias inside of what it stands for");
  check_problem(after("x: *y"), "m.yaml:1:");
  check_problem(alias_bomb() + small, "more than 100000 values, aliases written out");
  check_problem(after("x: [" + repeated("1,", 100001) + "1]"), "more than 100000 values");
  check_problem(levels + small, "more than 64 levels of nesting");
  check_problem("x: " + deep, "more than 64 levels of nesting");
  check_problem(repeated("- ", 5000), "more than 64 levels of nesting");
  check_problem(repeated("{a: ", 5000), "more than 64 levels of nesting");
  check_problem(
      "a: &a " + repeated("[", 40) + repeated("]", 40) + "\nb: " + repeated("[", 40) + "*a" + repeated("]", 40),
      "more than 64 levels of nesting");
  check_problem(std::string(1 << 20, '#') + "\n", "m.yaml:1:1: the file has 1048577 bytes; at most 1048576 are read");
  check_problem(after("x: \xC3\x28"), "m.yaml:1:4: the file is not UTF-8 text");
  check_problem(after("x: \xC0\x80"), "the file is not UTF-8 text");
  check_problem(after("x: \xED\xA0\x80"), "the file is not UTF-8 text");
  check_problem(after("x: \xF4\x90\x80\x80"), "the file is not UTF-8 text");
  check_problem(after("x: \xE2\x82"), "the file is not UTF-8 text");
  check_problem(std::string("\xFF\xFEn\0c\0", 6), "the file is not UTF-8 text");
  check_problem(after(std::string("x: a\0b", 6)), "m.yaml:1:5: control character 0");
  check_problem(small + "\x04" + "nc: 4\n", "m.yaml:11:1: control character 4");
}

TEST_CASE("broken settings and rows") {
  for (const char* key : {"depth_multiple", "width_multiple", "backbone", "head"})
    check_problem(with(std::string(key) + ":", "x:"), "key '" + std::string(key) + "' is missing");
  check_problem(with("nc: 3", "x: 3"), "m.yaml:10:26: nc is used, but the file does not set it");
  check_problem(with("anchors: [[", "x: [["), "anchors is used, but the file does not set it");
  for (const char* nc : {"0", "65536", "-1", "3.5", "many", "[3]", "~", "99999999999999999999", "0x10", "nan"})
    check_problem(with("nc: 3", std::string("nc: ") + nc), "m.yaml:1:5: nc is ");
  for (const char* depth : {"0", "-1", "nan", ".inf", "inf", "1e9", "x", "[]"})
    check_problem(with("depth_multiple: 1.0", std::string("depth_multiple: ") + depth),
                  "m.yaml:2:17: depth_multiple is ");
  check_problem(after("ch: 0"), "m.yaml:1:5: ch is '0'; wanted an integer in 1..65536");
  check_problem(after("dialect: v9"), "m.yaml:1:10: unknown dialect 'v9'");
  check_problem(after("activation: os.system('x')"), "unknown activation");
  check_problem(after("shuffle: [1]"), "shuffle is a list of 1; wanted a word");
  check_problem(after("neck: [1]"), "neck is a list of 1");

  const std::string first = "[-1, 1, Conv, [8, 3, 2]]", detect = "[[1, 2], 1, Detect, [nc, anchors]]";
  check_problem(with(first, "[-1, 1, Conv]"), "m.yaml:6:5: a row is a list of 3; wanted [from, number, module, args]");
  check_problem(with(first, "Conv"), "m.yaml:6:5: a row is 'Conv'");
  check_problem(with(first, "[-1, 1, Cnov, [8]]"), "m.yaml:6:13: unknown module 'Cnov'; did you mean 'Conv'");
  check_problem(with(first, "[-1, 1, __import__('os').system('x'), [8]]"), "unknown module");
  check_problem(with(first, "[-1, 1, [Conv], [8]]"), "module is a list of 1");
  check_problem(with(first, "[-1, 1, Conv, 8]"), "m.yaml:6:19: args is '8'; wanted a list");
  check_problem(with(first, "[0, 1, Conv, [8]]"),
                "m.yaml:6:6: layer 0 cannot read from 0; the first layer reads the picture");
  check_problem(with(first, "[-2, 1, Conv, [8]]"), "layer 0 cannot read from -2");
  check_problem(with("[-1, 2, C3", "[1, 2, C3"), "m.yaml:7:6: layer 1 cannot read from 1");
  check_problem(with("[-1, 2, C3", "[3, 2, C3"), "layer 1 cannot read from 3");
  check_problem(with("[-1, 2, C3", "[-2, 2, C3"), "layer 1 cannot read from -2");
  check_problem(with("[-1, 2, C3", "[[-1], 2, C3"), "'C3' reads one layer; from is a list of 1");
  check_problem(with("[-1, 2, C3", "[x, 2, C3"), "from is 'x'; wanted an integer");
  check_problem(with("[-1, 2, C3", "[99999999999, 2, C3"), "from is '99999999999'");
  check_problem(with("[[1, 2], 1", "[[], 1"), "from is a list of 0");
  for (const char* n : {"0", "1001", "-3", "1.5", "x", "[1]"})
    check_problem(with("[-1, 2, C3", std::string("[-1, ") + n + ", C3"), "number is ");
  check_problem("x: 1\n" + with("depth_multiple: 1.0", "depth_multiple: 600"),
                "number scales to 1200; wanted at most 1000");
  for (const char* c2 : {"0", "65537", "-8", "8.5", "wide", "None", "True", "99999999999999999999"})
    check_problem(with("Conv, [8,", std::string("Conv, [") + c2 + ","), "the output width is ");
  check_problem(with("Conv, [8,", "Conv, [65536,") + "channel_multiple: 65535\n",
                "m.yaml:6:20: the output width scales to more than 65536 channels");
  check_problem(with("[8, 3, 2]", "[]"), "'Conv' needs its output width");
  check_problem(with("[8, 3, 2]", "[8, 0, 2]"), "argument k is 0; wanted an integer in 1..1024");
  check_problem(with("[8, 3, 2]", "[8, 3, x]"), "argument s is 'x'");
  check_problem(with("[8, 3, 2]", "[8, {a: 1}]"), "an argument is a map");
  check_problem(with("[8, 3, 2]", "[8, 3, 2, None, 2]"),
                "3 input and 8 output channels are not both divisible by groups=2");
  check_problem(with("[8, 3, 2]", "[8, 3, 2, None, 1, 1, True, 7]"), "argument 7 is one too many");
  check_problem(with("[8, 3, 2]", "[8, 3, 2, None, 1, 1, 7]"), "argument act is 7");
  check_problem(with("[8, 3, 2]", "[8, 3, 2, None, 1, 1, exit()]"), "argument act is 'exit()'");
  check_problem(with("[16]", "[16, 1]"), "argument shortcut is 1; wanted True or False");
  check_problem(with("[16]", "[16, True, 1, 1e-9]"), "leaves no hidden width");
  check_problem(with("[8, 3, 2]", "[8, 1000, 1, 0]"), "conv2d 'model.0.conv'");
  check_problem(with("[16]]\n", "[16]]\n  - [-1, 1, Conv, [8, 3, 2]]\n  - [[-1, 0], 1, Concat, [1]]\n"),
                "m.yaml:9:5: concat 'model.3.cat'");
  check_problem(with("[16]]\n", "[16]]\n  - [[0, 1], 1, Concat, [2]]\n"), "argument dimension is 2");
  check_problem(with("[16]]\n", "[16]]\n  - [-1, 1, nn.Upsample, [None, 2, bilinear]]\n"), "[None, factor, 'nearest']");

  check_problem(with(detect, detect + "\n  - " + detect), "m.yaml:10:5: 'Detect' must be the last row");
  check_problem(with("head:\n", "head:\n  - [[1], 1, Detect, [nc, anchors]]\n"), "'Detect' must be the last row");
  check_problem(with("[[1, 2], 1, Detect", "[[1, 2], 2, Detect"), "'Detect' cannot be repeated");
  check_problem(with("[[1, 2], 1, Detect", "[[0, 1, 2], 1, Detect"), "2 rows of anchors for 3 inputs");
  check_problem(with("Detect, [nc, anchors]", "Detect, [nc]"), "arguments must be [nc, anchors]");
  check_problem(with("Detect, [nc, anchors]", "Detect, [4, anchors]"), "the head is for 4 classes, the model for 3");
  check_problem(with("[[10, 13], [30, 61]]", "[[10, 13], [30]]"), "wanted pairs of width and height");
  check_problem(with("[[10, 13], [30, 61]]", "[[10, 13], [30, 61, 1, 2]]"), "rows of anchors differ in length");
  check_problem(with("[[10, 13], [30, 61]]", "[[10, 13], [30, 0]]"), "a side of an anchor is not above 0");
  check_problem(with("[[10, 13], [30, 61]]", "[[10, 13], [30, x]]"), "wanted numbers");
  check_problem(with("[[10, 13], [30, 61]]", "[]"), "anchors is a list of 0");
  check_problem(with("[[10, 13], [30, 61]]", "0"), "anchors is '0'");
}

TEST_CASE("small files do not become huge networks") {
  // Widths that fit, and more parameters than 8 GiB.
  check_problem(with("[-1, 2, C3, [16]]", "[-1, 1, Conv, [65536]]\n  - [-1, 1, Conv, [65536]]"),
                "m.yaml:8:5: 'model.2.conv.weight': the network's parameters need more than 8 GiB");
  check_problem(with("[-1, 2, C3, [16]]", "[-1, 1, Conv, [65536]]\n  - [-1, 1000, VoVGSCSP, [65536]]"), "8 GiB");
  // Few parameters, and more operations than a plan should hold.
  check_problem(with("[-1, 2, C3, [16]]", repeated("[-1, 1000, C3, [16]]\n  - ", 40) + "[-1, 1, Conv, [16]]"),
                "more than 100000 operations");
  check_problem(with("[-1, 2, C3, [16]]", repeated("[-1, 1, Conv, [16]]\n  - ", 4100) + "[-1, 1, Conv, [16]]"),
                "more than 4096 layers");
  // Channels and maps that double.
  check_problem(with("[-1, 2, C3, [16]]", repeated("[[-1, -1], 1, Concat, [1]]\n  - ", 62) + "[-1, 1, Conv, [16]]"),
                "at most 65536 are built");
  check_problem(with("[-1, 2, C3, [16]]", repeated("[-1, 1, Upsample, [None, 64]]\n  - ", 12) + "[-1, 1, Conv, [16]]"),
                "m.yaml:");
  check_problem(small, "a batch of 0 pictures", {.batch = 0});
}

TEST_CASE("a picture that the strides do not divide is refused") {
  CHECK_THROWS_WITH_AS(parse_model(small, "m.yaml", {.height = 66, .width = 64}),
                       doctest::Contains("does not divide the 66x64 picture"), ShapeError);
  CHECK_THROWS_AS(parse_model(small, "m.yaml", {.height = 64, .width = 62}), ShapeError);
}

TEST_CASE("a program's own modules") {
  static const ModuleDef twice{
      .name = "Twice",
      .width = ModuleDef::Width::inferred,
      .build = [](const ModuleBuilder& b, const ModuleCall& call) { return b.add(call.inputs[0], call.inputs[0]); }};
  const ModuleDef* const own[] = {&twice};
  const std::string yaml = with("[-1, 1, Conv, [16, 3, 2]]", "[-1, 1, Twice, []]");
  check_problem(yaml, "unknown module 'Twice'");
  const Model model = parse(yaml, {.modules = own});
  CHECK(model.graph.node(model.layers[2].outputs[0]).name == "model.2.add");
  CHECK(model.strides == std::vector<index_t>{2, 2});
  check_problem(with("[-1, 1, Conv, [16, 3, 2]]", "[-1, 1, Twise, []]"), "did you mean 'Twice'?", {.modules = own});
}

TEST_CASE("nearest names") {
  CHECK(io::suggestion("GSConv2", {"GSConv", "DSConv", "Detect"}) == "; did you mean 'GSConv' or 'DSConv'?");
  CHECK(io::suggestion("zzzzzz", {"GSConv"}).empty());
  CHECK(io::suggestion(std::string(100000, 'a'), {"GSConv"}).empty());
}
