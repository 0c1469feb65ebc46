// GSConv and DSC through the functions for plain views, against their composition of reference kernels in double.
#include "table_pair.hpp"

#include <doctest/doctest.h>

using namespace slimneck;
using namespace slimneck::table;
using kernels::Activation;

namespace {

/// The same numbers in placed memory.
struct Placed {
  const PairProblem& p;
  Placement at;
  Map x, w1, w2, gamma1, beta1, mean1, var1, gamma2, beta2, mean2, var2;

  Placed(const PairProblem& problem, const Placement& place)
      : p(problem),
        at(place),
        x(p.x, 1, at),
        w1(p.w1, 1, at),
        w2(p.w2, 1, at),
        gamma1(p.gamma1, 1, at),
        beta1(p.beta1, 1, at),
        mean1(p.mean1, 1, at),
        var1(p.var1, 1, at),
        gamma2(p.gamma2, 1, at),
        beta2(p.beta2, 1, at),
        mean2(p.mean2, 1, at),
        var2(p.var2, 1, at) {}
  [[nodiscard]] fast::PairWeights weights() const {
    return {w1.read(),
            {gamma1.read(), beta1.read(), mean1.read(), var1.read()},
            w2.read(),
            {gamma2.read(), beta2.read(), mean2.read(), var2.read()}};
  }
  [[nodiscard]] index_t floats(const Exec& exec, const fast::Options& options) const {
    const auto size = p.gs() ? fast::gsconv_workspace : fast::dsc_workspace;
    return size(exec, p.x.shape(), p.w1.shape(), p.w2.shape(), p.settings, options);
  }
};

Tensor finished(const Map& map) {
  CHECK(map.intact());
  return map.values();
}

Tensor run_inference(const PairProblem& p, const Exec& exec, const Placement& at, const fast::Options& options) {
  const Placed in(p, at);
  const Map y(p.dy.shape(), 1, at);
  const Edge workspace(in.floats(exec, options), at);
  (p.gs() ? fast::gsconv : fast::dsc)(exec, in.x.read(), in.weights(), y.view(), p.settings, workspace.span(), options);
  CHECK(workspace.intact());
  return finished(y);
}

/// y, z1, mean1, var1, z2, mean2, var2, dx, dw1, dgamma1, dbeta1, dw2, dgamma2, dbeta2.
std::vector<Tensor> run_training(const PairProblem& p, const Exec& exec, const Placement& at,
                                 const fast::Options& options) {
  const Placed in(p, at);
  const Shape zs = p.z1.shape(), z2s = p.z2.shape();
  const Map y(p.dy.shape(), 1, at), z1(zs, 1, at), m1(p.gamma1.shape(), 1, at), v1(p.gamma1.shape(), 1, at),
      z2(z2s, 1, at), m2(p.gamma2.shape(), 1, at), v2(p.gamma2.shape(), 1, at), dx(p.x.shape(), 1, at),
      dw1(p.w1.shape(), 1, at), dg1(p.gamma1.shape(), 1, at), db1(p.gamma1.shape(), 1, at), dw2(p.w2.shape(), 1, at),
      dg2(p.gamma2.shape(), 1, at), db2(p.gamma2.shape(), 1, at), dy(p.dy, 1, at);
  const Edge workspace(in.floats(exec, options), at);
  const auto train = p.gs() ? fast::gsconv_train : fast::dsc_train;
  const auto backward = p.gs() ? fast::gsconv_bwd : fast::dsc_bwd;
  train(exec, in.x.read(), in.weights(), y.view(), {z1.view(), m1.view(), v1.view(), z2.view(), m2.view(), v2.view()},
        p.settings, workspace.span(), options);
  backward(exec, dy.read(), in.x.read(), in.weights(),
           {z1.read(), m1.read(), v1.read(), z2.read(), m2.read(), v2.read()},
           {dx.view(), dw1.view(), dg1.view(), db1.view(), dw2.view(), dg2.view(), db2.view()}, p.settings,
           workspace.span(), options);
  CHECK(workspace.intact());
  std::vector<Tensor> results;
  for (const Map* map : {&y, &z1, &m1, &v1, &z2, &m2, &v2, &dx, &dw1, &dg1, &db1, &dw2, &dg2, &db2})
    results.push_back(finished(*map));
  return results;
}

template <class F>
void for_each_machine(const F& f) {
  for (const Isa isa : kernels::available_isas())
    for (const int threads : {1, 2, 3}) {
      Exec exec;
      exec.isa = isa;
      exec.threads = threads;
      INFO(std::string(kernels::name_of(isa)), " ", threads, " threads");
      f(exec);
    }
}

constexpr Placement places[] = {{0, false, 0}, {4, true, 1}, {8, false, 2}, {28, true, 0}};

}  // namespace

TEST_CASE("GSConv and DSC in inference are exact on whole numbers with scales that are powers of two") {
  std::size_t i = 0;
  for (PairRow row : pair_rows) {
    if (row.act != Act::none) row.act = i % 2 == 0 ? Act::relu : Act::none;
    INFO(to_text(row));
    const PairProblem p(row, true);
    const Want want{p.y, {}, 0};
    for_each_machine([&](const Exec& exec) {
      CHECK(mismatches(run_inference(p, exec, places[i % 4], {.algorithm = Algorithm::direct}), want) == 0);
    });
    ++i;
  }
}

TEST_CASE("GSConv and DSC in inference on real numbers") {
  std::size_t i = 0;
  for (const PairRow& row : pair_rows) {
    INFO(to_text(row));
    const PairProblem p(row, false);
    Tensor first;
    for_each_machine([&](const Exec& exec) {
      const Tensor y = run_inference(p, exec, places[i % 4], {});
      CHECK(worst(y, p.y, p.y) <= 1e-5);
      if (exec.threads == 1) first = y;
      CHECK(same_bits(y, first));
    });
    ++i;
  }
}

TEST_CASE("GSConv and DSC in training: outputs, statistics and all gradients") {
  std::size_t i = 0;
  for (const PairRow& row : pair_rows) {
    INFO(to_text(row));
    const PairProblem p(row, false);
    const Tensor* wants[] = {&p.train_y, &p.z1,  &p.m1,      &p.v1,     &p.z2,  &p.m2,      &p.v2,
                             &p.dx,      &p.dw1, &p.dgamma1, &p.dbeta1, &p.dw2, &p.dgamma2, &p.dbeta2};
    std::vector<Tensor> first;
    for_each_machine([&](const Exec& exec) {
      const std::vector<Tensor> r = run_training(p, exec, places[i % 4], {});
      if (exec.threads == 1) first = r;
      for (std::size_t k = 0; k < r.size(); ++k) {
        CAPTURE(k);
        const Tensor& terms = k == 9 || k == 10 ? p.terms1 : k >= 12 ? p.terms2 : *wants[k];
        CHECK(worst(r[k], *wants[k], terms) <= (k < 7 ? 1e-5 : 2e-5));
        CHECK(same_bits(r[k], first[k]));
      }
    });
    ++i;
  }
}
