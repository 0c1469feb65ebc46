// What a convolution costs in multiply-adds and what it costs in time are two things: SC, DSC and GSConv side by side.
#include <array>
#include <cmath>
#include <memory>

#include "cli.hpp"
#include "demo.hpp"
#include "measure/turns.hpp"
#include "stopwatch.hpp"

namespace slimneck::cli {

namespace {

struct LayerShape {
  const char* name;
  index_t c1, c2, k, s, size;  ///< size: height and width of the input
};

// Of YOLOv5s on a 320 x 320 picture.
constexpr std::array<LayerShape, 6> shapes{{
    {"10 neck P5", 512, 256, 1, 1, 10},
    {"14 neck P4", 256, 128, 1, 1, 20},
    {"17 bottleneck P3", 64, 64, 3, 1, 40},
    {"13 bottleneck P4", 128, 128, 3, 1, 20},
    {"18 down to P4", 128, 128, 3, 2, 40},
    {"21 down to P5", 256, 256, 3, 2, 20},
}};
constexpr std::array<const char*, 3> modules{"Conv", "DSConv", "GSConv"};
constexpr int least_runs = 3, most_runs = 9;
constexpr double patience = 3000;  // milliseconds for a layer, after which least_runs must do

struct Numbers {
  double macs = 0, infer = 0, train = 0;  ///< times in milliseconds
  Numbers& operator+=(const Numbers& other) {
    macs += other.macs;
    infer += other.infer;
    train += other.train;
    return *this;
  }
};
using Row = std::array<Numbers, modules.size()>;

Graph graph_of(const LayerShape& layer, const char* module) {
  Dialect dialect = *find_dialect("paper");
  dialect.act = *find_activation("SiLU");
  Graph graph;
  const Value x = graph.input("x", {1, layer.c1, layer.size, layer.size});
  const ModuleCall call{.inputs = {x}, .c2 = layer.c2, .repeats = 1, .args = {layer.k, layer.s}};
  graph.output("y", find_module(module)->build(ModuleBuilder(graph, dialect, "m"), call));
  return graph;
}

/// One module, ready to be timed.
class Candidate {
 public:
  explicit Candidate(const Graph& graph)
      : parameters_(graph),
        infer_(graph, parameters_, {.mode = Mode::infer, .exec = {}, .input_gradients = false}),
        train_(graph, parameters_, {.mode = Mode::train, .exec = {}, .input_gradients = true}),
        macs_(static_cast<double>(graph.cost().total.macs)) {
    for (View<float> x : {infer_.input(), train_.input(), train_.output_gradient("y")})
      for (index_t i = 0; i < x.shape.numel(); ++i) x.data[i] = std::sin(static_cast<float>(i % 1000));
  }

  void infer() { infer_.forward(); }
  void train() {
    train_.forward();
    train_.backward();
  }
  [[nodiscard]] double macs() const { return macs_; }

 private:
  Parameters parameters_;
  Plan infer_, train_;
  double macs_;
};

Row row_of(const LayerShape& layer) {
  std::array<std::unique_ptr<Candidate>, modules.size()> candidates;
  std::vector<std::function<void()>> sides;  // of each module inference, then training
  for (std::size_t m = 0; m < modules.size(); ++m) {
    candidates[m] = std::make_unique<Candidate>(graph_of(layer, modules[m]));
    sides.emplace_back([&c = *candidates[m]] { c.infer(); });
    sides.emplace_back([&c = *candidates[m]] { c.train(); });
  }
  measure::Turns turns(std::move(sides));
  double spent = 0;
  Stopwatch watch;
  for (int i = 0; i < most_runs && (i < least_runs || spent < patience); ++i, spent += watch.lap()) turns.take(1);
  Row row;
  for (std::size_t m = 0; m < modules.size(); ++m)
    row[m] = {candidates[m]->macs(), 1e3 * turns.median(2 * m), 1e3 * turns.median(2 * m + 1)};
  return row;
}

std::string percent_columns(const Numbers& part, const Numbers& whole) {
  const auto percent = [](double a, double b) { return 100 * a / b; };
  return format("  |%6.0f%6.0f%6.0f", percent(part.macs, whole.macs), percent(part.infer, whole.infer),
                percent(part.train, whole.train));
}

void print_row(const std::string& name, const Row& row) {
  print(format("%-34s%8.2f%8.1f%8.1f", name.c_str(), row[0].macs / 1e6, row[0].infer, row[0].train) +
        percent_columns(row[1], row[0]) + percent_columns(row[2], row[0]) + "\n");
  flush_output();
}

std::string verdict(double time, double macs) {
  constexpr double close = 0.05;
  if (time > macs + close) return "more than its MACs promise";
  if (time < macs - close) return "less than its MACs promise";
  return "as its MACs promise";
}

}  // namespace

void print_layer_table() {
  print(format("%-34s%24s  |%18s  |%18s\n", "", "Conv (SC)        ", "DSConv, % of SC", "GSConv, % of SC"));
  print(format("%-34s%8s%8s%8s  |%6s%6s%6s  |%6s%6s%6s\n", "layer of YOLOv5s at 320", "MMACs", "infer", "train", "MACs",
               "infer", "train", "MACs", "infer", "train"));
  Row total{};
  for (const LayerShape& layer : shapes) {
    const Row row = row_of(layer);
    const auto ll = [](index_t v) { return static_cast<long long>(v); };
    print_row(format("%-17s%lld->%lld %lldx%lld/%lld @%lld", layer.name, ll(layer.c1), ll(layer.c2), ll(layer.k),
                     ll(layer.k), ll(layer.s), ll(layer.size)),
              row);
    for (std::size_t m = 0; m < modules.size(); ++m) total[m] += row[m];
  }
  print_row("all six", total);
  const double macs = total[2].macs / total[0].macs, infer = total[2].infer / total[0].infer,
               train = total[2].train / total[0].train;
  print(format("Median milliseconds of %d to %d runs, one picture; train is forward and backward.\n", least_runs,
               most_runs));
  print(
      format("GSConv has %.0f %% of the MACs of SC and takes %.0f %% of its time in inference (%s)\n"
             "and %.0f %% in training (%s).\n",
             100 * macs, 100 * infer, verdict(infer, macs).c_str(), 100 * train, verdict(train, macs).c_str()));
}

}  // namespace slimneck::cli
