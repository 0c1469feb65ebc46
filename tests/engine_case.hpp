// What the tests of the engine share: one run of a graph with reproducible numbers, and whether plans agree on it.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "core/random.hpp"
#include "kernels/dispatch.hpp"
#include "slimneck/plan.hpp"

namespace slimneck::test {

/// The number in the environment variable, or `fallback` where it is none above zero.
inline index_t from_environment(const char* name, index_t fallback) {
  const char* text = std::getenv(name);
  const long value = text != nullptr ? std::strtol(text, nullptr, 10) : 0;
  return value > 0 ? value : fallback;
}

/// One case in so many is enough: more than 1 where sanitizers or emulators make everything slow.
inline index_t every() { return from_environment("SLIMNECK_TEST_EVERY", 1); }

/// block 0: the reference.
inline Exec exec_of(DType type, index_t block) {
  Exec exec;
  exec.dtype = type;
  exec.reference = block == 0;
  exec.block = block;
  return exec;
}

/// Whole numbers in -4..4 when `whole`, else reals in -1..1; both depend on the name only.
template <class T>
void fill(View<T> v, std::string_view name, bool whole = false) {
  const core::Stream stream(name, 3);
  for (index_t i = 0; i < v.shape.numel(); ++i) {
    const double u = stream.uniform(static_cast<std::uint64_t>(i), -1, 1);
    v.data[i] = static_cast<T>(whole ? std::floor(4.5 * u + 0.5) : u);
  }
}

/// Numbers for every parameter and state; variances are positive.
template <class T>
void fill(Parameters& parameters, bool whole = false) {
  for (Parameters::Entry& e : parameters.entries()) {
    const View<T> v = e.value.view<T>();
    fill<T>(v, e.name, whole);
    if (e.name.ends_with("var"))
      for (index_t i = 0; i < v.shape.numel(); ++i) v.data[i] = 1 + v.data[i] * v.data[i];
  }
  parameters.touch();
}

using AllNumbers = std::map<std::string, std::vector<double>>;

template <class T>
std::vector<double> numbers(View<T> v) {
  return {v.data, v.data + v.shape.numel()};
}

template <class T>
AllNumbers collect(const Graph& graph, Plan& plan, Parameters& parameters, Mode mode) {
  AllNumbers all;
  for (const std::string& name : plan.outputs()) all["output " + name] = numbers(plan.output<T>(name));
  if (mode == Mode::infer) return all;
  std::size_t input = 0;
  for (const Node& n : graph.nodes())
    if (n.role == Role::input) all["d " + n.name] = numbers(plan.input_gradient<T>(input++));
  for (const Parameters::Entry& e : parameters.entries())
    all[e.name] =
        e.role == Role::state ? numbers(parameters.at(e.name).value.view<T>()) : numbers(parameters.gradient<T>(e));
  return all;
}

/// Runs the plan once: outputs; in training also every gradient and the state afterwards. Every input must have a
/// gradient then.
template <class T>
AllNumbers run_once(const Graph& graph, Plan& plan, Parameters& parameters, Mode mode, bool whole = false) {
  std::size_t input = 0;
  for (const Node& n : graph.nodes())
    if (n.role == Role::input) fill<T>(plan.input<T>(input++), n.name, whole);
  plan.forward();
  if (mode == Mode::train) {
    for (const Output& o : graph.outputs())
      if (o.kind == OutputKind::result) fill<T>(plan.output_gradient<T>(o.name), "gradient of " + o.name, whole);
    plan.backward();
  }
  plan.wait();
  return collect<T>(graph, plan, parameters, mode);
}

template <class T = double>
AllNumbers all_numbers(const Graph& graph, Mode mode, const Exec& exec, bool whole = false) {
  Parameters parameters(graph, dtype_of<T>);
  fill<T>(parameters, whole);
  Plan plan(graph, parameters, {mode, exec, mode == Mode::train});
  return run_once<T>(graph, plan, parameters, mode, whole);
}

/// Largest |a - b| over all tensors, each relative to its own largest number or to 1, the size of what goes in, if that
/// is more (a gradient may be zero by mathematics and rounding by computation); infinite where names or sizes differ.
inline double distance(const AllNumbers& got, const AllNumbers& want) {
  if (got.size() != want.size()) return HUGE_VAL;
  double worst = 0;
  for (const auto& [name, numbers] : want) {
    const auto at = got.find(name);
    if (at == got.end() || at->second.size() != numbers.size()) return HUGE_VAL;
    double scale = 1, error = 0;
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      scale = std::max(scale, std::abs(numbers[i]));
      const double difference = std::abs(at->second[i] - numbers[i]);
      if (std::isnan(difference)) return HUGE_VAL;
      error = std::max(error, difference);
    }
    worst = std::max(worst, error / scale);
  }
  return worst;
}

/// Half of a type's digits: rounding stays far below, a number at the wrong place is far above.
inline constexpr double half_the_digits = 0x1p-26, half_of_float = 0x1p-12;

/// Fast kernels of every instruction set compute what the reference computes.
inline void check_fast(const Graph& graph, Mode mode, bool whole) {
  const AllNumbers want = all_numbers<float>(graph, mode, exec_of(DType::f32, 0), whole);
  for (const Isa isa : kernels::available_isas())
    for (const bool direct : {true, false}) {
      if (whole && !direct) continue;
      Exec exec;
      exec.isa = isa;
      exec.direct = direct;
      exec.threads = 2;
      CAPTURE(std::string(kernels::name_of(isa)));
      CAPTURE(direct);
      CAPTURE(static_cast<int>(mode));
      CHECK(distance(all_numbers<float>(graph, mode, exec, whole), want) <= (whole ? 0 : half_of_float));
    }
}

/// Plans in blocks of 1, 4, 8 and 16, and fast ones, compute what the reference computes, in inference and in training.
/// `whole`: on whole numbers, where a graph that only moves, adds and multiplies must agree to the last bit.
inline void check_same(const Graph& graph, bool whole = false) {
  for (const Mode mode : {Mode::infer, Mode::train}) {
    const AllNumbers want = all_numbers(graph, mode, exec_of(DType::f64, 0), whole);
    CHECK_FALSE(want.empty());
    check_fast(graph, mode, whole);
    for (const index_t block : {index_t{1}, index_t{4}, index_t{8}, index_t{16}}) {
      const AllNumbers got = all_numbers(graph, mode, exec_of(DType::f64, block), whole);
      CAPTURE(block);
      CAPTURE(static_cast<int>(mode));
      CHECK(distance(got, want) <= (whole ? 0 : half_the_digits));
    }
  }
}

}  // namespace slimneck::test
