// CUDA kernels for maps without weights, over the table of shapes of the kernels for the CPU and with their bounds.
#include <array>

#include "bench.hpp"
#include "kernels/cuda/kernels.hpp"
#include "kernels/table_maps.hpp"

using namespace slimneck;
using namespace slimneck::table;
using cuda_cases::Bench;
using cuda_cases::DeviceArray;
using cuda_cases::DeviceMap;
using cuda_cases::name_of;
using cuda_cases::run_case;
using kernels::Act;
using kernels::Activation;
using kernels::Write;
namespace cuda = kernels::cuda;

namespace {

Want exactly(const Tensor& value) { return {value.to(DType::f64), {}, 0}; }

Tensor sum_of(const Tensor& a, const Tensor& b) {
  Tensor sum(a.shape());
  kernels::add<float>(a.view<float>(), b.view<float>(), sum.view<float>());
  return sum;
}

std::vector<int> as_ints(const std::vector<index_t>& list) { return {list.begin(), list.end()}; }

}  // namespace

TEST_CASE("addition and copies are exact, into new memory, onto what is there and in place") {
  for_each_map_shape([](std::size_t i, const Shape& s) {
    Bench bench;
    const Placement& at = map_placements[i % 5];
    const Tensor a = random_tensor(s, Fill::reals, 1), b = random_tensor(s, Fill::reals, 2), sum = sum_of(a, b);
    const DeviceMap da(bench, a, at), db(bench, b, at), y(bench, s, at), z(bench, a, at), same(bench, s, {});
    run_case(name_of("add", "fwd", s), [&] {
      cuda::add(bench.stream, da.read(), db.read(), y.view());
      cuda::add(bench.stream, da.read(), db.read(), z.view(), Write::add);
      cuda::copy(bench.stream, y.read(), same.view());
      CHECK(same_bits(y.finished(), sum));
      CHECK(same_bits(z.finished(), sum_of(a, sum)));
      CHECK(same_bits(same.finished(), sum));
      cuda::add(bench.stream, da.read(), db.read(), da.view());
      CHECK(same_bits(da.finished(), sum));
    });
  });
}

TEST_CASE("activations and their gradients") {
  constexpr Act kinds[] = {Act::none,       Act::silu,      Act::mish,    Act::relu,
                           Act::leaky_relu, Act::hardswish, Act::sigmoid, Act::gelu};
  for_each_map_shape([&](std::size_t i, const Shape& s) {
    const Activation act{kinds[i % std::size(kinds)], 0.125}, other{kinds[(i + 4) % std::size(kinds)], 0.125};
    for (const Activation& a : {act, other}) {
      Tensor x = random_tensor(s, Fill::reals, 3);
      for (index_t e = 0; e < x.numel(); ++e) x.data<float>()[e] *= 5;
      const Tensor dy = random_tensor(s, Fill::reals, 4), x64 = x.to(DType::f64), dy64 = dy.to(DType::f64);
      Tensor y(s, DType::f64), dx(s, DType::f64);
      kernels::act_fwd<double>(x64.view<double>(), y.view<double>(), a);
      kernels::act_bwd<double>(x64.view<double>(), dy64.view<double>(), dx.view<double>(), a);
      const bool exact = a.kind == Act::none || a.kind == Act::relu || a.kind == Act::leaky_relu;
      Bench bench;
      const Placement& at = map_placements[i % 5];
      const DeviceMap mx(bench, x, at), mdy(bench, dy, at), to(bench, s, at), gradient(bench, s, at);
      const std::string kind = "activation " + std::to_string(static_cast<int>(a.kind));
      run_case(name_of("act", "fwd", s).with(kind), [&] {
        cuda::act_fwd(bench.stream, mx.read(), to.view(), a);
        CHECK(mismatches(to.finished(), relatively(y, exact ? 0x1p-24 : 0x1p-20)) == 0);
      });
      run_case(name_of("act", "bwd_x", s).with(kind), [&] {
        cuda::act_bwd(bench.stream, mx.read(), mdy.read(), gradient.view(), a);
        CHECK(mismatches(gradient.finished(), {dx, absolute(dy), exact ? 0x1p-24 : 1e-6}) == 0);
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
    Tensor y(s), part(sliced);
    kernels::gather_channels<float>(x.view<float>(), y.view<float>(), shuffle);
    kernels::gather_channels<float>(x.view<float>(), part.view<float>(), slice);
    Bench bench;
    const Placement& at = map_placements[i % 5];
    const DeviceArray<int> there(bench, as_ints(shuffle)), back(bench, as_ints(inverse)), some(bench, as_ints(slice));
    const DeviceMap mx(bench, x, at), to(bench, s, at), again(bench, s, at), cut(bench, sliced, at), sum(bench, x, at);
    run_case(name_of("shuffle", "fwd", s), [&] {
      cuda::gather_channels(bench.stream, mx.read(), to.view(), there.data());
      cuda::gather_channels(bench.stream, to.read(), again.view(), back.data());
      cuda::gather_channels(bench.stream, mx.read(), cut.view(), some.data());
      cuda::gather_channels(bench.stream, mx.read(), sum.view(), there.data(), Write::add);
      CHECK(same_bits(to.finished(), y));
      CHECK(same_bits(again.finished(), x));
      CHECK(same_bits(cut.finished(), part));
      CHECK(same_bits(sum.finished(), sum_of(x, y)));
    });
  });
}

TEST_CASE("sums over a channel: exact on whole numbers, within the bound on others") {
  for_each_map_shape([](std::size_t i, const Shape& s) {
    for (const Fill fill : {Fill::integers, Fill::positives}) {
      const Tensor x = random_tensor(s, fill, 6);
      Tensor sum(vector_of(s), DType::f64);
      kernels::channel_sum<double>(x.to(DType::f64).view<double>(), sum.view<double>());
      Bench bench;
      const Placement& at = map_placements[i % 5];
      const DeviceMap mx(bench, x, at), y(bench, vector_of(s), at);
      const DeviceArray<float> workspace(bench, cuda::norm_workspace(s));
      const Want want = fill == Fill::integers ? exactly(sum) : relatively(sum, error_factor(s.n * s.h * s.w));
      run_case(name_of("sum", "fwd", s).with(fill == Fill::integers ? "integers" : "reals"), [&] {
        cuda::channel_sum(bench.stream, mx.read(), y.view(), workspace.data());
        CHECK(mismatches(y.finished(), want) == 0);
      });
    }
  });
}

TEST_CASE("max pooling and its gradient are exact, ties and all") {
  constexpr kernels::Pool pools[] = {{2, 2, 0}, {5, 1, 2}, {3, 2, 1}, {1, 1, 0}, {3, 3, 0}, {13, 1, 6}, {17, 1, 8}};
  for_each_map_shape([&](std::size_t i, const Shape& s) {
    const kernels::Pool& pool = pools[i % std::size(pools)];
    if (s.h + 2 * pool.pad < pool.kernel || s.w + 2 * pool.pad < pool.kernel) return;
    const std::string window = "window " + std::to_string(pool.kernel);
    const Shape pooled{s.n, s.c, (s.h + 2 * pool.pad - pool.kernel) / pool.stride + 1,
                       (s.w + 2 * pool.pad - pool.kernel) / pool.stride + 1};
    const Tensor x = random_tensor(s, Fill::integers, 11), dy = random_tensor(pooled, Fill::integers, 12);
    Tensor y(pooled), dx(s);
    kernels::max_pool_fwd<float>(x.view<float>(), y.view<float>(), pool);
    kernels::max_pool_bwd<float>(x.view<float>(), dy.view<float>(), dx.view<float>(), pool);
    Bench bench;
    const Placement& at = map_placements[i % 5];
    const DeviceMap mx(bench, x, at), mdy(bench, dy, at), to(bench, pooled, at), alone(bench, pooled, at),
        gradient(bench, s, at);
    const DeviceArray<int> where(bench, pooled.numel());
    run_case(name_of("pool", "fwd", s).with(window), [&] {
      cuda::max_pool_fwd(bench.stream, mx.read(), alone.view(), nullptr, pool);
      CHECK(mismatches(alone.finished(), exactly(y)) == 0);
    });
    run_case(name_of("pool", "bwd_x", s).with(window), [&] {
      cuda::max_pool_fwd(bench.stream, mx.read(), to.view(), where.data(), pool);
      cuda::max_pool_bwd(bench.stream, where.data(), mdy.read(), gradient.view(), pool);
      CHECK(mismatches(to.finished(), exactly(y)) == 0);
      CHECK(mismatches(gradient.finished(), exactly(dx)) == 0);
    });
  });
}

TEST_CASE("a window's first NaN is its maximum and takes the gradient; windows in the padding see -infinity") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  const auto run = [](const Tensor& x, const Shape& pooled, const kernels::Pool& pool) {
    Bench bench;
    Tensor ones(pooled);
    for (index_t i = 0; i < ones.numel(); ++i) ones.data<float>()[i] = 1;
    const DeviceMap mx(bench, x, {}), y(bench, pooled, {}), dy(bench, ones, {}), dx(bench, x.shape(), {});
    const DeviceArray<int> where(bench, pooled.numel());
    cuda::max_pool_fwd(bench.stream, mx.read(), y.view(), where.data(), pool);
    cuda::max_pool_bwd(bench.stream, where.data(), dy.read(), dx.view(), pool);
    return std::pair(y.finished(), dx.finished());
  };
  run_case({"pool", "bwd_x", "NaN", 4}, [&] {
    Tensor x({1, 1, 2, 2});
    x.data<float>()[1] = x.data<float>()[2] = std::nanf("");
    x.data<float>()[3] = infinity;
    const auto [y, dx] = run(x, {1, 1, 1, 1}, {2, 2, 0});
    CHECK(std::isnan(y.data<float>()[0]));
    for (index_t i = 0; i < 4; ++i) CHECK(dx.data<float>()[i] == (i == 1 ? 1.F : 0.F));
  });
  run_case({"pool", "bwd_x", "-infinity", 2}, [&] {
    Tensor low({1, 1, 1, 2});
    low.data<float>()[0] = low.data<float>()[1] = -infinity;
    const auto [most, gradient] = run(low, {1, 1, 3, 4}, {1, 1, 1});
    for (index_t i = 0; i < 12; ++i) CHECK(most.data<float>()[i] == -infinity);
    for (index_t i = 0; i < 2; ++i) CHECK(gradient.data<float>()[i] == 1);
  });
}

TEST_CASE("upsampling and its gradient are exact on whole numbers") {
  for_each_map_shape([&](std::size_t i, const Shape& s) {
    const index_t factor = 1 + static_cast<index_t>(i % 3);
    const Shape large{s.n, s.c, s.h * factor, s.w * factor};
    const Tensor x = random_tensor(s, Fill::integers, 13), dy = random_tensor(large, Fill::integers, 14);
    Tensor y(large), dx(s);
    kernels::upsample_nearest_fwd<float>(x.view<float>(), y.view<float>(), factor);
    kernels::upsample_nearest_bwd<float>(dy.view<float>(), dx.view<float>(), factor);
    Bench bench;
    const Placement& at = map_placements[i % 5];
    const DeviceMap mx(bench, x, at), mdy(bench, dy, at), to(bench, large, at), gradient(bench, x, at);
    const std::string times = "factor " + std::to_string(factor);
    run_case(name_of("upsample", "fwd", s).with(times), [&] {
      cuda::upsample_nearest_fwd(bench.stream, mx.read(), to.view(), factor);
      CHECK(mismatches(to.finished(), exactly(y)) == 0);
    });
    run_case(name_of("upsample", "bwd_x", s).with(times), [&] {
      cuda::upsample_nearest_bwd(bench.stream, mdy.read(), gradient.view(), factor, Write::add);
      CHECK(mismatches(gradient.finished(), exactly(sum_of(x, dx))) == 0);
    });
  });
}

TEST_CASE("batch norm: statistics, application with activation, gradient") {
  for_each_map_shape([](std::size_t i, const Shape& s) {
    const Act kind = std::array{Act::none, Act::silu, Act::relu, Act::leaky_relu}[i % 4];
    const NormProblem p(s, kind, i % 3 != 2);
    const index_t count = s.n * s.h * s.w;
    Bench bench;
    const Placement& at = map_placements[i % 5];
    const Shape vector = vector_of(s);
    const DeviceMap x(bench, p.x, at), dy(bench, p.dy, at), gamma(bench, p.gamma, at), beta(bench, p.beta, at),
        mean(bench, p.mean.to(DType::f32), at), var(bench, p.var.to(DType::f32), at), mean_out(bench, vector, at),
        var_out(bench, vector, at), y(bench, s, at), dx(bench, s, at), dgamma(bench, vector, at),
        dbeta(bench, vector, at);
    const DeviceArray<float> workspace(bench, cuda::norm_workspace(s));
    const kernels::fast::Norm norm{gamma.read(), beta.read(), mean.read(), var.read()};
    run_case(name_of("norm", "fwd", s), [&] {
      cuda::bn_stats(bench.stream, x.read(), mean_out.view(), var_out.view(), workspace.data());
      cuda::bn_apply(bench.stream, x.read(), norm, y.view(), NormProblem::eps, p.act);
      CHECK(mismatches(mean_out.finished(), to_the_largest(p.mean, p.mean, 1e-6)) == 0);
      CHECK(mismatches(var_out.finished(), to_the_largest(p.var, p.var, 2e-6)) == 0);
      CHECK(mismatches(y.finished(), {p.y, p.y_scale, 2e-6}) == 0);
    });
    run_case(name_of("norm", "bwd_x", s), [&] {
      cuda::bn_bwd(bench.stream, dy.read(), x.read(), norm, dx.view(), dgamma.view(), dbeta.view(), NormProblem::eps,
                   p.act, p.batch_stats, workspace.data());
      const Tensor gradient = dx.finished();
      CHECK(mismatches(gradient, to_the_largest(p.dx, p.dx_terms, 1e-5)) == 0);
      CHECK(mismatches(dgamma.finished(), {p.dgamma, p.dgamma_scale, error_factor(count) + 2e-6}) == 0);
      CHECK(mismatches(dbeta.finished(), {p.dbeta, p.dbeta_scale, error_factor(count) + 2e-6}) == 0);
      // In place, and without the gradients of the vectors.
      cuda::bn_bwd(bench.stream, dy.read(), x.read(), norm, dy.view(), {}, {}, NormProblem::eps, p.act, p.batch_stats,
                   workspace.data());
      CHECK(same_bits(dy.finished(), gradient));
    });
  });
}

TEST_CASE("batch norm: planes of several pieces, and a mean of a thousand standard deviations") {
  const Shape s{2, 2, 71, 73};  // 5183 pixels: more than a piece
  Tensor x = random_tensor(s, Fill::reals, 15);
  for (index_t e = 0; e < x.numel(); ++e) x.data<float>()[e] += 1000;
  Tensor mean(vector_of(s), DType::f64), var(vector_of(s), DType::f64), sum(vector_of(s), DType::f64);
  const Tensor x64 = x.to(DType::f64);
  kernels::bn_stats<double>(x64.view<double>(), mean.view<double>(), var.view<double>());
  kernels::channel_sum<double>(x64.view<double>(), sum.view<double>());
  Bench bench;
  const DeviceMap mx(bench, x, {}), m(bench, vector_of(s), {}), v(bench, vector_of(s), {}),
      total(bench, vector_of(s), {});
  const DeviceArray<float> workspace(bench, cuda::norm_workspace(s));
  run_case(name_of("norm", "fwd", s).with("a large mean"), [&] {
    cuda::bn_stats(bench.stream, mx.read(), m.view(), v.view(), workspace.data());
    cuda::channel_sum(bench.stream, mx.read(), total.view(), workspace.data());
    CHECK(mismatches(m.finished(), relatively(mean, 1e-6)) == 0);
    CHECK(mismatches(v.finished(), relatively(var, 2e-6)) == 0);
    CHECK(mismatches(total.finished(), relatively(sum, error_factor(s.n * s.h * s.w))) == 0);
  });
}

TEST_CASE("running statistics") {
  for (const index_t count : {1, 2, 300}) {
    const Shape s{1, 37, 1, 1}, one{1, 1, 1, 1};
    const Tensor mean = random_tensor(s, Fill::reals, 16), var = random_tensor(s, Fill::positives, 17);
    const Tensor mean_in = random_tensor(s, Fill::reals, 18), var_in = random_tensor(s, Fill::positives, 19);
    const Tensor tracked = random_tensor(one, Fill::integers, 20);
    Tensor want_mean(s, DType::f64), want_var(s, DType::f64), want_tracked(one, DType::f64);
    const auto doubles = [](const Tensor& t) { return t.to(DType::f64); };
    const Tensor m = doubles(mean), v = doubles(var), mi = doubles(mean_in), vi = doubles(var_in), t = doubles(tracked);
    kernels::bn_running<double>(m.view<double>(), v.view<double>(), count, 0.03, mi.view<double>(), vi.view<double>(),
                                t.view<double>(), want_mean.view<double>(), want_var.view<double>(),
                                want_tracked.view<double>());
    Bench bench;
    const DeviceMap dm(bench, mean, {}), dv(bench, var, {}), rm(bench, mean_in, {}), rv(bench, var_in, {}),
        rt(bench, tracked, {});
    const auto run = [&] {
      cuda::bn_running(bench.stream, dm.read(), dv.read(), count, 0.03, rm.read(), rv.read(), rt.read(), rm.view(),
                       rv.view(), rt.view());
    };
    // Momentum, its rest, the unbiased factor, products and a sum: five roundings of terms below 2.
    Tensor twos(s, DType::f64);
    for (index_t i = 0; i < s.c; ++i) twos.data<double>()[i] = 2;
    run_case(name_of("norm", "fwd", s).with("running statistics of " + std::to_string(count)), [&] {
      run();
      CHECK(mismatches(rm.finished(), {want_mean, twos, 5 * 0x1p-24}) == 0);
      CHECK(mismatches(rv.finished(), {want_var, twos, 5 * 0x1p-24}) == 0);
      CHECK(mismatches(rt.finished(), exactly(want_tracked)) == 0);
    });
  }
}

TEST_CASE("decoding and its gradient are those of the reference") {
  const std::vector<float> anchors{1.25F, 1.625F, 2, 3.75F, 4.125F, 2.875F};
  for (const index_t no : {6, 85})
    for (const Shape& cells : {Shape{1, 1, 1, 1}, Shape{2, 1, 5, 7}, Shape{0, 1, 4, 4}}) {
      const index_t na = 3, first = 5, rows = first + na * cells.h * cells.w + 2;
      const Shape shape{cells.n, na * no, cells.h, cells.w}, table{cells.n, 1, rows, no};
      const Tensor x = random_tensor(shape, Fill::reals, 21), dy = random_tensor(table, Fill::reals, 22);
      const std::vector<double> wide(anchors.begin(), anchors.end());
      Tensor y = random_tensor(table, Fill::integers, 23).to(DType::f64), dx(shape, DType::f64);
      Tensor scale(table, DType::f64), slopes(shape, DType::f64);
      const Tensor before = y.to(DType::f32), x64 = x.to(DType::f64), dy64 = dy.to(DType::f64);
      kernels::detect_decode_fwd<double>(x64.view<double>(), wide.data(), na, 16, first, y.view<double>());
      kernels::detect_decode_bwd<double>(x64.view<double>(), wide.data(), na, 16, first, dy64.view<double>(),
                                         dx.view<double>());
      // Positions are sums of at most the grid's extent; the rest has a relative error.
      for (index_t i = 0; i < y.numel(); ++i)
        scale.data<double>()[i] = std::fabs(y.data<double>()[i]) + (i % no < 2 ? 16 : 0);
      Bench bench;
      const DeviceArray<float> device_anchors(bench, anchors);
      const DeviceMap mx(bench, x, {0, false, 1}), mdy(bench, dy, {}), to(bench, before, {0, false, 2}),
          gradient(bench, shape, {0, false, 1});
      run_case(name_of("detect", "fwd", shape), [&] {
        cuda::detect_decode_fwd(bench.stream, mx.read(), device_anchors.data(), na, 16, first, to.view());
        CHECK(mismatches(to.finished(), {y, scale, 8e-7}) == 0);
      });
      run_case(name_of("detect", "bwd_x", shape), [&] {
        cuda::detect_decode_bwd(bench.stream, mx.read(), device_anchors.data(), na, 16, first, mdy.read(),
                                gradient.view());
        CHECK(mismatches(gradient.finished(), relatively(dx, 0x1p-20)) == 0);
      });
    }
}
