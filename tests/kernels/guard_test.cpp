// Every operand of every convolution touches a page that faults, before or behind, at every alignment that floats have:
// whoever reads or writes one number too many, masked or not, ends the program here.
#include <doctest/doctest.h>

#include "slimneck/kernels.hpp"
#include "table.hpp"

using namespace slimneck;
using namespace slimneck::table;

namespace {

constexpr index_t offsets[] = {0, 4, 8, 28};

/// Rows that between them reach every variant and every border.
bool chosen(std::size_t i) { return i % 3 == 0; }

}  // namespace

TEST_CASE("no variant of a convolution leaves its operands") {
  const std::vector<ConvRow>& rows = conv_rows();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (!chosen(i)) continue;
    const ConvProblem p(rows[i], Fill::integers);
    for (const Isa isa : kernels::available_isas())
      for (const index_t offset : offsets)
        for (const bool front : {false, true})
          for (const Direction d : {Direction::forward, Direction::backward_x, Direction::backward_w})
            for (const Outcome& o : run_variants(*kernels::kernels_of(isa), p, d, 2, {offset, front, 0})) {
              INFO(std::string(kernels::name_of(isa)), " ", o.variant, " offset ", offset, " ", to_text(rows[i]));
              CHECK(o.intact);
              const Want& want = d == Direction::forward ? p.y : d == Direction::backward_x ? p.dx : p.dw;
              if (o.algorithm == Algorithm::direct) CHECK(mismatches(o.result, want) == 0);
            }
  }
}

TEST_CASE("no fast kernel on maps leaves its operands") {
  namespace fast = kernels::fast;
  constexpr Shape shapes[] = {{1, 1, 1, 1}, {1, 17, 3, 5}, {2, 16, 2, 9}, {1, 3, 7, 33}, {1, 64, 4, 4}};
  const kernels::Pool pool{5, 1, 2};
  for (const Shape& s : shapes)
    for (const Isa isa : kernels::available_isas())
      for (const index_t offset : offsets)
        for (const bool front : {false, true}) {
          const Placement at{offset, front, 0};
          INFO(std::string(kernels::name_of(isa)), " offset ", offset, " ", to_string(s));
          Exec exec;
          exec.isa = isa;
          exec.threads = 2;
          const Shape large{s.n, s.c, 2 * s.h, 2 * s.w}, vector{1, s.c, 1, 1};
          const Map x(random_tensor(s, Fill::reals, 1), 1, at), z(random_tensor(s, Fill::reals, 2), 1, at), y(s, 1, at),
              big(random_tensor(large, Fill::reals, 3), 1, at), wide(large, 1, at), mean(vector, 1, at),
              var(vector, 1, at), dgamma(vector, 1, at), dbeta(vector, 1, at);
          for (const kernels::Act act : {kernels::Act::silu, kernels::Act::mish, kernels::Act::leaky_relu}) {
            const Edge workspace(fast::pointwise_workspace(exec, s), at);
            fast::act_fwd(exec, x.read(), y.view(), {act, 0.1}, workspace.span());
            fast::act_bwd(exec, x.read(), z.read(), y.view(), {act, 0.1}, workspace.span());
            fast::add(exec, x.read(), z.read(), y.view(), workspace.span());
          }
          const Edge norms(fast::bn_workspace(exec, s), at), sums(fast::channel_sum_workspace(exec, s), at),
              pools(fast::max_pool_workspace(exec, s, pool), at), ups(fast::upsample_nearest_workspace(exec, s, 2), at);
          const fast::Norm norm{{}, {}, mean.read(), var.read()};
          fast::bn_stats(exec, x.read(), mean.view(), var.view(), norms.span());
          fast::bn_apply(exec, x.read(), norm, y.view(), 1e-3, {kernels::Act::silu}, norms.span());
          fast::bn_bwd(exec, z.read(), x.read(), norm, y.view(), dgamma.view(), dbeta.view(), 1e-3,
                       {kernels::Act::silu}, true, norms.span());
          fast::channel_sum(exec, x.read(), mean.view(), sums.span());
          fast::max_pool_fwd(exec, x.read(), y.view(), pool, pools.span());
          fast::max_pool_bwd(exec, x.read(), z.read(), y.view(), pool, pools.span());
          fast::upsample_nearest_fwd(exec, x.read(), wide.view(), 2, ups.span());
          fast::upsample_nearest_bwd(exec, big.read(), y.view(), 2, ups.span());
          std::vector<index_t> source(static_cast<std::size_t>(s.c));
          for (index_t c = 0; c < s.c; ++c) source[static_cast<std::size_t>(c)] = s.c - 1 - c;
          fast::channel_shuffle(exec, x.read(), y.view(), source);
          for (const Map* map : {&x, &z, &y, &big, &wide, &mean, &var, &dgamma, &dbeta}) CHECK(map->intact());
          for (const Edge* edge : {&norms, &sums, &pools, &ups}) CHECK(edge->intact());
        }
}
