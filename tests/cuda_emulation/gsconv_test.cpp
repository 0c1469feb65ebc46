// GSConv and DSC for CUDA over the table of the kernels for the CPU: exact on whole numbers in inference, and in
// training within the bounds of the CPU's kernels, outputs, statistics and every gradient.
#include "bench.hpp"
#include "kernels/cuda/kernels.hpp"
#include "kernels/table_pair.hpp"

using namespace slimneck;
using namespace slimneck::table;
using cuda_cases::Bench;
using cuda_cases::DeviceArray;
using cuda_cases::DeviceMap;
using cuda_cases::place_of;
using cuda_cases::run_case;
using kernels::Write;
namespace cuda = kernels::cuda;

namespace {

cuda_cases::Name name_of(const char* pass, const PairProblem& p, const char* numbers) {
  const Shape& s = p.z1.shape();
  return {p.gs() ? "gsconv" : "dsc", pass, to_text(p.row) + ", " + numbers,
          s.n * s.h * s.w * (p.w1.numel() + p.w2.numel())};
}

struct Placed {
  const PairProblem& p;
  DeviceMap x, w1, w2, gamma1, beta1, mean1, var1, gamma2, beta2, mean2, var2;
  DeviceArray<float> workspace;

  Placed(Bench& bench, const PairProblem& problem, const Placement& at)
      : p(problem),
        x(bench, p.x, at),
        w1(bench, p.w1, at),
        w2(bench, p.w2, at),
        gamma1(bench, p.gamma1, at),
        beta1(bench, p.beta1, at),
        mean1(bench, p.mean1, at),
        var1(bench, p.var1, at),
        gamma2(bench, p.gamma2, at),
        beta2(bench, p.beta2, at),
        mean2(bench, p.mean2, at),
        var2(bench, p.var2, at),
        workspace(bench, (p.gs() ? cuda::gsconv_workspace : cuda::dsc_workspace)(p.x.shape(), p.w1.shape(),
                                                                                 p.w2.shape(), p.settings.geometry)) {}
  [[nodiscard]] fast::PairWeights weights() const {
    return {w1.read(),
            {gamma1.read(), beta1.read(), mean1.read(), var1.read()},
            w2.read(),
            {gamma2.read(), beta2.read(), mean2.read(), var2.read()}};
  }
};

Tensor run_inference(const PairProblem& p, const Placement& at) {
  Bench bench;
  const Placed in(bench, p, at);
  const DeviceMap y(bench, p.dy.shape(), at);
  if (p.gs())
    cuda::gsconv(bench.stream, in.x.read(), in.weights(), y.view(), p.settings, in.workspace.data());
  else
    cuda::dsc(bench.stream, in.x.read(), in.weights(), y.view(), p.settings, in.workspace.data());
  return y.finished();
}

/// y, z1, mean1, var1, z2, mean2, var2, dx, dw1, dgamma1, dbeta1, dw2, dgamma2, dbeta2.
std::vector<Tensor> run_training(const PairProblem& p, const Placement& at, Write write) {
  Bench bench;
  const Placed in(bench, p, at);
  const Shape v1 = p.gamma1.shape(), v2 = p.gamma2.shape();
  // Gradients are added to zeros.
  const auto zeros = [&](const Shape& s) { return DeviceMap(bench, Tensor(s), at); };
  const DeviceMap y(bench, p.dy.shape(), at), z1(bench, p.z1.shape(), at), m1(bench, v1, at), s1(bench, v1, at),
      z2(bench, p.z2.shape(), at), m2(bench, v2, at), s2(bench, v2, at), dy(bench, p.dy, at),
      dx = zeros(p.x.shape()), dw1 = zeros(p.w1.shape()), dg1 = zeros(v1), db1 = zeros(v1), dw2 = zeros(p.w2.shape()),
      dg2 = zeros(v2), db2 = zeros(v2);
  const auto train = p.gs() ? cuda::gsconv_train : cuda::dsc_train;
  const auto backward = p.gs() ? cuda::gsconv_bwd : cuda::dsc_bwd;
  train(bench.stream, in.x.read(), in.weights(), y.view(),
        {z1.view(), m1.view(), s1.view(), z2.view(), m2.view(), s2.view()}, p.settings, in.workspace.data());
  backward(bench.stream, dy.read(), in.x.read(), in.weights(),
           {z1.read(), m1.read(), s1.read(), z2.read(), m2.read(), s2.read()},
           {dx.view(), dw1.view(), dg1.view(), db1.view(), dw2.view(), dg2.view(), db2.view()}, p.settings,
           in.workspace.data(), write);
  std::vector<Tensor> results;
  for (const DeviceMap* map : {&y, &z1, &m1, &s1, &z2, &m2, &s2, &dx, &dw1, &dg1, &db1, &dw2, &dg2, &db2})
    results.push_back(map->finished());
  return results;
}

/// A gradient of a half that is not there is a gradient of zeros.
void check_absent_halves(const PairProblem& p) {
  const index_t m = p.row.half;
  for (const int given : {1, 2, 0})
    run_case(name_of("train", p, "halves").with(std::to_string(given)), [&] {
      Bench bench;
      const Placed in(bench, p, {});
      Tensor some = p.dy;
      for (index_t half = 0; half < 2; ++half)
        if ((given >> half & 1) == 0) kernels::fill_zero<float>(some.view<float>().channels(half, m, 2));
      const DeviceMap dy(bench, some, {}), z1(bench, p.z1.to(DType::f32), {}), m1(bench, p.m1.to(DType::f32), {}),
          v1(bench, p.v1.to(DType::f32), {}), z2(bench, p.z2.to(DType::f32), {}), m2(bench, p.m2.to(DType::f32), {}),
          v2(bench, p.v2.to(DType::f32), {});
      const auto run = [&](bool leave_out) {
        const DeviceMap dz1(bench, p.z1.shape(), {}), dw2(bench, p.w2.shape(), {}), dg1(bench, p.gamma1.shape(), {}),
            db1(bench, p.gamma1.shape(), {}), dg2(bench, p.gamma1.shape(), {}), db2(bench, p.gamma1.shape(), {});
        const View<const float> a = dy.read().channels(0, m, 2), b = dy.read().channels(1, m, 2), none;
        cuda::gs_pair_bwd(
            bench.stream, leave_out && (given & 1) == 0 ? none : a, leave_out && (given & 2) == 0 ? none : b,
            in.weights(), {z1.read(), m1.read(), v1.read(), z2.read(), m2.read(), v2.read()}, dz1.view(),
            {{}, {}, dg1.view(), db1.view(), dw2.view(), dg2.view(), db2.view()}, p.settings, in.workspace.data());
        std::vector<Tensor> results;
        for (const DeviceMap* map : {&dz1, &dg1, &db1, &dw2, &dg2, &db2}) results.push_back(map->finished());
        return results;
      };
      const std::vector<Tensor> with_zeros = run(false), without = run(true);
      for (std::size_t k = 0; k < without.size(); ++k)
        CHECK(worst(without[k], with_zeros[k].to(DType::f64), with_zeros[k].to(DType::f64)) <= 2e-5);
    });
}

}  // namespace

TEST_CASE("GSConv and DSC in inference are exact on whole numbers with scales that are powers of two") {
  std::size_t i = 0;
  for (PairRow row : pair_rows) {
    if (row.act != Act::none) row.act = i % 2 == 0 ? Act::relu : Act::none;
    const PairProblem p(row, true);
    run_case(name_of("fwd", p, "integers"), [&] {
      CHECK(mismatches(run_inference(p, place_of(i)), {p.y, {}, 0}) == 0);
    });
    ++i;
  }
}

TEST_CASE("GSConv and DSC in inference on real numbers") {
  std::size_t i = 0;
  for (const PairRow& row : pair_rows) {
    const PairProblem p(row, false);
    run_case(name_of("fwd", p, "reals"), [&] { CHECK(worst(run_inference(p, place_of(i)), p.y, p.y) <= 1e-5); });
    ++i;
  }
}

TEST_CASE("GSConv and DSC in training: outputs, statistics and all gradients") {
  std::size_t i = 0;
  for (const PairRow& row : pair_rows) {
    const PairProblem p(row, false);
    const Tensor* wants[] = {&p.train_y, &p.z1,  &p.m1,      &p.v1,     &p.z2,  &p.m2,      &p.v2,
                             &p.dx,      &p.dw1, &p.dgamma1, &p.dbeta1, &p.dw2, &p.dgamma2, &p.dbeta2};
    run_case(name_of("train", p, "reals"), [&] {
      const std::vector<Tensor> r = run_training(p, place_of(i), i % 2 == 0 ? Write::set : Write::add);
      for (std::size_t k = 0; k < r.size(); ++k) {
        CAPTURE(k);
        const Tensor& terms = k == 9 || k == 10 ? p.terms1 : k >= 12 ? p.terms2 : *wants[k];
        CHECK(worst(r[k], *wants[k], terms) <= (k < 7 ? 1e-5 : 2e-5));
      }
    });
    ++i;
  }
}

TEST_CASE("gradients of GSConv where that of a half is absent") {
  check_absent_halves(PairProblem({PairKind::gsconv, {2, 3, 6, 7}, 5, 3, 1, Act::silu, Halves::interleave}, false));
  check_absent_halves(PairProblem({PairKind::gsconv, {1, 3, 5, 4}, 3, 1, 1, Act::silu, Halves::interleave, 7}, false));
}
