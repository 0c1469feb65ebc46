// Weights packed and unpacked in every order, through channel maps with holes, against index arithmetic.
#include "point_maps.hpp"

using namespace slimneck;
using namespace slimneck::test;
using kernels::WeightOrder;

namespace {

using Vector = std::vector<float>;
using Channels = std::vector<index_t>;

constexpr WeightOrder orders[] = {WeightOrder::plain,  WeightOrder::forward,   WeightOrder::backward,
                                  WeightOrder::turned, WeightOrder::depthwise, WeightOrder::planes};

/// Where tap t between physical channels o and c lies: the definition in args.hpp.
index_t place(WeightOrder order, index_t v, index_t os, index_t cs, index_t taps, index_t o, index_t c, index_t t) {
  const index_t ob = o / v, oi = o % v, cb = c / v, ci = c % v;
  switch (order) {
    case WeightOrder::plain: return (o * cs + c) * taps + t;
    case WeightOrder::forward: return (((ob * (cs / v) + cb) * taps + t) * v + ci) * v + oi;
    case WeightOrder::backward: return (((cb * (os / v) + ob) * taps + t) * v + oi) * v + ci;
    case WeightOrder::turned: return (((cb * (os / v) + ob) * taps + taps - 1 - t) * v + oi) * v + ci;
    case WeightOrder::depthwise: return (ob * taps + t) * v + oi;
    case WeightOrder::planes: return ((ob * cs + c) * taps + t) * v + oi;
  }
  return 0;
}

index_t rounded(index_t c, index_t v) { return (c + v - 1) / v * v; }

/// Physical positions of a map: 0 the identity, 1 pairs interleaved, 2 reversed behind a hole.
Channels channel_map(int kind, index_t count, index_t physical) {
  Channels map(static_cast<std::size_t>(physical), -1);
  for (index_t p = 0; p < count; ++p) {
    const auto at = static_cast<std::size_t>(p);
    if (kind == 0) map[at] = p;
    if (kind == 1) map[at] = p < count / 2 * 2 ? p / 2 + p % 2 * (count / 2) : p;
    if (kind == 2) map[static_cast<std::size_t>(physical - 1 - p)] = p;
  }
  return map;
}

void check(const kernels::Kernels& k, WeightOrder order, index_t o, index_t c, index_t kernel, int o_kind, int c_kind) {
  const index_t v = k.lanes, taps = kernel * kernel, cl = order == WeightOrder::depthwise ? 1 : c;
  const bool c_blocks = order == WeightOrder::forward || order == WeightOrder::backward || order == WeightOrder::turned;
  const index_t spare = o_kind == 2 ? v : 0;
  const index_t os = rounded(o, v) + spare, cs = c_blocks ? rounded(cl, v) + (c_kind == 2 ? v : 0) : cl;
  CAPTURE(static_cast<int>(order));
  CAPTURE(o);
  CAPTURE(c);
  CAPTURE(kernel);
  const Channels o_map = channel_map(o_kind, o, os), c_map = channel_map(c_kind, cl, cs);
  const auto logical_size = static_cast<std::size_t>(o * cl * taps);
  const auto packed_size = static_cast<std::size_t>(os * (order == WeightOrder::depthwise ? 1 : cs) * taps);
  const Guarded from(logical_size), to(packed_size), back(logical_size);
  const auto random = normal(4);
  for (std::size_t i = 0; i < logical_size; ++i) from.data()[i] = random();
  Vector expected(packed_size, 0);
  for (index_t p = 0; p < os; ++p)
    for (index_t q = 0; q < cs; ++q)
      for (index_t t = 0; t < taps; ++t) {
        const index_t lo = o_map[static_cast<std::size_t>(p)], lc = c_map[static_cast<std::size_t>(q)];
        if (lo >= 0 && lc >= 0)
          expected[static_cast<std::size_t>(place(order, v, os, cs, taps, p, q, t))] =
              from.data()[(lo * cl + lc) * taps + t];
      }
  kernels::WeightArgs a;
  a.from = from.data(), a.to = to.data(), a.o = o, a.c = cl, a.kh = a.kw = kernel;
  a.o_physical = os, a.c_physical = cs, a.order = order;
  a.o_map = o_kind == 0 ? nullptr : o_map.data();
  a.c_map = c_kind == 0 ? nullptr : c_map.data();
  for (std::size_t i = 0; i < packed_size; ++i) to.data()[i] = -9;
  same_for_all_threads([&] { k.pack_weights(a); }, [&] { return Vector(to.data(), to.data() + packed_size); });
  CHECK(mismatches(Vector(to.data(), to.data() + packed_size), expected) == 0);
  // Back, set and added: once and twice the weights, whatever lies in the holes.
  for (std::size_t i = 0; i < packed_size; ++i)
    if (expected[i] == 0) to.data()[i] = -9;
  a.from = to.data(), a.to = back.data();
  k.unpack_weights(a);
  CHECK(mismatches(Vector(back.data(), back.data() + logical_size), Vector(from.data(), from.data() + logical_size)) ==
        0);
  a.add = true;
  k.unpack_weights(a);
  Vector twice(from.data(), from.data() + logical_size);
  for (float& x : twice) x *= 2;
  CHECK(mismatches(Vector(back.data(), back.data() + logical_size), twice) == 0);
}

}  // namespace

TEST_CASE("weights are packed and unpacked exactly in every order") {
  for_each_isa([](const kernels::Kernels& k) {
    for (const WeightOrder order : orders)
      for (const index_t kernel : {1, 2, 3, 5, 6})
        for (const auto& [o, c] : {std::pair<index_t, index_t>{1, 1}, {16, 3}, {17, 16}, {33, 40}})
          for (int kinds = 0; kinds < 9; ++kinds) check(k, order, o, c, kernel, kinds / 3, kinds % 3);
  });
}
