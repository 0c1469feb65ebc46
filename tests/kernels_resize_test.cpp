#include "core/threads.hpp"
#include "golden_case.hpp"
#include "slimneck/kernels.hpp"

namespace slimneck::test {

TEST_SUITE("kernels_resize") {
  TEST_CASE_TEMPLATE("nearest upsampling repeats, its gradient sums; exact in every layout", T, float, double) {
    constexpr Shape shapes[] = {{2, 3, 4, 5}, {1, 19, 1, 1}, {0, 3, 2, 2}, {3, 2, 1, 7}};
    for (const Shape& s : shapes)
      for (const index_t factor : {1, 2, 3}) {
        CAPTURE(&s - shapes);
        CAPTURE(factor);
        const Numbers x = reals(s, 1), dy = integers({s.n, s.c, s.h * factor, s.w * factor}, 2);
        Numbers y(dy.shape), dx(s);
        for (index_t n = 0; n < s.n; ++n)
          for (index_t c = 0; c < s.c; ++c)
            for (index_t i = 0; i < y.shape.h; ++i)
              for (index_t j = 0; j < y.shape.w; ++j) {
                y.at(n, c, i, j) = x.at(n, c, i / factor, j / factor);
                dx.at(n, c, i / factor, j / factor) += dy.at(n, c, i, j);
              }
        for (const Layout& layout : layouts)
          for (const int threads : {1, 2, 4}) {
            const core::ThreadScope scope(threads);
            const Guarded<T> gx(x, layout), gdy(dy, layout);
            Guarded<T> gy(dy.shape, layout), gdx(s, layout);
            kernels::upsample_nearest_fwd<T>(gx.read(), gy.view(), factor);
            kernels::upsample_nearest_bwd<T>(gdy.read(), gdx.view(), factor);
            CHECK(same_bits(gy.numbers(), y));
            CHECK(gdx.numbers().values == dx.values);
            CHECK(gy.intact());
            CHECK(gdx.intact());
          }
      }
  }
}

}  // namespace slimneck::test
