// Decoding of the detection head from plain and blocked maps against the reference in double.
#include <limits>

#include "point_maps.hpp"

using namespace slimneck;
using namespace slimneck::test;

TEST_CASE("decoding is that of the reference") {
  constexpr float anchors[] = {1.25F, 1.625F, 2, 3.75F, 4.125F, 2.875F};
  for_each_isa([&](const kernels::Kernels& k) {
    for (const index_t no : {6, 16, 85})
      for (const Shape& cells : {Shape{1, 1, 1, 1}, Shape{2, 1, 5, 7}, Shape{1, 1, 20, 20}, Shape{0, 1, 4, 4}})
        for (const index_t block : {index_t{1}, k.lanes})
          for (const index_t gap : {0, 1}) {
            CAPTURE(no);
            CAPTURE(block);
            CAPTURE(to_string(cells));
            const Shape shape{cells.n, 3 * no, cells.h, cells.w};
            const index_t first = 5, rows = first + 3 * cells.h * cells.w + 2;
            Map x(shape, block, gap), y({cells.n, 1, rows, no}, 1), expected(y.view().shape, 1);
            x.fill(normal(5, 0, 4));
            if (cells.h == 5) {
              x.view().at(1, 2, 3, 3) = std::nanf("");
              x.view().at(1, 0, 2, 3) = std::numeric_limits<float>::infinity();
              x.view().at(1, no, 2, 3) = -std::numeric_limits<float>::infinity();
            }
            y.fill([] { return -1.0F; });
            expected.fill([] { return -1.0F; });
            kernels::DecodeArgs a;
            a.n = shape.n, a.na = 3, a.no = no, a.h = shape.h, a.w = shape.w;
            a.x = x.data(), a.x_block = block, a.xn = x.view().sn, a.xb = x.view().sc, a.xh = x.view().sh;
            a.anchors = anchors;
            a.stride = 16;
            a.first = first;
            a.y = y.data();
            a.yn = y.view().sn;
            same_for_all_threads([&] { k.detect_decode(a); }, [&] { return y.all(); });
            kernels::detect_decode_fwd<float>(x.in(), anchors, 3, 16, first, expected.view());
            const std::vector<float> got = y.logical(), want = expected.logical();
            double worst = 0;
            for (std::size_t i = 0; i < got.size(); ++i) {
              if (std::isnan(want[i]) && std::isnan(got[i])) continue;
              // Positions are sums of at most the grid's extent; the rest has a relative error.
              const double e =
                  static_cast<double>(std::abs(got[i] - want[i])) /
                  (static_cast<double>(std::abs(want[i])) + (i % static_cast<std::size_t>(no) < 2 ? 16.0 : 0));
              worst = e <= worst ? worst : e;
            }
            CHECK(worst <= 8e-7);
          }
  });
}
