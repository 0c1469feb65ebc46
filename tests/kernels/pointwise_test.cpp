// Element by element kernels on blocked maps against the reference kernels.
#include "point_maps.hpp"

using namespace slimneck;
using namespace slimneck::test;
using kernels::Act;

namespace {

kernels::PointwiseArgs args(const Map& x, const Map* z, const Map& y) {
  kernels::PointwiseArgs a;
  const View<float>&v = x.view(), &o = y.view();
  a.n = v.shape.n;
  a.blocks = x.blocks();
  a.h = v.shape.h;
  a.w = v.shape.w;
  a.x = v.data;
  a.xn = v.sn;
  a.xb = v.sc;
  a.xh = v.sh;
  if (z) {
    a.z = z->view().data;
    a.zn = z->view().sn;
    a.zb = z->view().sc;
    a.zh = z->view().sh;
  }
  a.y = o.data;
  a.yn = o.sn;
  a.yb = o.sc;
  a.yh = o.sh;
  a.slope = 0.25F;
  return a;
}

constexpr Act acts[] = {Act::none,       Act::silu,      Act::mish,    Act::relu,
                        Act::leaky_relu, Act::hardswish, Act::sigmoid, Act::gelu};

}  // namespace

TEST_CASE("add, copy and fill are exact, with and without gaps") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const Shape& shape : shapes)
      for (const index_t gap : {0, 3}) {
        CAPTURE(to_string(shape));
        Map x(shape, k.lanes, gap), z(shape, k.lanes, 0), y(shape, k.lanes, gap), expected(shape, k.lanes);
        x.fill(normal(1));
        z.fill(normal(2));
        const kernels::PointwiseArgs a = args(x, &z, y);
        same_for_all_threads([&] { k.map_add(a); }, [&] { return y.all(); });
        kernels::add<float>(x.in(), z.in(), expected.view());
        CHECK(mismatches(y.logical(), expected.logical()) == 0);
        CHECK(y.gaps_untouched());
        same_for_all_threads([&] { k.map_copy(a); }, [&] { return y.all(); });
        CHECK(mismatches(y.logical(), x.logical()) == 0);
        k.map_fill(a);
        CHECK(mismatches(y.logical(), std::vector<float>(y.logical().size(), 0.0F)) == 0);
        CHECK(y.gaps_untouched());
      }
  });
}

TEST_CASE("activations of maps, forward and backward, also in place") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{0, 16, 4, 4}, Shape{1, 33, 13, 13}})
      for (const Act act : acts) {
        CAPTURE(to_string(shape));
        CAPTURE(static_cast<int>(act));
        Map x(shape, k.lanes, 1), dy(shape, k.lanes, 0), y(shape, k.lanes, 2), expected(shape, k.lanes);
        x.fill(normal(3, 0, 3));
        dy.fill(normal(4));
        kernels::PointwiseArgs a = args(x, &dy, y);
        a.act = act;
        same_for_all_threads([&] { k.act_fwd(a); }, [&] { return y.all(); });
        CHECK(y.gaps_untouched());
        const kernels::Activation reference{act, 0.25};
        kernels::act_fwd<float>(x.in(), expected.view(), reference);
        const auto close = [&] {
          const std::vector<float> got = y.logical(), want = expected.logical();
          double worst = 0;
          for (std::size_t i = 0; i < got.size(); ++i)
            worst = std::max(worst, static_cast<double>(std::abs(got[i] - want[i])) / (std::abs(want[i]) + 0.1));
          return worst;
        };
        CHECK(close() < 1e-6);
        same_for_all_threads([&] { k.act_bwd(a); }, [&] { return y.all(); });
        kernels::act_bwd<float>(x.in(), dy.in(), expected.view(), reference);
        CHECK(close() < 3e-6);
        const std::vector<float> before = y.logical();
        kernels::PointwiseArgs in_place = a;
        in_place.y = dy.view().data;
        in_place.yn = a.zn;
        in_place.yb = a.zb;
        in_place.yh = a.zh;
        k.act_bwd(in_place);
        CHECK(mismatches(dy.logical(), before) == 0);
      }
  });
}
