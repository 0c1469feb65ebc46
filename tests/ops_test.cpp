// Every op of the list: its cases build, its gradient is the derivative, and its layouts change nothing.
#include "slimneck/ops.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <set>
#include <string>

#include "engine_case.hpp"
#include "golden_case.hpp"
#include "op_cases.hpp"
#include "slimneck/gradcheck.hpp"

using namespace slimneck;

TEST_SUITE_BEGIN("ops");

TEST_CASE("the list names every op once and finds it") {
  std::set<std::string_view> names;
  for (const OpDef* op : all_ops()) {
    CHECK(names.insert(op->name).second);
    CHECK(find_op(op->name) == op);
    CHECK(bool(op->infer));
    if (op->kind == OpKind::compute) CHECK((op->reference.f32 && op->reference.f64));
    if (op->kind == OpKind::gather) CHECK(bool(op->source));
  }
  CHECK(find_op("no such op") == nullptr);
}

TEST_CASE("gradients are derivatives") {
  test::for_each_op_case([](const Graph& graph) {
    Parameters parameters(graph, DType::f64);
    const GradientCheckResult result = check_gradients(graph, parameters);
    CAPTURE(result.worst);
    CAPTURE(result.worst_at);
    CAPTURE(result.worst_adjoint);
    CHECK(result.passed());
  });
}

TEST_CASE("fast kernels compute what the reference computes") {
  test::for_each_op_case([](const Graph& graph) {
    test::check_fast(graph, Mode::infer, false);
    std::vector<Value> wrt;
    for (int i = 0; i < graph.size(); ++i)
      if (const Role role = graph.node(i).role; role == Role::input || role == Role::parameter) wrt.push_back({i, 0});
    const bool all = differentiate(graph, wrt).gradients().size() == wrt.size();  // not where one is a constant
    if (all) test::check_fast(graph, Mode::train, false);
  });
}

TEST_CASE("a convolution is linear in input, weights and bias together with its adjoints") {
  for (const OpCase& example : ops::conv2d.cases()) {
    if (example.real) continue;
    const Graph graph = graph_of_case(ops::conv2d, example);
    Parameters parameters(graph, DType::f64);
    const GradientCheckResult result = check_gradients(graph, parameters);
    CHECK(result.linear_operands == (example.inputs.size() == 3 ? 0 : 2));
  }
}

TEST_CASE("a gradient check that is wrong is seen") {
  // relu's backward with silu's forward: the same graph shape, the wrong derivative.
  OpDef broken = ops::silu;
  broken.gradient = ops::relu.gradient;
  const Graph graph = graph_of_case(broken, {"broken", {{1, 2, 3, 3}}, {}});
  Parameters parameters(graph, DType::f64);
  CHECK_FALSE(check_gradients(graph, parameters).passed());
}

TEST_CASE("errors name the node, what came and what was wanted") {
  Graph graph;
  const Value x = graph.input("x", {1, 65, 8, 8});
  const Value w = graph.parameter("w", {64, 22, 3, 3});
  CHECK_THROWS_WITH_AS(graph.add(ops::conv2d, {x, w}, {{"groups", index_t{3}}}, "neck.3.cv1"),
                       "conv2d 'neck.3.cv1': 65 input channels are not divisible by groups=3", ShapeError);
  CHECK_THROWS_WITH_AS(graph.add(ops::silu, {x}, {{"slope", 0.1}}, "a"), "silu 'a': it has no attribute 'slope'",
                       ShapeError);
  CHECK_THROWS_AS(graph.input("huge", {1, index_t{1} << 40, index_t{1} << 40, 1}), ShapeError);
  CHECK_THROWS_AS(graph.add(ops::max_pool, {x}), ShapeError);
}

TEST_SUITE_END();
