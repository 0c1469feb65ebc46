// What works on maps without weights, through the functions for plain views: every instruction set, 1, 2 and 3 threads.
#include "table_maps.hpp"

#include <doctest/doctest.h>

#include <array>

#include "slimneck/kernels.hpp"

using namespace slimneck;
using namespace slimneck::table;
using kernels::Act;
using kernels::Activation;
using kernels::Write;
namespace fast = kernels::fast;

namespace {

constexpr int thread_counts[] = {1, 2, 3};
/// Runs `body(exec, placement)` for everything that a result must not depend on; it returns the results, which are
/// compared with `check` and bit for bit between the numbers of threads.
template <class Body, class Check>
void for_each_case(std::size_t row, const Body& body, const Check& check) {
  for (const Isa isa : kernels::available_isas()) {
    std::vector<Tensor> first;
    for (const int threads : thread_counts) {
      Exec exec;
      exec.isa = isa;
      exec.threads = threads;
      INFO(std::string(kernels::name_of(isa)), " ", threads, " threads, shape ", to_string(map_shapes[row]));
      const std::vector<Tensor> results = body(exec, map_placements[row % 5]);
      check(results);
      if (threads == 1)
        first = results;
      else
        for (std::size_t i = 0; i < results.size(); ++i) CHECK(same_bits(results[i], first[i]));
    }
  }
}

/// A map that must come out whole.
Tensor finished(const Map& map) {
  CHECK(map.intact());
  return map.values();
}

}  // namespace

TEST_CASE("addition is exact, into new memory and onto what is there") {
  for_each_map_shape([](std::size_t i, const Shape& s) {
    const Tensor a = random_tensor(s, Fill::reals, 1), b = random_tensor(s, Fill::reals, 2);
    Tensor sum(s), twice(s);
    kernels::add<float>(a.view<float>(), b.view<float>(), sum.view<float>());
    kernels::add<float>(a.view<float>(), sum.view<float>(), twice.view<float>());
    for_each_case(
        i,
        [&](const Exec& exec, const Placement& at) -> std::vector<Tensor> {
          const Map ma(a, 1, at), mb(b, 1, at), y(s, 1, at), z(a, 1, at);
          const Edge workspace(fast::pointwise_workspace(exec, s), at);
          fast::add(exec, ma.read(), mb.read(), y.view(), workspace.span());
          fast::add(exec, ma.read(), mb.read(), z.view(), workspace.span(), {.write = Write::add});
          CHECK(workspace.intact());
          return {finished(y), finished(z)};
        },
        [&](const std::vector<Tensor>& r) {
          CHECK(same_bits(r[0], sum));
          CHECK(same_bits(r[1], twice));
        });
  });
}

TEST_CASE("activations and their gradients") {
  constexpr Act kinds[] = {Act::none,       Act::silu,      Act::mish,    Act::relu,
                           Act::leaky_relu, Act::hardswish, Act::sigmoid, Act::gelu};
  for_each_map_shape([&](std::size_t i, const Shape& s) {
    for (const Act kind : kinds) {
      const Activation act{kind, 0.125};
      CAPTURE(static_cast<int>(kind));
      Tensor x = random_tensor(s, Fill::reals, 3);
      for (index_t e = 0; e < x.numel(); ++e) x.data<float>()[e] *= 5;
      const Tensor dy = random_tensor(s, Fill::reals, 4);
      const Tensor x64 = x.to(DType::f64), dy64 = dy.to(DType::f64);
      Tensor y(s, DType::f64), dx(s, DType::f64);
      kernels::act_fwd<double>(x64.view<double>(), y.view<double>(), act);
      kernels::act_bwd<double>(x64.view<double>(), dy64.view<double>(), dx.view<double>(), act);
      const bool exact = kind == Act::none || kind == Act::relu || kind == Act::leaky_relu;
      const Want want_y = relatively(y, exact ? 0x1p-24 : 0x1p-20), want_dx{dx, absolute(dy), exact ? 0x1p-24 : 1e-6};
      for_each_case(
          i,
          [&](const Exec& exec, const Placement& at) -> std::vector<Tensor> {
            const Map mx(x, 1, at), mdy(dy, 1, at), to(s, 1, at), gradient(s, 1, at);
            const Edge workspace(fast::pointwise_workspace(exec, s), at);
            fast::act_fwd(exec, mx.read(), to.view(), act, workspace.span());
            fast::act_bwd(exec, mx.read(), mdy.read(), gradient.view(), act, workspace.span());
            CHECK(workspace.intact());
            return {finished(to), finished(gradient)};
          },
          [&](const std::vector<Tensor>& r) {
            CHECK(mismatches(r[0], want_y) == 0);
            CHECK(mismatches(r[1], want_dx) == 0);
          });
    }
  });
}

TEST_CASE("shuffles, their inverses and slices move every number to its place") {
  for_each_map_shape([](std::size_t i, const Shape& s) {
    const Tensor x = random_tensor(s, Fill::reals, 5);
    const ChannelMoves moves(s.c);
    const std::vector<index_t>&shuffle = moves.shuffle, &inverse = moves.inverse, &slice = moves.slice;
    const Shape sliced{s.n, static_cast<index_t>(slice.size()), s.h, s.w};
    Tensor y(s), part(sliced), sum(s);
    kernels::gather_channels<float>(x.view<float>(), y.view<float>(), shuffle);
    kernels::gather_channels<float>(x.view<float>(), part.view<float>(), slice);
    kernels::add<float>(x.view<float>(), y.view<float>(), sum.view<float>());
    for_each_case(
        i,
        [&](const Exec& exec, const Placement& at) -> std::vector<Tensor> {
          const Map mx(x, 1, at), to(s, 1, at), back(s, 1, at), some(sliced, 1, at), added(x, 1, at);
          fast::channel_shuffle(exec, mx.read(), to.view(), shuffle);
          fast::channel_shuffle(exec, to.read(), back.view(), inverse);
          fast::channel_shuffle(exec, mx.read(), some.view(), slice);
          fast::channel_shuffle(exec, mx.read(), added.view(), shuffle, {.write = Write::add});
          return {finished(to), finished(back), finished(some), finished(added)};
        },
        [&](const std::vector<Tensor>& r) {
          CHECK(same_bits(r[0], y));
          CHECK(same_bits(r[1], x));
          CHECK(same_bits(r[2], part));
          CHECK(same_bits(r[3], sum));
        });
  });
}

TEST_CASE("sums over a channel: exact on whole numbers, within the bound on others") {
  for_each_map_shape([](std::size_t i, const Shape& s) {
    for (const Fill fill : {Fill::integers, Fill::positives}) {
      const Tensor x = random_tensor(s, fill, 6);
      Tensor sum(vector_of(s), DType::f64);
      kernels::channel_sum<double>(x.to(DType::f64).view<double>(), sum.view<double>());
      const Want want = fill == Fill::integers ? Want{sum, {}, 0} : relatively(sum, error_factor(s.n * s.h * s.w));
      for_each_case(
          i,
          [&](const Exec& exec, const Placement& at) -> std::vector<Tensor> {
            const Map mx(x, 1, at), y(vector_of(s), 1, at);
            const Edge workspace(fast::channel_sum_workspace(exec, s), at);
            fast::channel_sum(exec, mx.read(), y.view(), workspace.span());
            CHECK(workspace.intact());
            return {finished(y)};
          },
          [&](const std::vector<Tensor>& r) { CHECK(mismatches(r[0], want) == 0); });
    }
  });
}

TEST_CASE("max pooling and its gradient are exact, ties and all") {
  constexpr kernels::Pool pools[] = {{2, 2, 0}, {5, 1, 2}, {3, 2, 1}, {1, 1, 0}, {3, 3, 0}, {13, 1, 6}, {17, 1, 8}};
  for_each_map_shape([&](std::size_t i, const Shape& s) {
    const kernels::Pool& pool = pools[i % std::size(pools)];
    if (s.h + 2 * pool.pad < pool.kernel || s.w + 2 * pool.pad < pool.kernel) return;
    const Shape pooled{s.n, s.c, (s.h + 2 * pool.pad - pool.kernel) / pool.stride + 1,
                       (s.w + 2 * pool.pad - pool.kernel) / pool.stride + 1};
    CAPTURE(pool.kernel);
    const Tensor x = random_tensor(s, Fill::integers, 11), dy = random_tensor(pooled, Fill::integers, 12);
    Tensor y(pooled), dx(s);
    kernels::max_pool_fwd<float>(x.view<float>(), y.view<float>(), pool);
    kernels::max_pool_bwd<float>(x.view<float>(), dy.view<float>(), dx.view<float>(), pool);
    for_each_case(
        i,
        [&](const Exec& exec, const Placement& at) -> std::vector<Tensor> {
          const Map mx(x, 1, at), mdy(dy, 1, at), to(pooled, 1, at), gradient(s, 1, at);
          const Edge workspace(fast::max_pool_workspace(exec, s, pool), at);
          fast::max_pool_fwd(exec, mx.read(), to.view(), pool, workspace.span());
          fast::max_pool_bwd(exec, mx.read(), mdy.read(), gradient.view(), pool, workspace.span());
          CHECK(workspace.intact());
          return {finished(to), finished(gradient)};
        },
        [&](const std::vector<Tensor>& r) {
          CHECK(mismatches(r[0], {y.to(DType::f64), {}, 0}) == 0);
          CHECK(mismatches(r[1], {dx.to(DType::f64), {}, 0}) == 0);
        });
  });
}

TEST_CASE("upsampling and its gradient are exact on whole numbers") {
  for_each_map_shape([&](std::size_t i, const Shape& s) {
    const index_t factor = 1 + static_cast<index_t>(i % 3);
    const Shape large{s.n, s.c, s.h * factor, s.w * factor};
    CAPTURE(factor);
    const Tensor x = random_tensor(s, Fill::integers, 13), dy = random_tensor(large, Fill::integers, 14);
    Tensor y(large), dx(s);
    kernels::upsample_nearest_fwd<float>(x.view<float>(), y.view<float>(), factor);
    kernels::upsample_nearest_bwd<float>(dy.view<float>(), dx.view<float>(), factor);
    for_each_case(
        i,
        [&](const Exec& exec, const Placement& at) -> std::vector<Tensor> {
          const Map mx(x, 1, at), mdy(dy, 1, at), to(large, 1, at), gradient(s, 1, at);
          const Edge workspace(fast::upsample_nearest_workspace(exec, s, factor), at);
          fast::upsample_nearest_fwd(exec, mx.read(), to.view(), factor, workspace.span());
          fast::upsample_nearest_bwd(exec, mdy.read(), gradient.view(), factor, workspace.span());
          CHECK(workspace.intact());
          return {finished(to), finished(gradient)};
        },
        [&](const std::vector<Tensor>& r) {
          CHECK(mismatches(r[0], {y.to(DType::f64), {}, 0}) == 0);
          CHECK(mismatches(r[1], {dx.to(DType::f64), {}, 0}) == 0);
        });
  });
}

TEST_CASE("batch norm: statistics, application with activation, gradient") {
  for_each_map_shape([](std::size_t i, const Shape& s) {
    const Act kind = std::array{Act::none, Act::silu, Act::relu, Act::leaky_relu}[i % 4];
    const NormProblem p(s, kind, i % 3 != 2);
    const index_t count = s.n * s.h * s.w;
    const Tensor mean = p.mean.to(DType::f32), var = p.var.to(DType::f32);
    for_each_case(
        i,
        [&](const Exec& exec, const Placement& at) -> std::vector<Tensor> {
          const Map x(p.x, 1, at), dy(p.dy, 1, at), gamma(p.gamma, 1, at), beta(p.beta, 1, at), m(mean, 1, at),
              v(var, 1, at), mean_out(vector_of(s), 1, at), var_out(vector_of(s), 1, at), y(s, 1, at), dx(s, 1, at),
              dgamma(vector_of(s), 1, at), dbeta(vector_of(s), 1, at);
          const Edge workspace(fast::bn_workspace(exec, s), at);
          const fast::Norm norm{gamma.read(), beta.read(), m.read(), v.read()};
          fast::bn_stats(exec, x.read(), mean_out.view(), var_out.view(), workspace.span());
          fast::bn_apply(exec, x.read(), norm, y.view(), NormProblem::eps, p.act, workspace.span());
          fast::bn_bwd(exec, dy.read(), x.read(), norm, dx.view(), dgamma.view(), dbeta.view(), NormProblem::eps, p.act,
                       p.batch_stats, workspace.span());
          CHECK(workspace.intact());
          return {finished(mean_out), finished(var_out), finished(y), finished(dx), finished(dgamma), finished(dbeta)};
        },
        [&](const std::vector<Tensor>& r) {
          CHECK(mismatches(r[0], to_the_largest(p.mean, p.mean, 1e-6)) == 0);
          CHECK(mismatches(r[1], to_the_largest(p.var, p.var, 2e-6)) == 0);
          CHECK(mismatches(r[2], {p.y, p.y_scale, 2e-6}) == 0);
          CHECK(mismatches(r[3], to_the_largest(p.dx, p.dx_terms, 1e-5)) == 0);
          CHECK(mismatches(r[4], {p.dgamma, p.dgamma_scale, error_factor(count) + 2e-6}) == 0);
          CHECK(mismatches(r[5], {p.dbeta, p.dbeta_scale, error_factor(count) + 2e-6}) == 0);
        });
  });
}
