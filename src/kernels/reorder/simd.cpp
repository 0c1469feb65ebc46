// Weights between logical order and the orders that kernels read: to[order(o, c, u, v)] = from[o][c][u][v], and back.
#include "kernels/declare.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using simd::lanes;

/// Logical channel at physical position p, -1 for a hole.
index_t logical(const index_t* map, index_t p, index_t count) {
  const index_t channel = map ? map[p] : p;
  return channel < count ? channel : -1;
}

/// Where tap t of the weight between physical channels o and c lies.
index_t place(const WeightArgs& a, index_t o, index_t c, index_t t) {
  const index_t taps = a.kh * a.kw, v = lanes;
  const index_t ob = o / v, oi = o % v, cb = c / v, ci = c % v;
  switch (a.order) {
    case WeightOrder::plain: return (o * a.c_physical + c) * taps + t;
    case WeightOrder::forward: return (((ob * (a.c_physical / v) + cb) * taps + t) * v + ci) * v + oi;
    case WeightOrder::backward: return (((cb * (a.o_physical / v) + ob) * taps + t) * v + oi) * v + ci;
    case WeightOrder::turned: return (((cb * (a.o_physical / v) + ob) * taps + taps - 1 - t) * v + oi) * v + ci;
    case WeightOrder::depthwise: return (ob * taps + t) * v + oi;
    case WeightOrder::planes: return ((ob * a.c_physical + c) * taps + t) * v + oi;
  }
  return 0;
}

}  // namespace

void pack_weights(const WeightArgs& a) noexcept {
  const index_t taps = a.kh * a.kw;
#pragma omp parallel for schedule(static)
  for (index_t o = 0; o < a.o_physical; ++o) {
    const index_t lo = logical(a.o_map, o, a.o);
    for (index_t c = 0; c < a.c_physical; ++c) {
      const index_t lc = logical(a.c_map, c, a.c);
      for (index_t t = 0; t < taps; ++t)
        a.to[place(a, o, c, t)] = lo < 0 || lc < 0 ? 0 : a.from[(lo * a.c + lc) * taps + t];
    }
  }
}

void unpack_weights(const WeightArgs& a) noexcept {
  const index_t taps = a.kh * a.kw;
#pragma omp parallel for schedule(static)
  for (index_t o = 0; o < a.o_physical; ++o) {
    const index_t lo = logical(a.o_map, o, a.o);
    if (lo < 0) continue;
    for (index_t c = 0; c < a.c_physical; ++c) {
      const index_t lc = logical(a.c_map, c, a.c);
      if (lc < 0) continue;
      for (index_t t = 0; t < taps; ++t) {
        float& to = a.to[(lo * a.c + lc) * taps + t];
        to = a.from[place(a, o, c, t)] + (a.add ? to : 0);
      }
    }
  }
}

}  // namespace slimneck::kernels::SN_ISA
