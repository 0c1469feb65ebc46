// Channel gathers between maps of all layouts against the reference kernel.
#include "point_maps.hpp"

using namespace slimneck;
using namespace slimneck::test;

namespace {

using List = std::vector<index_t>;

/// Lists of `count` output channels from `channels`: identity, reversal, both shuffles, an offset with holes, one
/// source for all, random.
std::vector<List> lists(index_t channels, index_t count) {
  std::vector<List> all(7);
  std::mt19937 r(3);
  for (index_t p = 0; p < count; ++p) {
    all[0].push_back(p < channels ? p : -1);
    all[1].push_back(p < channels ? channels - 1 - p : -1);
    all[2].push_back((p / 2 + p % 2 * (channels / 2)) % channels);
    all[3].push_back(p < channels / 2 ? 2 * p : (2 * (p - channels / 2) + 1) % channels);
    all[4].push_back(p % 5 == 4 || p + 3 >= channels ? -1 : p + 3);
    all[5].push_back(channels / 2);
    all[6].push_back(static_cast<index_t>(r() % static_cast<unsigned>(channels + 1)) - 1);
  }
  return all;
}

}  // namespace

TEST_CASE("channel gathers move exactly what they should, whatever the layouts") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const Shape& shape : {Shape{1, 1, 1, 1}, Shape{2, 3, 5, 7}, Shape{1, 33, 6, 6}, Shape{0, 16, 4, 4},
                               Shape{1, 80, 3, 17}, Shape{1, 16, 40, 50}})
      for (const index_t count : {index_t{1}, index_t{17}, index_t{32}})
        for (const index_t from : {index_t{1}, k.lanes, 2 * k.lanes})
          for (const index_t to : {index_t{1}, k.lanes, index_t{2}})
            for (const index_t gap : {0, 1}) {
              Map x(shape, from, gap), y({shape.n, count, shape.h, shape.w}, to, gap),
                  expected(y.view().shape, to, gap);
              x.fill(normal(5));
              const index_t physical = to == 1 ? count : y.blocks() * to;
              for (List& list : lists(shape.c, count)) {
                CAPTURE(to_string(shape));
                CAPTURE(from);
                CAPTURE(to);
                CAPTURE(count);
                kernels::gather_channels<float>(x.in(), expected.view(), list);
                list.resize(static_cast<std::size_t>(physical), -1);
                kernels::GatherArgs a;
                a.n = shape.n, a.channels = physical, a.h = shape.h, a.w = shape.w;
                a.x = x.data(), a.x_block = from, a.xn = x.view().sn, a.xb = x.view().sc, a.xh = x.view().sh;
                a.y = y.data(), a.y_block = to, a.yn = y.view().sn, a.yb = y.view().sc, a.yh = y.view().sh;
                a.list = list.data();
                k.gather_channels(a);
                CHECK(mismatches(y.all(), expected.all()) == 0);
              }
            }
  });
}

TEST_CASE("a channel gather is the same for any number of threads") {
  for_each_isa([](const kernels::Kernels& k) {
    Map x({2, 64, 40, 40}, 1), y({2, 64, 40, 40}, k.lanes);
    x.fill(normal(5));
    List list;
    for (index_t p = 0; p < 64; ++p) list.push_back(p / 2 + p % 2 * 32);
    kernels::GatherArgs a;
    a.n = 2, a.channels = 64, a.h = a.w = 40;
    a.x = x.data(), a.xn = x.view().sn, a.xb = x.view().sc, a.xh = x.view().sh;
    a.y = y.data(), a.y_block = k.lanes, a.yn = y.view().sn, a.yb = y.view().sc, a.yh = y.view().sh;
    a.list = list.data();
    same_for_all_threads([&] { k.gather_channels(a); }, [&] { return y.all(); });
  });
}
