// Denormals, infinities and NaN: what the reference makes of them the fast kernels make, too.
#include <doctest/doctest.h>

#include <limits>

#include "slimneck/kernels.hpp"
#include "table.hpp"

using namespace slimneck;
using namespace slimneck::table;
namespace fast = kernels::fast;

namespace {

constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN(),
                infinity = std::numeric_limits<float>::infinity();
constexpr float tiny = std::numeric_limits<float>::denorm_min();

enum class Kind { zero, finite, positive, negative, nan };

Kind kind_of(double x) {
  if (std::isnan(x)) return Kind::nan;
  if (std::isinf(x)) return x > 0 ? Kind::positive : Kind::negative;
  return x == 0 ? Kind::zero : Kind::finite;
}

/// Elements whose kind differs (zero and finite count as one).
index_t different_kinds(const Tensor& got, const Tensor& want) {
  index_t different = 0;
  for (index_t i = 0; i < got.numel(); ++i) {
    const auto kind = [](double x) { return kind_of(x) == Kind::zero ? Kind::finite : kind_of(x); };
    if (kind(static_cast<double>(got.data<float>()[i])) != kind(want.data<double>()[i])) ++different;
  }
  return different;
}

template <class F>
void for_each_machine(const F& f) {
  for (const Isa isa : kernels::available_isas()) {
    Exec exec;
    exec.isa = isa;
    exec.threads = 2;
    INFO(std::string(kernels::name_of(isa)));
    f(exec);
  }
}

constexpr ConvRow rows[] = {
    {{1, 17, 9, 20}, 18, 3, 3, {1, 1, 1}},
    {{1, 17, 9, 20}, 18, 3, 3, {2, 1, 1}},
    {{1, 17, 9, 20}, 18, 1, 1, {}},
    {{1, 3, 12, 20}, 18, 6, 6, {2, 2, 2}},
    {{1, 17, 9, 20}, 18, 5, 5, {1, 2, 2}},
    {{1, 18, 9, 20}, 18, 5, 5, {1, 2, 2, 1, 18}},
    {{1, 18, 9, 20}, 18, 3, 3, {2, 1, 1, 1, 18}},
    {{1, 18, 9, 20}, 18, 3, 3, {1, 1, 1, 1, 18}},
};

}  // namespace

TEST_CASE("one NaN or infinity reaches exactly the outputs that it reaches in the reference") {
  for (const ConvRow& row : rows) {
    INFO(to_text(row));
    for (const float value : {not_a_number, infinity, -infinity}) {
      ConvProblem p(row, Fill::positives);
      // One bad number in each operand, one operand at a time; weights are positive, so that infinities do not meet.
      for (const int operand : {0, 1, 2}) {
        Tensor x = p.x, w = p.w, dy = p.dy;
        Tensor& bad = operand == 0 ? x : operand == 1 ? w : dy;
        bad.data<float>()[bad.numel() / 2] = value;
        CAPTURE(operand);
        CAPTURE(value);
        Tensor y(row.y(), DType::f64), dx(row.x, DType::f64), dw(row.w(), DType::f64);
        const Tensor x64 = x.to(DType::f64), w64 = w.to(DType::f64), dy64 = dy.to(DType::f64);
        kernels::conv2d_fwd<double>(x64.view<double>(), w64.view<double>(), {}, y.view<double>(), row.g);
        kernels::conv2d_bwd_x<double>(dy64.view<double>(), w64.view<double>(), dx.view<double>(), row.g);
        kernels::conv2d_bwd_w<double>(x64.view<double>(), dy64.view<double>(), dw.view<double>(), row.g);
        p.x = x;
        p.w = w;
        p.dy = dy;
        for_each_machine([&](const Exec& exec) {
          for (const Direction d : {Direction::forward, Direction::backward_x, Direction::backward_w})
            for (const Outcome& o : run_variants(*kernels::kernels_of(exec.isa), p, d, 2, {})) {
              if (o.algorithm != Algorithm::direct) continue;  // a tile of Winograd spreads what is not finite
              INFO(o.variant);
              CAPTURE(static_cast<int>(d));
              CHECK(different_kinds(o.result, d == Direction::forward ? y : d == Direction::backward_x ? dx : dw) == 0);
            }
        });
      }
    }
  }
}

TEST_CASE("Winograd passes NaN on: whatever is NaN in the reference is NaN") {
  const ConvProblem clean({{1, 64, 12, 31}, 64, 3, 3, {1, 1, 1}}, Fill::reals);
  ConvProblem p = clean;
  p.x.data<float>()[p.x.numel() / 2] = not_a_number;
  Tensor y(p.row.y(), DType::f64);
  kernels::conv2d_fwd<double>(p.x.to(DType::f64).view<double>(), p.w.to(DType::f64).view<double>(), {},
                              y.view<double>(), p.row.g);
  for_each_machine([&](const Exec& exec) {
    for (const Outcome& o : run_variants(*kernels::kernels_of(exec.isa), p, Direction::forward, 2, {})) {
      INFO(o.variant);
      index_t lost = 0;
      for (index_t i = 0; i < y.numel(); ++i)
        lost += std::isnan(y.data<double>()[i]) && !std::isnan(o.result.data<float>()[i]);
      CHECK(lost == 0);
    }
  });
}

TEST_CASE("denormals are numbers like others") {
  const ConvRow row{{1, 16, 5, 20}, 16, 3, 3, {1, 1, 1}};
  ConvProblem p(row, Fill::positives);
  for (index_t i = 0; i < p.x.numel(); ++i) p.x.data<float>()[i] = static_cast<float>(1 + i % 5) * tiny;
  for (index_t i = 0; i < p.w.numel(); ++i) p.w.data<float>()[i] = 1;
  Tensor y(row.y(), DType::f64);
  kernels::conv2d_fwd<double>(p.x.to(DType::f64).view<double>(), p.w.to(DType::f64).view<double>(), {},
                              y.view<double>(), row.g);
  for_each_machine([&](const Exec& exec) {
    for (const Outcome& o : run_variants(*kernels::kernels_of(exec.isa), p, Direction::forward, 2, {}))
      if (o.algorithm == Algorithm::direct) {
        INFO(o.variant);
        CHECK(mismatches(o.result, {y, {}, 0}) == 0);
      }
    const Map x(p.x, 1, {}), sum(row.x, 1, {});
    const Edge workspace(fast::pointwise_workspace(exec, row.x), {});
    fast::add(exec, x.read(), x.read(), sum.view(), workspace.span());
    CHECK(sum.view().data[0] == 2 * tiny);
  });
}

TEST_CASE("activations, pooling, norms, sums and shuffles keep NaN; maxima of infinities are infinities") {
  const Shape s{1, 17, 6, 9};
  Tensor x = random_tensor(s, Fill::reals, 1);
  const View<float> v = x.view<float>();
  v.at(0, 3, 2, 4) = not_a_number;
  v.at(0, 5, 0, 0) = infinity;
  v.at(0, 16, 5, 8) = -infinity;
  for (index_t h = 0; h < s.h; ++h)
    for (index_t w = 0; w < s.w; ++w) v.at(0, 7, h, w) = -infinity;
  const Tensor x64 = x.to(DType::f64);
  for_each_machine([&](const Exec& exec) {
    const Map mx(x, 1, {}), y(s, 1, {}), vector({1, s.c, 1, 1}, 1, {}), other({1, s.c, 1, 1}, 1, {});
    const Edge workspace(std::max({fast::pointwise_workspace(exec, s), fast::bn_workspace(exec, s),
                                   fast::channel_sum_workspace(exec, s), fast::max_pool_workspace(exec, s, {5, 1, 2})}),
                         {});
    for (const kernels::Act kind :
         {kernels::Act::none, kernels::Act::silu, kernels::Act::mish, kernels::Act::relu, kernels::Act::leaky_relu,
          kernels::Act::hardswish, kernels::Act::sigmoid, kernels::Act::gelu}) {
      CAPTURE(static_cast<int>(kind));
      fast::act_fwd(exec, mx.read(), y.view(), {kind, 0.125}, workspace.span());
      CHECK(std::isnan(y.view().at(0, 3, 2, 4)));
      CHECK_FALSE(std::isnan(y.view().at(0, 3, 2, 3)));
      CHECK_FALSE(std::isnan(y.view().at(0, 3, 2, 5)));
    }
    for (const kernels::Pool pool : {kernels::Pool{5, 1, 2}, kernels::Pool{3, 1, 1}}) {
      Tensor want(s, DType::f64);
      kernels::max_pool_fwd<double>(x64.view<double>(), want.view<double>(), pool);
      fast::max_pool_fwd(exec, mx.read(), y.view(), pool, workspace.span());
      CHECK(different_kinds(y.values(), want) == 0);
    }
    fast::channel_sum(exec, mx.read(), vector.view(), workspace.span());
    for (index_t c = 0; c < s.c; ++c) {
      CHECK(std::isnan(vector.view().at(0, c, 0, 0)) == (c == 3));
      CHECK(std::isinf(vector.view().at(0, c, 0, 0)) == (c == 5 || c == 7 || c == 16));
    }
    fast::bn_stats(exec, mx.read(), vector.view(), other.view(), workspace.span());
    for (index_t c = 0; c < s.c; ++c)
      CHECK(std::isfinite(other.view().at(0, c, 0, 0)) == (c != 3 && c != 5 && c != 7 && c != 16));
  });
}
