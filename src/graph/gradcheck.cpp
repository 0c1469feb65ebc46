#include "slimneck/gradcheck.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/random.hpp"

namespace slimneck {

namespace {

/// One operand of the checked function: numbers that may be moved, and their analytic gradient.
struct Operand {
  std::string name;
  double* value = nullptr;
  index_t count = 0;
  std::vector<double> gradient;
};

class Checker {
 public:
  Checker(const Graph& graph, Parameters& parameters, const GradientCheckOptions& options)
      : options_(options), parameters_(parameters), plan_(graph, parameters, plan_options()) {
    collect(graph);
    parameters_.zero_grad();
    value_ = evaluate();
    plan_.backward();
    read_gradients(graph);
  }

  GradientCheckResult run() {
    GradientCheckResult result;
    index_t total = 0;
    for (const Operand& o : operands_) total += o.count;
    if (total <= options_.every_element)
      elements(result);
    else
      directions(result, total);
    adjoints(result);
    return result;
  }

 private:
  static PlanOptions plan_options() {
    PlanOptions o;
    o.mode = Mode::train;
    o.exec.dtype = DType::f64;
    o.exec.reference = true;
    o.input_gradients = true;
    return o;
  }

  void collect(const Graph& graph) {
    std::size_t input = 0;
    for (const Node& n : graph.nodes()) {
      if (n.role != Role::input) continue;
      View<double> x = plan_.input<double>(input++);
      fill(n.name, x.data, x.shape.numel(), -1, 1);
      operands_.push_back({n.name, x.data, x.shape.numel(), {}});
    }
    for (Parameters::Entry& e : parameters_.entries()) {
      double* data = e.value.data<double>();
      const bool positive = e.name.find("gamma") != std::string::npos || e.name.find("var") != std::string::npos;
      if (options_.initialise) fill(e.name, data, e.value.numel(), positive ? 0.5 : -1, positive ? 1.5 : 1);
      if (e.role == Role::parameter) operands_.push_back({e.name, data, e.value.numel(), {}});
    }
    for (const Output& o : graph.outputs()) {
      if (o.kind != OutputKind::result) continue;
      View<double> g = plan_.output_gradient<double>(o.name);
      fill("weight of " + o.name, g.data, g.shape.numel(), -1, 1);
      results_.emplace_back(plan_.output<double>(o.name), g);
    }
  }

  void fill(const std::string& name, double* data, index_t count, double low, double high) const {
    const core::Stream stream(name, options_.seed);
    for (index_t i = 0; i < count; ++i) data[i] = stream.uniform(static_cast<std::uint64_t>(i), low, high);
  }

  /// Running statistics change in a training forward; they must not drift between evaluations.
  double evaluate() {
    parameters_.touch();
    std::vector<Tensor> kept;
    for (const Parameters::Entry& e : parameters_.entries())
      if (e.role == Role::state) kept.push_back(e.value);
    plan_.forward();
    std::size_t next = 0;
    for (Parameters::Entry& e : parameters_.entries())
      if (e.role == Role::state) {
        std::copy_n(kept[next].data<double>(), e.value.numel(), e.value.data<double>());
        ++next;
      }
    double sum = 0;
    for (const auto& [y, g] : results_)
      for (index_t i = 0; i < y.shape.numel(); ++i) sum += y.data[i] * g.data[i];
    return sum;
  }

  void read_gradients(const Graph& graph) {
    std::size_t input = 0, operand = 0;
    for (const Node& n : graph.nodes())
      if (n.role == Role::input) {
        Operand& o = operands_[operand++];
        o.gradient.assign(static_cast<std::size_t>(o.count), 0.0);
        try {
          const View<double> g = plan_.input_gradient<double>(input);
          o.gradient.assign(g.data, g.data + o.count);
        } catch (const Error&) {
          o.gradient.clear();  // nothing flows back to it
        }
        ++input;
      }
    for (Parameters::Entry& e : parameters_.entries())
      if (e.role == Role::parameter) {
        const View<double> g = parameters_.gradient<double>(e);
        operands_[operand++].gradient.assign(g.data, g.data + e.value.numel());
      }
    std::erase_if(operands_, [](const Operand& o) { return o.gradient.empty(); });
  }

  void compare(GradientCheckResult& result, double numeric, double analytic, const std::string& name) const {
    const double error = std::abs(numeric - analytic) / (options_.absolute + options_.relative * std::abs(analytic));
    ++result.samples;
    if (error > result.worst || std::isnan(error)) {
      result.worst = std::isnan(error) ? HUGE_VAL : error;
      result.worst_at = name;
    }
  }

  void elements(GradientCheckResult& result) {
    for (Operand& o : operands_)
      for (index_t i = 0; i < o.count; ++i) {
        const double before = o.value[i];
        o.value[i] = before + options_.epsilon;
        const double above = evaluate();
        o.value[i] = before - options_.epsilon;
        const double below = evaluate();
        o.value[i] = before;
        compare(result, (above - below) / (2 * options_.epsilon), o.gradient[static_cast<std::size_t>(i)], o.name);
      }
  }

  /// Moves all operands at once along random directions. The more numbers move, the further a step goes, and deep
  /// networks bend quickly: hence the root.
  void directions(GradientCheckResult& result, index_t total) {
    const double step = options_.epsilon / std::sqrt(static_cast<double>(total));
    std::vector<std::vector<double>> before;
    for (const Operand& o : operands_) before.emplace_back(o.value, o.value + o.count);
    for (int d = 0; d < options_.directions; ++d) {
      const std::string name = "direction " + std::to_string(d);
      Streams direction;
      for (const Operand& o : operands_) direction.emplace_back(name + o.name, options_.seed);
      const double above = moved(direction, before, step), below = moved(direction, before, -step);
      compare(result, (above - below) / (2 * step), slope(direction), name);
    }
    for_each_operand([&](std::size_t k) { std::copy(before[k].begin(), before[k].end(), operands_[k].value); });
  }

  /// A direction is drawn whenever it is needed: it has as many numbers as the network.
  using Streams = std::vector<core::Stream>;

  /// The analytic derivative along a direction.
  double slope(const Streams& direction) const {
    std::vector<double> parts(operands_.size(), 0.0);
    for_each_operand([&](std::size_t k) {
      for (std::size_t i = 0; i < operands_[k].gradient.size(); ++i)
        parts[k] += direction[k].uniform(i, -1, 1) * operands_[k].gradient[i];
    });
    return std::accumulate(parts.begin(), parts.end(), 0.0);
  }

  /// The function at `before` + step * direction, where the operands stay.
  double moved(const Streams& direction, const std::vector<std::vector<double>>& before, double step) {
    for_each_operand([&](std::size_t k) {
      for (std::size_t i = 0; i < before[k].size(); ++i)
        operands_[k].value[i] = before[k][i] + step * direction[k].uniform(i, -1, 1);
    });
    return evaluate();
  }

  /// In parallel; f must not throw.
  template <class F>
  void for_each_operand(const F& f) const {
#pragma omp parallel for schedule(dynamic)
    for (std::size_t k = 0; k < operands_.size(); ++k) f(k);
  }

  /// Where the function is linear in an operand x: <y, g> = <x, dx>, to rounding. Finding out costs at least one run
  /// for each operand, too much for a network of hundreds, which is linear in next to none of them.
  void adjoints(GradientCheckResult& result) {
    constexpr std::size_t most_operands = 32;
    if (operands_.size() > most_operands) return;
    for (Operand& o : operands_) {
      const std::vector<double> x(o.value, o.value + o.count);
      const auto scaled = [&](double factor) {
        std::transform(x.begin(), x.end(), o.value, [&](double v) { return factor * v; });
        const double value = evaluate();
        std::copy(x.begin(), x.end(), o.value);
        return value;
      };
      double scale = 1e-300;
      for (const auto& [y, g] : results_)
        for (index_t i = 0; i < y.shape.numel(); ++i) scale += std::abs(y.data[i] * g.data[i]);
      const double tolerance = 1e-12 * scale;
      if (std::abs(scaled(0)) > tolerance || std::abs(scaled(-1) + value_) > tolerance ||
          std::abs(scaled(3) - 3 * value_) > 4 * tolerance)
        continue;
      ++result.linear_operands;
      const double dot = std::inner_product(x.begin(), x.end(), o.gradient.begin(), 0.0);
      result.worst_adjoint = std::max(result.worst_adjoint, std::abs(value_ - dot) / scale);
    }
  }

  GradientCheckOptions options_;
  Parameters& parameters_;
  Plan plan_;
  std::vector<Operand> operands_;
  std::vector<std::pair<View<double>, View<double>>> results_;
  double value_ = 0;
};

}  // namespace

GradientCheckResult check_gradients(const Graph& graph, Parameters& parameters, const GradientCheckOptions& options) {
  std::vector<Tensor> kept;
  for (const Parameters::Entry& e : parameters.entries()) kept.push_back(e.value);
  GradientCheckResult result = Checker(graph, parameters, options).run();
  for (std::size_t i = 0; i < kept.size(); ++i)
    std::copy_n(kept[i].data<double>(), kept[i].numel(), parameters.entries()[i].value.data<double>());
  parameters.touch();
  return result;
}

Graph graph_of_case(const OpDef& op, const OpCase& example) {
  Graph graph;
  std::vector<Value> operands;
  for (std::size_t i = 0; i < example.inputs.size(); ++i)
    operands.push_back(graph.input("operand " + std::to_string(i), example.inputs[i]));
  const Value y = graph.add(op, operands, example.attributes, example.name);
  for (int i = 0; i < example.results; ++i) graph.output(i == 0 ? "y" : "y" + std::to_string(i), {y.node, i});
  return graph;
}

}  // namespace slimneck
