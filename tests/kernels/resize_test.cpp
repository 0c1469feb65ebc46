// Nearest upsampling on blocked maps against the reference kernels.
#include "point_maps.hpp"

using namespace slimneck;
using namespace slimneck::test;

TEST_CASE("upsampling and its gradient are exact on integers") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const Shape& shape : shapes)
      for (const index_t factor : {1, 2, 3})
        for (const index_t gap : {0, 2}) {
          CAPTURE(to_string(shape));
          CAPTURE(factor);
          const Shape big{shape.n, shape.c, shape.h * factor, shape.w * factor};
          Map small(shape, k.lanes, gap), large(big, k.lanes, gap), expected(big, k.lanes),
              expected_small(shape, k.lanes);
          small.fill(integers(1));
          kernels::UpsampleArgs a;
          a.n = shape.n, a.blocks = small.blocks(), a.h = shape.h, a.w = shape.w, a.factor = factor;
          a.x = small.data(), a.xn = small.view().sn, a.xb = small.view().sc, a.xh = small.view().sh;
          a.y = large.data(), a.yn = large.view().sn, a.yb = large.view().sc, a.yh = large.view().sh;
          same_for_all_threads([&] { k.upsample_fwd(a); }, [&] { return large.all(); });
          kernels::upsample_nearest_fwd<float>(small.in(), expected.view(), factor);
          CHECK(mismatches(large.logical(), expected.logical()) == 0);
          CHECK(large.gaps_untouched());
          large.fill(integers(2));
          a.x = large.data(), a.xn = large.view().sn, a.xb = large.view().sc, a.xh = large.view().sh;
          a.y = small.data(), a.yn = small.view().sn, a.yb = small.view().sc, a.yh = small.view().sh;
          same_for_all_threads([&] { k.upsample_bwd(a); }, [&] { return small.all(); });
          kernels::upsample_nearest_bwd<float>(large.in(), expected_small.view(), factor);
          CHECK(mismatches(small.logical(), expected_small.logical()) == 0);
          CHECK(small.gaps_untouched());
        }
  });
}
