// `slimneck compare`: its counts are exact, whatever it prints agrees, and plans that leave out what makes them fast
// compute the same. Times are printed here, never judged.
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "layers/modules/modules.hpp"
#include "program.hpp"
#include "shared_data.hpp"
#include "slimneck/model.hpp"
#include "slimneck/plan.hpp"

using namespace slimneck;
using nlohmann::json;

namespace {

struct Convolution {
  index_t c1, c2, k, s, h, groups, p;
  [[nodiscard]] index_t oh() const { return (h + 2 * p - k) / s + 1; }
};

struct LoopCounts {
  index_t forward = 0, input_gradient = 0, weight_gradient = 0;
};

/// Counts the multiply-adds of a convolution and of both gradients by running their loops, padding included.
LoopCounts run_loops(const Convolution& v) {
  LoopCounts counts;
  const index_t per_group = v.c1 / v.groups;
  for (index_t o = 0; o < v.c2; ++o)
    for (index_t i = 0; i < v.oh(); ++i)
      for (index_t j = 0; j < v.oh(); ++j)
        for (index_t c = 0; c < per_group; ++c)
          for (index_t tap = 0; tap < v.k * v.k; ++tap) {
            ++counts.forward;          // y[o,i,j] += w[o,c,tap] * x[..]
            ++counts.input_gradient;   // dx[..] += w[o,c,tap] * dy[o,i,j]
            ++counts.weight_gradient;  // dw[o,c,tap] += dy[o,i,j] * x[..]
          }
  return counts;
}

LoopCounts operator+(const LoopCounts& a, const LoopCounts& b) {
  return {a.forward + b.forward, a.input_gradient + b.input_gradient, a.weight_gradient + b.weight_gradient};
}

/// The convolutions that each kind is made of.
std::map<std::string, LoopCounts> loops_of(index_t c1, index_t c2, index_t k, index_t s, index_t h) {
  const Convolution sc{c1, c2, k, s, h, 1, k / 2}, half{c1, c2 / 2, k, s, h, 1, k / 2};
  const index_t oh = sc.oh();
  const LoopCounts cheap = run_loops({c2 / 2, c2 / 2, 5, 1, oh, c2 / 2, 2});
  std::map<std::string, LoopCounts> all;
  all["sc"] = run_loops(sc);
  all["dw"] = run_loops({c1, c2, k, s, h, std::gcd(c1, c2), k / 2});
  all["dsc"] = run_loops({c1, c1, k, s, h, c1, k / 2}) + run_loops({c1, c2, 1, 1, oh, 1, 0});
  all["gsconv"] = all["ghost"] = all["gsconv-unfused"] = run_loops(half) + cheap;
  all["gsconvns"] = all["gsconv"] + run_loops({c2, c2, 1, 1, oh, 1, 0});
  return all;
}

Graph gsconv_graph(index_t c1, index_t c2, index_t size) {
  Graph graph;
  const Value x = graph.input("x", {2, c1, size, size});
  const ModuleBuilder builder(graph, *find_dialect("paper"), "m");
  const Value first = modules::gsconv(builder.scope("0"), x, c2, {.k = 3}, builder.act(true));
  graph.output("y", modules::conv(builder.scope("1"), first, c2, {}, builder.act(true)));
  return graph;
}

void fill(View<float> v, int seed) {
  for (index_t i = 0; i < v.shape.numel(); ++i) v.data[i] = static_cast<float>((i * 37 + seed) % 101) / 101 - 0.5F;
}

}  // namespace

TEST_SUITE_BEGIN("compare");

TEST_CASE("a plan without fusion and with copied channels computes the same, and says what it copies") {
  const Graph graph = gsconv_graph(16, 64, 10);
  for (const Mode mode : {Mode::infer, Mode::train}) {
    std::vector<std::vector<float>> results;
    for (const bool apart : {false, true}) {
      Parameters parameters(graph);
      PlanOptions options;
      options.mode = mode;
      options.exec.direct = true;
      options.input_gradients = mode == Mode::train;
      if (apart) options.without = {"fuse_gs_pair"};
      options.copy_channels = apart;
      Plan plan(graph, parameters, options);
      fill(plan.input(), 1);
      plan.forward();
      std::vector<float> numbers;
      const auto keep = [&](View<float> v) { numbers.insert(numbers.end(), v.data, v.data + v.shape.numel()); };
      keep(plan.output("y"));
      if (mode == Mode::train) {
        fill(plan.output_gradient("y"), 2);
        plan.backward();
        keep(plan.input_gradient());
      }
      results.push_back(std::move(numbers));
      std::set<std::string> ops;
      for (const PlanStep& step : plan.steps()) ops.insert(step.op);
      CHECK((ops.count("gs_pair") == 1) == !apart);
      const std::map<std::string, std::size_t> moved = plan.stats().bytes_moved;
      for (const char* what : {"concat", "channel_shuffle"}) CHECK((moved.count(what) == 1) == apart);
      // Forward: both halves into one map, and that into another order.
      const std::size_t map = 2 * 64 * 10 * 10 * sizeof(float);
      if (apart) CHECK(moved.at("concat") == map);
      if (apart) CHECK(moved.at("channel_shuffle") == (mode == Mode::train ? 2 : 1) * map);
    }
    REQUIRE(results[0].size() == results[1].size());
    double most = 0, size = 0;
    for (std::size_t i = 0; i < results[0].size(); ++i) {
      most = std::max(most, std::abs(static_cast<double>(results[0][i]) - static_cast<double>(results[1][i])));
      size = std::max(size, std::abs(static_cast<double>(results[0][i])));
    }
    // The same sums in another order: sums of K <= 9 * 64 products round by (4 + 2 sqrt K) u S, four of them (two
    // convolutions, twice) one after another, and batch norm with 200 pixels a channel may enlarge what is small by the
    // inverse of a deviation that is above 0.01 here.
    CHECK(most <= 4 * (4 + 2 * std::sqrt(9.0 * 64)) * 0x1p-24 * 100 * size);
  }
}

TEST_CASE("a rewrite that is none, or one that plans cannot do without, is refused") {
  const Graph graph = gsconv_graph(8, 16, 4);
  Parameters parameters(graph);
  for (const char* name : {"fuse_everything", "expand_batch_norm", ""}) {
    PlanOptions options;
    options.without = {name};
    CHECK_THROWS_WITH_AS(Plan(graph, parameters, options), doctest::Contains("rewrite"), Error);
  }
}

#ifdef SLIMNECK_CLI

namespace {

using test::contains;
using test::Outcome;
using test::ProgramFolder;

json compare(const ProgramFolder& place, const std::string& arguments) {
  const Outcome outcome = place.run("compare --json --repetitions 1 --time 0.01 " + arguments);
  REQUIRE_MESSAGE(outcome.code == 0, outcome.err);
  return json::parse(outcome.out);
}

const std::string every_op = "--ops sc,dsc,dw,gsconv,gsconvns,ghost ";

/// What the "counts" of a layer say of an op.
json counts_of(const json& layer, const std::string& op) {
  for (const json& counts : layer["counts"])
    if (counts["op"] == op) return counts;
  FAIL("there is no " << op);
  return {};
}

}  // namespace

TEST_CASE("multiply-adds, parameters and the paper's formulas are the golden ones") {
  const ProgramFolder place("compare");
  std::ifstream file(test::test_data("conv_costs.json"));
  const json golden = json::parse(file);
  std::ostringstream layers;
  for (const json& at : golden)
    layers << "c1=" << at["c1"] << " c2=" << at["c2"] << " k=" << at["k"] << " hw=" << at["h"] << " # golden\n";
  place.text("layers.txt", layers.str());
  const json all = compare(place, "--passes fwd --layers layers.txt " + every_op);
  REQUIRE(all["layers"].size() == golden.size());
  std::size_t row = 0;
  for (std::size_t i = 0; i < golden.size(); ++i)
    for (const std::string op : {"sc", "dsc", "dw", "gsconv", "gsconvns", "ghost"}) {
      CAPTURE(golden[i]);
      CAPTURE(op);
      // Golden "dw" has c2 channels on both sides; a DWConv from c1 has as many groups as divide both.
      const index_t c1 = golden[i]["c1"], c2 = golden[i]["c2"];
      const index_t width = op == "dw" ? c1 / std::gcd(c1, c2) : 1;
      const json counts = counts_of(all["layers"][i], op), &timed = all["rows"][row++];
      CHECK(timed["op"] == op);
      CHECK(timed["macs"] == golden[i][op]["macs"].get<index_t>() * width);
      CHECK(timed["macs"] == counts["macs"]["forward"]);
      CHECK(timed["flops"] == 2 * timed["macs"].get<index_t>());
      const index_t norms = 2 * (op == "dsc" ? c1 + c2 : c2);  // gamma and beta of every channel
      CHECK(timed["parameters"] == golden[i][op]["weights"].get<index_t>() * width + norms);
      const std::string formula = "paper_" + op;
      CHECK(timed["paper_macs"] == (golden[i].contains(formula) ? golden[i][formula] : json(nullptr)));
    }
}

TEST_CASE("the backward's multiply-adds are those of its loops and of a plan's steps") {
  const ProgramFolder place("compare");
  place.text("layers.txt", "c1=8 c2=12 k=3 s=2 hw=9 name=a\nc1=6 c2=6 k=1 hw=7 name=b\nc1=4 c2=8 k=5 hw=6 name=c\n");
  const json all = compare(place,
                           "--passes fwd,bwd,fwdbwd --layers layers.txt --ops dsc,dw,gsconv,gsconv-unfused,"
                           "gsconvns,ghost");
  REQUIRE(all["layers"].size() == 3);
  for (const json& layer : all["layers"]) {
    const json& s = layer["shape"];
    for (const auto& item : loops_of(s["c1"], s["c2"], s["k"], s["s"], s["h"])) {
      const std::string& op = item.first;
      const LoopCounts& loops = item.second;
      CAPTURE(op);
      const json counts = counts_of(layer, op)["macs"];
      CHECK(counts["forward"] == loops.forward);
      CHECK(counts["input_gradient"] == loops.input_gradient);
      CHECK(counts["weight_gradient"] == loops.weight_gradient);
      for (const json& row : all["rows"]) {
        if (row["op"] != op || row["layer"] != layer["name"]) continue;
        const index_t back = loops.input_gradient + loops.weight_gradient;
        CHECK(row["macs"] == (row["pass"] == "fwd"   ? loops.forward
                              : row["pass"] == "bwd" ? back
                                                     : loops.forward + back));
      }
    }
  }
  // The plan that is timed does just these.
  Graph graph;
  const ModuleBuilder builder(graph, *find_dialect("paper"), "m");
  graph.output("y", modules::gsconv(builder, graph.input("x", {1, 8, 9, 9}), 12, {.k = 3, .s = 2}, builder.act(true)));
  for (const bool apart : {false, true}) {
    Parameters parameters(graph);
    PlanOptions options;
    options.mode = Mode::train;
    options.input_gradients = true;
    if (apart) options.without = {"fuse_gs_pair"};
    index_t sums[2] = {0, 0};
    for (const PlanStep& step : Plan(graph, parameters, options).steps()) sums[step.backward ? 1 : 0] += step.cost.macs;
    const LoopCounts loops = loops_of(8, 12, 3, 2, 9)["gsconv"];
    CHECK(sums[0] == loops.forward);
    CHECK(sums[1] == loops.input_gradient + loops.weight_gradient);
  }
}

TEST_CASE("the standard convolutions of a model are all of it but what is left out") {
  const ProgramFolder place("compare");
  const json all = compare(place, "--model yolov5n --img 32 --passes fwd --ops gsconv --html page.html");
  const Outcome info = place.run("info --cfg yolov5n --img 32 --json");
  const json model = json::parse(info.out);
  index_t sum = 0;
  for (const json& layer : all["layers"])
    sum += layer["times"].get<index_t>() * counts_of(layer, "sc")["macs"]["forward"].get<index_t>();
  // The stem has another padding than half of its kernel; the heads of Detect have no batch norm.
  REQUIRE(all["skipped"].size() == 1);
  CHECK(all["skipped"][0]["layer"] == "model.0");
  CHECK(sum + model["layers"][0]["macs"].get<index_t>() + model["layers"].back()["macs"].get<index_t>() ==
        model["macs"]);
  // In the page each module has the sum of what is in it.
  const std::string page = place.read("page.html");
  CHECK(contains(page, "<details open data-macs=\"" + std::to_string(model["macs"].get<index_t>()) + "\""));
  for (const json& layer : model["layers"])
    if (const auto macs = layer["macs"].get<index_t>(); macs > 0)
      CHECK(contains(page, "data-macs=\"" + std::to_string(macs) + "\""));
}

TEST_CASE("the ten layers without a flag are layers of YOLOv5s") {
  const ProgramFolder place("compare");
  std::set<std::string> there;
  const Model model = load_model("yolov5s");
  for (const Node& n : model.graph.nodes())
    if (n.op == &ops::conv2d) {
      const Shape &x = model.graph.shape(n.inputs[0]), &w = model.graph.shape(n.inputs[1]);
      std::ostringstream text;
      text << x.c << " " << w.n << " " << w.h << " " << n.attributes.integer("stride") << " " << x.h;
      there.insert(text.str());
    }
  const json all = compare(place, "--passes fwd --ops gsconv");
  REQUIRE(all["layers"].size() == 10);
  for (const json& layer : all["layers"]) {
    const json& s = layer["shape"];
    std::ostringstream text;
    text << s["c1"] << " " << s["c2"] << " " << s["k"] << " " << s["s"] << " " << s["h"];
    CHECK_MESSAGE(there.count(text.str()) == 1, text.str());
  }
}

TEST_CASE("table, JSON and CSV agree") {
  const ProgramFolder place("compare");
  const std::string same = "--c1 32 --c2 32 --hw 12 --ops dsc,gsconv,gsconv-unfused";
  const json all = compare(place, same);
  const Outcome csv = place.run("compare --csv --repetitions 1 " + same),
                text = place.run("compare --repetitions 1 " + same);
  REQUIRE(csv.code == 0);
  REQUIRE(text.code == 0);
  std::istringstream lines(csv.out);
  std::string head, line;
  std::getline(lines, head);
  CHECK(head.starts_with("layer,op,engine,pass,batch,c1,c2,k,s,h,w,parameters,macs,flops,paper_macs,bytes,"));
  for (const json& row : all["rows"]) {
    REQUIRE(std::getline(lines, line));
    std::ostringstream begin;
    begin << "\"layer\",\"" << row["op"].get<std::string>() << "\",\"slimneck\",\"" << row["pass"].get<std::string>()
          << "\",1,32,32,3,1,12,12," << row["parameters"] << "," << row["macs"] << "," << row["flops"] << ",";
    CHECK_MESSAGE(line.starts_with(begin.str()), line);
    CHECK(row["bytes_least"] <= row["bytes_fused"]);
    CHECK(row["bytes_fused"] <= row["bytes_unfused"]);
    CHECK(row["median_ms"] > 0);
    CHECK(row["roofline_ms"] > 0);
  }
  CHECK_FALSE(std::getline(lines, line));
  CHECK(all["rows"][6]["op"] == "gsconv");
  CHECK(all["rows"][6]["macs"] == 144 * (9 * 32 * 16 + 25 * 16));  // 0.721 M
  for (const char* part : {"0.721", "paper, GSConv", "unfused", "of the MACs of SC", "GFLOP/s"})
    CHECK_MESSAGE((contains(text.out, part) || contains(all["summary"]["conclusion"].get<std::string>(), "Nothing")),
                  part);
  place.text("layers.txt", "c1=16 c2=16 hw=4 name=P3\nc1=16 c2=32 hw=8 k=1 name=quite-a-name\n");
  std::istringstream table(place.run("compare --repetitions 1 --time 0.01 --layers layers.txt").out);
  int columns = 0;
  while (std::getline(table, line)) {
    if (!contains(line, "|")) continue;
    ++columns;
    CHECK_MESSAGE(line.size() <= 100, line);
  }
  CHECK(columns == 2 + 2 + 1);  // headings, layers, sums
}

TEST_CASE("oneDNN's modules beside ours, or a clear no") {
  const ProgramFolder place("compare");
  const std::string arguments = "--peer onednn --passes fwd,bwd,fwdbwd --c1 16 --c2 32 --hw 10 --ops dsc,gsconv,ghost";
  const Outcome outcome = place.run("compare --json --repetitions 1 --time 0.01 " + arguments);
  if (outcome.code != 0) return test::check_failed(outcome, 2, "without oneDNN");
  std::map<std::string, int> rows;
  const json all = json::parse(outcome.out);
  for (const json& row : all["rows"]) {
    ++rows[row["engine"]];
    CHECK(row["median_ms"] > 0);
    if (row["engine"] != "slimneck") CHECK(row["op"] != "ghost");
    if (row["engine"] != "slimneck") CHECK(row["pass"] != "bwd");
  }
  CHECK(rows["slimneck"] == 4 * 3);
  CHECK(rows["onednn-best"] == 3 * 2);
  CHECK(rows["onednn-framework"] == 3 * 2);
}

TEST_CASE("wrong input is one line") {
  const ProgramFolder place("compare");
  place.text("bad.txt", "c1=8 c2=8\n\nc1=8 c3=8\n");
  place.text("empty.txt", "# nothing\n");
  for (const test::Failure& f : std::vector<test::Failure>{{"--k 0", "--k"},
                                                           {"--c1 nan", "--c1"},
                                                           {"--hw 0", "--hw"},
                                                           {"--ops gsconv,fast", "'fast'"},
                                                           {"--ops ''", "''"},
                                                           {"--passes sideways", "sideways"},
                                                           {"--c1 8 --model yolov5n", "--model"},
                                                           {"--layers bad.txt --model yolov5n", "--model"},
                                                           {"--img 64", "--model"},
                                                           {"--json --csv", "--csv"},
                                                           {"--act Sine", "Sine"}})
    test::check_failed(place.run("compare " + f.arguments), 2, f.cause);
  for (const test::Failure& f : std::vector<test::Failure>{{"--c2 7 --ops gsconv", "7"},
                                                           {"--c1 65536 --c2 65536 --hw 65535", "8 GiB"},
                                                           {"--c1 64 --c2 64 --hw 20000 --k 1 --passes fwd", "memory"},
                                                           {"--layers bad.txt", "bad.txt:3: 'c3'"},
                                                           {"--layers empty.txt", "empty.txt"},
                                                           {"--layers missing.txt", "missing.txt"},
                                                           {"--model missing.yaml", "missing.yaml"},
                                                           {"--html missing/page.html", "missing/page.html"},
                                                           {"--svg .", ".: cannot write: Is a directory"}})
    test::check_failed(place.run("compare --repetitions 1 " + f.arguments), 1, f.cause);
}

#endif

TEST_SUITE_END();
