// Every kernel of every instruction set, on 1, 2 and 3 threads, over one table of shapes.
#include "table.hpp"

#include <doctest/doctest.h>

#include <set>

#include "slimneck/kernels.hpp"

using namespace slimneck;
using namespace slimneck::table;

namespace {

/// op x shape x instruction set x threads that were compared with a reference.
index_t cases = 0;

/// Variants that some row of the table has run, as "direction name".
std::set<std::string> reached;

constexpr int thread_counts[] = {1, 2, 3};

Exec exec_of(Isa isa, int threads) {
  Exec e;
  e.isa = isa;
  e.threads = threads;
  return e;
}

std::string name(Isa isa) { return std::string(kernels::name_of(isa)); }

const Want& want_of(const ConvProblem& p, Direction d) {
  return d == Direction::forward ? p.y : d == Direction::backward_x ? p.dx : p.dw;
}

const char* name(Direction d) {
  return d == Direction::forward ? "forward" : d == Direction::backward_x ? "backward data" : "backward weights";
}

std::string kind(bool depthwise, Direction d) {
  return std::string(depthwise ? "depthwise " : "dense ") + name(d) + " by ";
}

constexpr Direction directions[] = {Direction::forward, Direction::backward_x, Direction::backward_w};

/// A row's place in memory: every row another one.
Placement place_of(std::size_t i) {
  constexpr index_t offsets[] = {0, 4, 8, 28};
  return {offsets[i % 4], i % 3 == 0, static_cast<index_t>(i % 2 * (1 + i % 3))};
}

void check_variants(const ConvProblem& p, Direction d, const Placement& at, bool exact) {
  for (const Isa isa : kernels::available_isas()) {
    std::vector<Outcome> first;
    for (const int threads : thread_counts) {
      const std::vector<Outcome> outcomes = run_variants(*kernels::kernels_of(isa), p, d, threads, at);
      for (std::size_t i = 0; i < outcomes.size(); ++i) {
        const Outcome& o = outcomes[i];
        INFO(name(isa), " ", threads, " threads, ", name(d), " by ", o.variant, ": ", to_text(p.row));
        CHECK(o.intact);
        reached.insert(kind(p.row.depthwise(), d) + o.variant);
        // Winograd's forms with M = 2 have constants that are powers of two: exact on whole numbers as well.
        if (o.algorithm == Algorithm::direct || (exact && o.variant.starts_with("winograd2")))
          CHECK(mismatches(o.result, want_of(p, d)) == 0);
        else if (!exact)
          CHECK(near_in_norm(o.result, want_of(p, d).value));
        if (threads > 1) CHECK(same_bits(o.result, first[i].result));
        ++cases;
      }
      if (threads == 1) first = outcomes;
    }
  }
}

}  // namespace

TEST_CASE("every variant of every convolution is exact on whole numbers") {
  std::size_t i = 0;
  for (const ConvRow& row : conv_rows()) {
    const ConvProblem p(row, Fill::integers);
    for (const Direction d : directions) check_variants(p, d, place_of(i), true);
    ++i;
  }
}

TEST_CASE("every variant of every convolution keeps to the error bound of its sums") {
  std::size_t i = 0;
  for (const ConvRow& row : conv_rows()) {
    const ConvProblem p(row, i % 2 == 0 ? Fill::positives : Fill::reals);
    for (const Direction d : directions) check_variants(p, d, place_of(i + 1), false);
    ++i;
  }
}

namespace {

/// Runs a fast convolution on plain views, in memory of exactly its size.
Tensor run_fast(const ConvProblem& p, Direction d, const Exec& exec, const Placement& at, bool bias,
                const kernels::fast::Options& options) {
  using namespace kernels::fast;
  const ConvRow& r = p.row;
  const Map x(p.x, 1, at), w(p.w, 1, at), dy(p.dy, 1, at), b(p.bias, 1, at);
  const bool forward = d == Direction::forward, backward = d == Direction::backward_x;
  const Map result(random_tensor(forward ? r.y() : backward ? r.x : r.w(), Fill::integers, 9), 1, at);
  const Edge workspace(forward    ? conv2d_fwd_workspace(exec, r.x, r.w(), r.g, options)
                       : backward ? conv2d_bwd_x_workspace(exec, r.x, r.w(), r.g, options)
                                  : conv2d_bwd_w_workspace(exec, r.x, r.w(), r.g, options),
                       at);
  Finish finish;
  if (bias) finish.bias = b.read();
  if (forward)
    conv2d_fwd(exec, x.read(), w.read(), result.view(), r.g, finish, workspace.span(), options);
  else if (backward)
    conv2d_bwd_x(exec, dy.read(), w.read(), result.view(), r.g, workspace.span(), options);
  else
    conv2d_bwd_w(exec, x.read(), dy.read(), result.view(), r.g, workspace.span(), options);
  CHECK(result.intact());
  CHECK(workspace.intact());
  return result.values();
}

}  // namespace

TEST_CASE("fast convolutions on plain views: exact on whole numbers, any groups, set and add") {
  std::size_t i = 0;
  for (const ConvRow& row : conv_rows()) {
    const ConvProblem p(row, Fill::integers);
    for (const Isa isa : kernels::available_isas())
      for (const int threads : thread_counts)
        for (const Direction d : directions) {
          INFO(name(isa), " ", threads, " threads, ", name(d), ": ", to_text(row));
          const bool bias = d == Direction::forward && i % 2 == 0;
          const Exec exec = exec_of(isa, threads);
          const Want& want = bias ? p.y_bias : want_of(p, d);
          CHECK(mismatches(run_fast(p, d, exec, place_of(i), bias, {kernels::Write::set, Algorithm::direct}), want) ==
                0);
          if (threads == 2) {
            Want sum{random_tensor(want.value.shape(), Fill::integers, 9).to(DType::f64), {}, 0};
            for (index_t e = 0; e < sum.value.numel(); ++e) sum.value.data<double>()[e] += want.value.data<double>()[e];
            CHECK(mismatches(run_fast(p, d, exec, place_of(i), bias, {kernels::Write::add, Algorithm::direct}), sum) ==
                  0);
          }
          ++cases;
        }
    ++i;
  }
}

TEST_CASE("fast convolutions: <y, g> = <x, dx> = <w, dw>") {
  for (const ConvRow& row : conv_rows()) {
    const ConvProblem p(row, Fill::reals);
    const double allowed = std::ldexp(1.0, -24) * dot(p.y.scale, absolute(p.dy));
    for (const Isa isa : kernels::available_isas()) {
      INFO(name(isa), " ", to_text(row));
      const Exec exec = exec_of(isa, 2);
      const double forward = dot(run_fast(p, Direction::forward, exec, {}, false, {}), p.dy);
      const double data = dot(run_fast(p, Direction::backward_x, exec, {}, false, {}), p.x);
      const double weights = dot(run_fast(p, Direction::backward_w, exec, {}, false, {}), p.w);
      CHECK(std::fabs(forward - data) <= allowed);
      CHECK(std::fabs(forward - weights) <= allowed);
      ++cases;
    }
  }
}

TEST_CASE("the table reaches every variant") {
  if (reached.empty() || every() > 1) return;  // where only this test runs there is nothing to say
  const auto check = [](bool depthwise, Direction d, const auto& variants) {
    for (const auto& v : variants) {
      INFO(kind(depthwise, d), std::string(v.name));
      CHECK(reached.count(kind(depthwise, d) + std::string(v.name)) == 1);
    }
  };
  check(false, Direction::forward, kernels::conv_fwd_variants());
  check(false, Direction::backward_x, kernels::conv_bwd_x_variants());
  check(false, Direction::backward_w, kernels::conv_bwd_w_variants());
  check(true, Direction::forward, kernels::depthwise_fwd_variants());
  check(true, Direction::backward_x, kernels::depthwise_bwd_x_variants());
  check(true, Direction::backward_w, kernels::depthwise_bwd_w_variants());
}

TEST_CASE("convolutions give the same bits in twenty runs, whatever lies in their workspace") {
  for (std::size_t i = 0; i < conv_rows().size(); i += 7) {
    const ConvProblem p(conv_rows()[i], Fill::reals);
    for (const Isa isa : kernels::available_isas())
      for (const Direction d : directions) {
        const std::vector<Outcome> first = run_variants(*kernels::kernels_of(isa), p, d, 1, {});
        const Tensor fast = run_fast(p, d, exec_of(isa, 1), {}, false, {});
        index_t different = 0;
        for (int run = 1; run < 20; ++run) {
          const std::vector<Outcome> again = run_variants(*kernels::kernels_of(isa), p, d, 1 + run % 3, {});
          for (std::size_t k = 0; k < first.size(); ++k) different += !same_bits(first[k].result, again[k].result);
          different += !same_bits(fast, run_fast(p, d, exec_of(isa, 1 + run % 3), {}, false, {}));
        }
        INFO(name(isa), " ", name(d), ": ", to_text(p.row));
        CHECK(different == 0);
      }
  }
}

TEST_CASE("fast kernels refuse what does not fit before they touch anything") {
  using namespace kernels::fast;
  const Tensor x = random_tensor({1, 4, 5, 5}, Fill::reals, 1), w = random_tensor({8, 4, 3, 3}, Fill::reals, 2);
  Tensor y({1, 8, 5, 5});
  const kernels::Conv2d g{1, 1, 1};
  const Exec exec;
  std::vector<float> workspace(static_cast<std::size_t>(conv2d_fwd_workspace(exec, x.shape(), w.shape(), g)));
  const auto run = [&](const View<float>& to, std::span<float> memory, const Exec& how,
                       const kernels::Conv2d& geometry) {
    conv2d_fwd(how, x.view<float>(), w.view<float>(), to, geometry, {}, memory);
  };
  CHECK_NOTHROW(run(y.view<float>(), workspace, exec, g));
  const Tensor before = y;
  CHECK_THROWS_AS(run(y.view<float>(), std::span(workspace).first(workspace.size() - 16), exec, g), ShapeError);
  CHECK_THROWS_AS(run(y.view<float>(), {}, exec, g), ShapeError);
  CHECK_THROWS_AS(run(y.view<float>().channels(0, 7), workspace, exec, g), ShapeError);
  CHECK_THROWS_AS(run(View<float>(y.data<float>(), y.shape(), 8), workspace, exec, g), ShapeError);
  CHECK_THROWS_AS(run(y.view<float>(), workspace, exec, {1, 1, 1, 1, 3}), ShapeError);
  CHECK_THROWS_AS(run(y.view<float>(), workspace, exec, {0, 1, 1}), ShapeError);
  CHECK_THROWS_AS(run(y.view<float>(), workspace, exec, {1, -1, 1}), ShapeError);
  Exec elsewhere;
  elsewhere.device = Device::cuda;
  CHECK_THROWS_AS(run(y.view<float>(), workspace, elsewhere, g), DeviceError);
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512, Isa::neon})
    if (!kernels::kernels_of(isa)) CHECK_THROWS_AS(run(y.view<float>(), workspace, exec_of(isa, 1), g), DeviceError);
  CHECK(same_bits(before, y));
  CHECK_THROWS_AS(static_cast<void>(conv2d_fwd_workspace(exec, {-1, 4, 5, 5}, w.shape(), g)), ShapeError);
  const index_t huge = index_t{1} << 62;
  CHECK_THROWS_AS(static_cast<void>(pointwise_workspace(exec, {1, 1, huge, 2})), ShapeError);
  CHECK_THROWS_AS(static_cast<void>(upsample_nearest_workspace(exec, {1, 1, huge, 1}, huge)), ShapeError);
}

TEST_CASE("the table has as many cases as it promises") {
  // Counted over the tests above, so there is nothing to say where only this one runs.
  if (cases == 0) return;
  MESSAGE(cases, " cases of op x shape x instruction set x threads");
  if (every() == 1) CHECK(cases >= 2000);
}
