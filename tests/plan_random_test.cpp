// Compiled plans of random graphs compute what the reference plan computes: in float within what rounding does to that
// graph, on whole numbers to the last bit. SLIMNECK_TEST_SEED=n runs graph n alone, of both kinds.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "engine_case.hpp"
#include "golden_case.hpp"
#include "random_graph.hpp"
#include "slimneck/layers.hpp"
#include "slimneck/ops.hpp"

using namespace slimneck;
using test::AllNumbers;
using test::exec_of;

TEST_SUITE_BEGIN("plan_random");

namespace {

/// 1 .. count, or every SLIMNECK_TEST_EVERY-th of them, or the one that the environment names.
std::vector<std::uint64_t> seeds(index_t count) {
  if (const index_t one = test::from_environment("SLIMNECK_TEST_SEED", 0); one > 0)
    return {static_cast<std::uint64_t>(one)};
  std::vector<std::uint64_t> list;
  for (index_t seed = 1; seed <= count; seed += test::every()) list.push_back(static_cast<std::uint64_t>(seed));
  return list;
}

/// What a plan is filled with; the same numbers in float and in double. Whole ones are small, most weights are zero.
class Source {
 public:
  Source(std::uint64_t seed, bool whole) : seed_(seed), whole_(whole) {}

  template <class T>
  void fill(View<T> v, std::string_view name) const {
    const core::Stream stream(name, seed_);
    for (index_t i = 0; i < v.shape.numel(); ++i) {
      const double u = stream.uniform(static_cast<std::uint64_t>(i), -1, 1);
      v.data[i] = static_cast<T>(whole_ ? std::floor(2.5 * u + 0.5) : u);
    }
  }

  template <class T>
  void fill(Parameters& parameters) const {
    parameters.initialise(seed_);
    for (Parameters::Entry& e : parameters.entries()) {
      const core::Stream stream(e.name, seed_ + 1);
      T* data = e.value.data<T>();
      for (index_t i = 0; i < e.value.numel(); ++i)
        data[i] = static_cast<T>(static_cast<float>(
            number(e, static_cast<double>(data[i]), stream.uniform(static_cast<std::uint64_t>(i), -1, 1))));
    }
    parameters.touch();
  }

 private:
  /// Initial weights keep signals at their size; what is one number per channel moves away from 0 and 1.
  [[nodiscard]] double number(const Parameters::Entry& e, double initial, double u) const {
    if (whole_) return u > 0.75 ? 1 : u < -0.75 ? -1 : 0;
    return static_cast<double>(static_cast<float>(initial)) + (e.dims.size() == 1 ? 0.5 * u : 0.0);
  }

  std::uint64_t seed_;
  bool whole_;
};

template <class T>
AllNumbers run(const Graph& graph, Mode mode, const Exec& exec, const Source& source,
               std::set<std::string>* kernels = nullptr) {
  Parameters parameters(graph, dtype_of<T>);
  source.fill<T>(parameters);
  Plan plan(graph, parameters, {mode, exec, mode == Mode::train});
  if (kernels != nullptr)
    for (const PlanStep& step : plan.steps()) kernels->insert(step.kernel);
  std::size_t input = 0;
  for (const Node& n : graph.nodes())
    if (n.role == Role::input) source.fill<T>(plan.input<T>(input++), n.name);
  plan.forward();
  if (mode == Mode::train) {
    for (const Output& o : graph.outputs())
      if (o.kind == OutputKind::result) source.fill<T>(plan.output_gradient<T>(o.name), "gradient of " + o.name);
    plan.backward();
  }
  return test::collect<T>(graph, plan, parameters, mode);
}

double largest(const std::vector<double>& numbers) {
  double most = 0;
  for (const double v : numbers) most = std::isnan(v) ? HUGE_VAL : std::max(most, std::abs(v));
  return most;
}

/// Infinite where sizes differ.
double difference(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return HUGE_VAL;
  std::vector<double> d(a.size());
  std::transform(a.begin(), a.end(), b.begin(), d.begin(), std::minus<>());
  return largest(d);
}

// ---- Where derivatives jump ----------------------------------------------------------------------------------------

bool has_kink(const Node& n) {
  return n.op == &ops::relu || n.op == &ops::leaky_relu || n.op == &ops::hardswish || n.op == &ops::max_pool;
}

std::string probe_of(int node) { return "kink " + std::to_string(node); }

/// The graph with a look at what enters every op whose derivative jumps.
Graph with_probes(const Graph& graph) {
  Graph probed = graph;
  for (int i = 0; i < graph.size(); ++i)
    if (has_kink(graph.node(i))) probed.output(probe_of(i), graph.node(i).inputs[0], OutputKind::probe);
  return probed;
}

/// Largest value of a window less its next smaller one, for the smallest such difference.
double pool_margin(const Node& n, const Shape& x, const std::vector<double>& values) {
  const index_t k = n.attributes.integer("kernel"), s = n.attributes.integer("stride"), p = n.attributes.integer("pad");
  double margin = HUGE_VAL;
  for (index_t plane = 0; plane < x.n * x.c; ++plane)
    for (index_t i = -p; i + k <= x.h + p; i += s)
      for (index_t j = -p; j + k <= x.w + p; j += s) {
        double first = -HUGE_VAL, second = -HUGE_VAL;
        for (index_t h = std::max<index_t>(i, 0); h < std::min(i + k, x.h); ++h)
          for (index_t w = std::max<index_t>(j, 0); w < std::min(j + k, x.w); ++w) {
            const double v = values[static_cast<std::size_t>((plane * x.h + h) * x.w + w)];
            if (v > first)
              second = std::exchange(first, v);
            else if (v < first)
              second = std::max(second, v);
          }
        margin = std::min(margin, first - second);
      }
  return margin;
}

/// How far the nearest number is from where the derivative jumps.
double margin(const Graph& graph, const Node& n, const std::vector<double>& values) {
  if (n.op == &ops::max_pool) return pool_margin(n, graph.shape(n.inputs[0]), values);
  const double kink = n.op == &ops::hardswish ? 3 : 0;
  double nearest = HUGE_VAL;
  for (const double v : values) nearest = std::min(nearest, std::abs(std::abs(v) - kink));
  return nearest;
}

// ---- What rounding does --------------------------------------------------------------------------------------------

/// The longest sum that one op of the graph adds up, forward or backward.
index_t longest_sum(const Graph& graph) {
  index_t length = 1;
  for (const Node& n : graph.nodes())
    for (const Shape& s : n.shapes)
      length = std::max(length, n.role == Role::parameter ? s.c * s.h * s.w : s.n * s.h * s.w);
  return length;
}

/// test::sum_factor for the longest sum of the graph. An upsample repeats the errors of its input f x f times, and
/// repeated ones do not cancel: n terms are as uncertain as n f^2 independent ones.
double graph_sum_factor(const Graph& graph) {
  index_t factor = 1;
  for (const Node& n : graph.nodes())
    if (n.op == &ops::upsample) factor = std::max(factor, n.attributes.integer("factor"));
  return test::sum_factor(longest_sum(graph) * factor * factor);
}

/// The worst error in units of what is allowed, and the tensor that has it.
struct Deviation {
  double ratio = 0;
  std::string where;
};

bool is_output(const std::string& name) { return name.starts_with("output "); }
bool is_probe(const std::string& name) { return name.starts_with("output kink "); }

/// One mode of a graph by the reference plan: in double the truth, in float what rounding does to this graph.
class Truth {
 public:
  Truth(const Graph& graph, Mode mode, const Source& source)
      : exact_(run<double>(graph, mode, exec_of(DType::f64, 0), source)),
        rough_(run<float>(graph, mode, exec_of(DType::f32, 0), source)),
        sum_(graph_sum_factor(graph)) {
    std::vector<double> sizes{1};
    for (const auto& [name, numbers] : exact_)
      if (!is_output(name)) sizes.push_back(largest(numbers));
    std::nth_element(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2), sizes.end());
    gradient_size_ = sizes[sizes.size() / 2];
    for (const auto& item : exact_) rounding_ = std::max(rounding_, relative(item.first));
  }

  /// The reference in float adds up in double and rounds once for each number of each op. What that comes to in this
  /// graph is measured, and is one rounding at least; as a small tensor's error may be nearly zero by chance, the
  /// largest counts for all. Fast kernels round every term of a sum, and their activations may be off by 2.5 units in
  /// the last place: (5 + factor of the longest sum) times as much, and Winograd F(4x4) eleven times that.
  [[nodiscard]] double allowed(const std::string& name, bool winograd) const {
    return (winograd ? 11 : 1) * (5 + sum_) * rounding_ * scale(name);
  }

  /// `unit` is 1 for float, less for a type of more digits.
  [[nodiscard]] Deviation compare(const AllNumbers& got, bool gradients, bool winograd, double unit) const {
    Deviation worst;
    for (const auto& [name, numbers] : exact_) {
      if (is_probe(name) || !(gradients || is_output(name))) continue;
      const auto at = got.find(name);
      const double off = at == got.end() ? HUGE_VAL : difference(at->second, numbers);
      const double ratio = off == 0 ? 0 : off / (unit * allowed(name, winograd));
      if (!(ratio <= worst.ratio)) worst = {ratio, name};
    }
    return worst;
  }

  /// Is a number so near to a jump of a derivative, five measured errors, that rounding may well carry it across?
  [[nodiscard]] bool near_kink(const Graph& graph) const {
    for (int i = 0; i < graph.size(); ++i) {
      if (!has_kink(graph.node(i))) continue;
      const std::string name = "output " + probe_of(i);
      if (margin(graph, graph.node(i), exact_.at(name)) < 5 * relative(name) * scale(name)) return true;
    }
    return false;
  }

  [[nodiscard]] double rounding() const { return rounding_; }

 private:
  /// Errors are relative to a tensor's largest number, or to 1, the size of what goes in. A gradient may be zero by
  /// mathematics; it then carries the rounding of terms that cancel, which are of the size of other gradients.
  [[nodiscard]] double scale(const std::string& name) const {
    return std::max({1.0, largest(exact_.at(name)), is_output(name) ? 0 : gradient_size_});
  }
  [[nodiscard]] double relative(const std::string& name) const {
    return difference(rough_.at(name), exact_.at(name)) / scale(name);
  }

  AllNumbers exact_, rough_;
  double sum_, gradient_size_ = 0, rounding_ = test::roundoff<float>;
};

// ---- One graph -----------------------------------------------------------------------------------------------------

struct Tally {
  int graphs = 0, near_kink = 0;
  double worst = 0, rounding = 0;
  std::uint64_t worst_seed = 0;
  std::set<std::string_view> made_of;
  std::set<std::string> kernels;
};

/// A graph in one mode, on these numbers; gradients count or not.
struct Case {
  const Graph& graph;
  std::uint64_t seed;
  Mode mode;
  Source source;
  bool gradients;
};

void check_plans(const Case& c, const Truth& truth, Tally& tally) {
  const auto check = [&](const AllNumbers& got, bool winograd, double unit) {
    const Deviation worst = truth.compare(got, c.gradients, winograd, unit);
    CAPTURE(worst.where);
    CHECK(worst.ratio <= 1);
    if (worst.ratio > tally.worst) {
      tally.worst = worst.ratio;
      tally.worst_seed = c.seed;
    }
  };
  CAPTURE(static_cast<int>(c.mode));
  constexpr index_t blocks[] = {1, 4, 8, 16};
  {
    const index_t block = blocks[c.seed % 4];
    CAPTURE(block);
    constexpr double unit = 2 * test::roundoff<double> / test::roundoff<float>;  // the truth is rounded as well
    check(run<double>(c.graph, c.mode, exec_of(DType::f64, block), c.source), false, unit);
  }
  for (const Isa isa : kernels::available_isas())
    for (const bool direct : {true, false}) {
      Exec exec;
      exec.isa = isa;
      exec.direct = direct;
      CAPTURE(std::string(kernels::name_of(isa)));
      CAPTURE(direct);
      check(run<float>(c.graph, c.mode, exec, c.source, &tally.kernels), !direct, 1);
    }
}

/// Other numbers where one lies at a kink of the derivative: there no bound holds for gradients.
void check_training(const Graph& graph, std::uint64_t seed, Tally& tally) {
  const Graph probed = with_probes(graph);
  constexpr std::uint64_t most_tries = 8;
  for (std::uint64_t attempt = 0;; ++attempt) {
    const Source source(seed * most_tries + attempt, false);
    const Truth truth(probed, Mode::train, source);
    const bool gradients = !truth.near_kink(graph);
    if (!gradients && attempt + 1 < most_tries) continue;
    tally.near_kink += !gradients;
    tally.rounding = std::max(tally.rounding, truth.rounding());
    check_plans({graph, seed, Mode::train, source, gradients}, truth, tally);
    return;
  }
}

void check_graph(const test::RandomGraph& random, std::uint64_t seed, Tally& tally) {
  CAPTURE(seed);
  CAPTURE(random.text);
  const Source source(seed, false);
  check_plans({random.graph, seed, Mode::infer, source, true}, Truth(random.graph, Mode::infer, source), tally);
  check_training(random.graph, seed, tally);
  ++tally.graphs;
  tally.made_of.insert(random.made_of.begin(), random.made_of.end());
}

/// Of the reference in float: bounds that are far larger would not tell a number at the wrong place from rounding.
constexpr double most_rounding = 5e-5;

}  // namespace

TEST_CASE("random graphs of modules compute what the reference computes") {
  Tally tally;
  constexpr index_t count = 200;
  for (const std::uint64_t seed : seeds(count)) check_graph(test::random_modules(seed), seed, tally);
  MESSAGE(tally.graphs << " graphs, worst error / bound " << tally.worst << " (seed " << tally.worst_seed << "), "
                       << tally.near_kink << " without gradients, largest error of float " << tally.rounding << ", "
                       << tally.kernels.size() << " kernels");
  CHECK(tally.near_kink * 20 <= tally.graphs);
  if (tally.graphs < count) return;
  CHECK(tally.rounding < most_rounding);
  for (const ModuleDef* module : all_modules()) {
    CAPTURE(module->name);
    CHECK(tally.made_of.count(module->name) == 1);
  }
  CHECK(
      std::any_of(tally.kernels.begin(), tally.kernels.end(), [](const auto& k) { return k.starts_with("winograd"); }));
}

namespace {

/// Up to here sums of the terms, in any order, stay below 2^24 and are exact in float.
constexpr double largest_whole = 0x1p20;

void check_exact(const Graph& graph, Mode mode, const Source& source, const AllNumbers& want) {
  const auto check = [&](const AllNumbers& got) {
    CHECK(got.size() == want.size());
    for (const auto& item : want) {
      CAPTURE(item.first);
      CHECK(difference(got.at(item.first), item.second) == 0);
    }
  };
  CAPTURE(static_cast<int>(mode));
  for (const index_t block : {1, 4, 8, 16}) {
    CAPTURE(block);
    check(run<double>(graph, mode, exec_of(DType::f64, block), source));
  }
  for (const Isa isa : kernels::available_isas())
    for (const index_t block : {0, 1, 4, 8, 16}) {
      Exec exec;
      exec.isa = isa;
      exec.direct = true;
      exec.block = block;
      CAPTURE(std::string(kernels::name_of(isa)));
      CAPTURE(block);
      check(run<float>(graph, mode, exec, source));
    }
}

}  // namespace

TEST_CASE("random graphs are exact on whole numbers") {
  int checked = 0, large = 0;
  for (const std::uint64_t seed : seeds(50)) {
    const test::RandomGraph random = test::random_integers(seed);
    CAPTURE(seed);
    CAPTURE(random.text);
    const Source source(seed, true);
    for (const Mode mode : {Mode::infer, Mode::train}) {
      const AllNumbers want = run<double>(random.graph, mode, exec_of(DType::f64, 0), source);
      const bool fits =
          std::all_of(want.begin(), want.end(), [](const auto& item) { return largest(item.second) <= largest_whole; });
      ++(fits ? checked : large);
      if (fits) check_exact(random.graph, mode, source, want);
    }
  }
  MESSAGE(checked << " runs exact, " << large << " with numbers too large for that");
  CHECK(large * 10 <= checked);
}

TEST_SUITE_END();
