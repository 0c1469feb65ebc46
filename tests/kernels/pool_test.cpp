// Max pooling on blocked maps against the reference: the same numbers, bit for bit, ties, NaN and infinities included.
#include <limits>

#include "point_maps.hpp"

using namespace slimneck;
using namespace slimneck::test;

namespace {

struct Geometry {
  index_t k, s, p;
};
const std::vector<Geometry> geometries{{5, 1, 2}, {3, 1, 1},  {2, 2, 0}, {3, 2, 1}, {1, 1, 0},
                                       {4, 3, 2}, {13, 1, 6}, {5, 2, 2}, {2, 1, 2}};

index_t outputs(index_t extent, const Geometry& g) {
  return extent + 2 * g.p < g.k ? 0 : (extent + 2 * g.p - g.k) / g.s + 1;
}

/// Runs forward, forward with positions and backward, and compares.
void check(const kernels::Kernels& k, const Shape& shape, const Geometry& g, index_t gap,
           const std::function<float()>& values) {
  CAPTURE(to_string(shape));
  CAPTURE(g.k);
  CAPTURE(g.s);
  CAPTURE(gap);
  const Shape small{shape.n, shape.c, outputs(shape.h, g), outputs(shape.w, g)};
  Map x(shape, k.lanes, gap), y(small, k.lanes, gap), dy(small, k.lanes, 0), dx(shape, k.lanes, gap);
  Map expected(small, k.lanes), expected_dx(shape, k.lanes);
  x.fill(values);
  dy.fill(normal(8));
  std::vector<std::uint8_t> where(static_cast<std::size_t>(small.n * x.blocks() * k.lanes * small.h * small.w));
  kernels::PoolArgs a;
  a.n = shape.n, a.blocks = x.blocks(), a.h = shape.h, a.w = shape.w, a.oh = small.h, a.ow = small.w;
  a.kernel = g.k, a.stride = g.s, a.pad = g.p;
  a.x = x.data(), a.xn = x.view().sn, a.xb = x.view().sc, a.xh = x.view().sh;
  a.y = y.data(), a.yn = y.view().sn, a.yb = y.view().sc, a.yh = y.view().sh;
  a.where = where.data();
  const kernels::Pool reference{g.k, g.s, g.p};
  kernels::max_pool_fwd<float>(x.in(), expected.view(), reference);
  same_for_all_threads([&] { k.max_pool_fwd(a); }, [&] { return y.all(); });
  CHECK(mismatches(y.logical(), expected.logical()) == 0);
  y.fill([] { return 0.0F; });
  same_for_all_threads([&] { k.max_pool_fwd_at(a); }, [&] { return y.all(); });
  CHECK(mismatches(y.logical(), expected.logical()) == 0);
  CHECK(y.gaps_untouched());

  kernels::PoolGradArgs b;
  b.n = a.n, b.blocks = a.blocks, b.h = a.h, b.w = a.w, b.oh = a.oh, b.ow = a.ow;
  b.kernel = g.k, b.stride = g.s, b.pad = g.p;
  b.dy = dy.data(), b.yn = dy.view().sn, b.yb = dy.view().sc, b.yh = dy.view().sh;
  b.dx = dx.data(), b.xn = dx.view().sn, b.xb = dx.view().sc, b.xh = dx.view().sh;
  b.where = where.data();
  same_for_all_threads([&] { k.max_pool_bwd(b); }, [&] { return dx.all(); });
  kernels::max_pool_bwd<float>(x.in(), dy.in(), expected_dx.view(), reference);
  CHECK(mismatches(dx.logical(), expected_dx.logical()) == 0);
  CHECK(dx.gaps_untouched());
}

}  // namespace

TEST_CASE("max pooling is that of the reference") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const Geometry& g : geometries)
      for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{2, 3, 5, 7}, Shape{1, 17, 20, 20}, Shape{3, 16, 2, 3},
                                 Shape{0, 16, 4, 4}, Shape{1, 5, 66, 40}})
        for (const index_t gap : {0, 2}) check(k, shape, g, gap, integers(11));
  });
}

TEST_CASE("max pooling with NaN and infinities") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const Geometry& g : geometries)
      for (const int rare : {3, 40}) {
        const auto odd = [r = std::mt19937(7), rare]() mutable {
          const float inf = std::numeric_limits<float>::infinity();
          const auto kind = static_cast<int>(r() % static_cast<unsigned>(rare));
          const float any = static_cast<float>(r() % 100) - 50;
          return kind == 0 ? std::nanf("") : kind == 1 ? -inf : kind == 2 ? inf : any;
        };
        check(k, {2, 17, 11, 40}, g, 1, odd);
      }
    check(k, {1, 16, 8, 8}, {5, 1, 2}, 0, [] { return -std::numeric_limits<float>::infinity(); });
  });
}
