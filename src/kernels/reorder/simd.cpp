// Weights between logical order and the orders that kernels read: to[order(o, c, u, v)] = from[o][c][u][v], and back.
//
// Every order but the plain one ends in V lanes of one kind of channel, and the taps (or the taps of several channels
// of the other kind) of one lane lie next to each other in the logical order. So V rows of V such columns are
// transposed in registers at a time. Single columns, which is what 1 x 1 kernels with a shuffled channel map have, go
// number by number.
#include "kernels/declare.hpp"

namespace slimneck::kernels::SN_ISA {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

namespace {

/// Logical channel at physical position p, -1 for a hole.
SN_INLINE index_t logical(const index_t* map, index_t p, index_t count) {
  const index_t channel = map ? map[p] : p;
  return channel < count ? channel : -1;
}

/// V logical rows, one for each lane: at base + offset[lane] (in `from` when packing, in `to` when unpacking), or a
/// hole where the offset is negative.
template <class T>
struct Rows {
  T* base;
  index_t offset[lanes];
  [[nodiscard]] SN_INLINE T* row(index_t k) const { return base + offset[k]; }
  [[nodiscard]] SN_INLINE bool hole(index_t k) const { return offset[k] < 0; }
};

/// Where columns lie in the packed order: tap t of the c-th channel at base + t * by_tap + c * by_channel, V lanes
/// each.
template <class T>
struct Packed {
  T* base;
  index_t by_tap, by_channel;
};

/// Below this many columns a transposition costs more than single numbers.
constexpr index_t few = lanes / 4;

/// The next `columns` numbers of all rows, which are the taps of channels c, c + 1, ...; first is where they begin.
SN_INLINE void pack_columns(const Rows<const float>& rows, index_t first, index_t columns, index_t taps, index_t c,
                            const Packed<float>& to) {
  index_t t = 0;
  float* at = to.base + c * to.by_channel;
  const auto next = [&]() SN_INLINE_BODY {
    if (++t < taps) {
      at += to.by_tap;
    } else {
      t = 0;
      at = to.base + ++c * to.by_channel;
    }
  };
  for (index_t j = 0; j < columns; j += lanes) {
    const index_t m = least(lanes, columns - j);
    if (m <= few) {
      for (index_t i = 0; i < m; ++i) {
        // Straight to where it goes: a vector of numbers just stored would wait for them.
        for (index_t k = 0; k < lanes; ++k) at[k] = rows.hole(k) ? 0 : rows.row(k)[first + j + i];
        next();
      }
      continue;
    }
    Vec r[lanes];
#pragma GCC unroll 16
    for (index_t k = 0; k < lanes; ++k) {
      r[k] = zero();
      if (!rows.hole(k)) r[k] = m == lanes ? load(rows.row(k) + first + j) : load_n(rows.row(k) + first + j, m);
    }
    transpose(r);
#pragma GCC unroll 16
    for (index_t i = 0; i < lanes; ++i) {
      if (i >= m) continue;
      store(at, r[i]);
      next();
    }
  }
}

SN_INLINE void unpack_columns(const Rows<float>& rows, index_t first, index_t columns, index_t taps, index_t c,
                              const Packed<const float>& from, bool add) {
  index_t t = 0;
  const float* at = from.base + c * from.by_channel;
  const auto next = [&]() SN_INLINE_BODY {
    if (++t < taps) {
      at += from.by_tap;
    } else {
      t = 0;
      at = from.base + ++c * from.by_channel;
    }
  };
  for (index_t j = 0; j < columns; j += lanes) {
    const index_t m = least(lanes, columns - j);
    if (m <= few) {
      for (index_t i = 0; i < m; ++i) {
        for (index_t k = 0; k < lanes; ++k)
          if (!rows.hole(k)) {
            float& to = rows.row(k)[first + j + i];
            to = at[k] + (add ? to : 0);
          }
        next();
      }
      continue;
    }
    Vec r[lanes];
#pragma GCC unroll 16
    for (index_t i = 0; i < lanes; ++i) {
      r[i] = zero();
      if (i >= m) continue;
      r[i] = load(at);
      next();
    }
    transpose(r);
    // All loads before the stores: a load that overlaps the masked part of a store before it waits for that store.
    if (add) {
#pragma GCC unroll 16
      for (index_t k = 0; k < lanes; ++k)
        if (!rows.hole(k)) r[k] = simd::add(r[k], load_n(rows.row(k) + first + j, m));
    }
#pragma GCC unroll 16
    for (index_t k = 0; k < lanes; ++k) {
      if (rows.hole(k)) continue;
      m == lanes ? store(rows.row(k) + first + j, r[k]) : store_n(rows.row(k) + first + j, r[k], m);
    }
  }
}

/// The rows follow one another, one number each: they are a vector.
template <class T>
SN_INLINE bool one_vector(const Rows<T>& rows, index_t columns) {
  bool yes = columns == 1 && !rows.hole(0);
  for (index_t k = 1; yes && k < lanes; ++k) yes = rows.offset[k] == rows.offset[0] + k;
  return yes;
}

/// Lanes are o, whose rows have the taps of all c: orders forward, planes, and depthwise.
template <class T>
SN_INLINE Rows<T> lanes_of_o(const WeightArgs& a, T* plain, index_t ob) {
  Rows<T> rows{plain, {}};
  for (index_t k = 0; k < lanes; ++k) {
    const index_t o = logical(a.o_map, ob * lanes + k, a.o);
    rows.offset[k] = o < 0 ? -1 : o * a.c * a.kh * a.kw;
  }
  return rows;
}

/// Lanes are c, whose rows have the taps of one o; base is set for each o: orders backward and turned.
template <class T>
SN_INLINE Rows<T> lanes_of_c(const WeightArgs& a, T* plain, index_t cb) {
  Rows<T> rows{plain, {}};
  for (index_t k = 0; k < lanes; ++k) {
    const index_t c = logical(a.c_map, cb * lanes + k, a.c);
    rows.offset[k] = c < 0 ? -1 : c * a.kh * a.kw;
  }
  return rows;
}

/// run(first, columns, c, hole) for runs of channels [c0, c1) that follow one another in the logical order.
template <class Run>
SN_INLINE void for_each_run(const WeightArgs& a, index_t c0, index_t c1, const Run& run) {
  const index_t taps = a.kh * a.kw;
  for (index_t c = c0; c < c1;) {
    const index_t lc = logical(a.c_map, c, a.c);
    index_t length = 1;
    while (lc >= 0 && c + length < c1 && logical(a.c_map, c + length, a.c) == lc + length) ++length;
    run(lc * taps, length * taps, c - c0, lc < 0);
    c += length;
  }
}

/// The packed weights of one task.
template <class T>
SN_INLINE Packed<T> packed(const WeightArgs& a, T* p, index_t ob, index_t cb) {
  const index_t taps = a.kh * a.kw, square = lanes * lanes;
  switch (a.order) {
    case WeightOrder::forward: return {p + (ob * (a.c_physical / lanes) + cb) * taps * square, square, lanes};
    case WeightOrder::backward: return {p + (cb * (a.o_physical / lanes) + ob) * taps * square, square, lanes};
    case WeightOrder::turned:
      return {p + ((cb * (a.o_physical / lanes) + ob) * taps + taps - 1) * square, -square, lanes};
    case WeightOrder::depthwise: return {p + ob * taps * lanes, lanes, 0};
    case WeightOrder::planes: return {p + (ob * a.c_physical + cb * lanes) * taps * lanes, lanes, taps * lanes};
    case WeightOrder::plain: break;
  }
  return {p, 0, 0};
}

/// body(ob, cb) for all blocks; in the plain order "blocks" of o are single channels.
template <class Body>
SN_INLINE void for_each_block(const WeightArgs& a, const Body& body) {
  const bool plain = a.order == WeightOrder::plain, depthwise = a.order == WeightOrder::depthwise;
  const index_t os = plain ? a.o_physical : (a.o_physical + lanes - 1) / lanes;
  const index_t cs = plain || depthwise ? 1 : (a.c_physical + lanes - 1) / lanes, tasks = os * cs;
#pragma omp parallel for schedule(static) if (tasks > 1)
  for (index_t t = 0; t < tasks; ++t) body(t / cs, t % cs);
}

void pack_block(const WeightArgs& a, index_t ob, index_t cb) {
  const index_t taps = a.kh * a.kw;
  const Packed<float> to = packed(a, a.to, ob, cb);
  if (a.order == WeightOrder::depthwise) return pack_columns(lanes_of_o(a, a.from, ob), 0, taps, taps, 0, to);
  if (a.order == WeightOrder::forward || a.order == WeightOrder::planes) {
    const Rows<const float> rows = lanes_of_o(a, a.from, ob);
    return for_each_run(a, cb * lanes, least((cb + 1) * lanes, a.c_physical),
                        [&](index_t first, index_t columns, index_t c, bool hole) SN_INLINE_BODY {
                          if (!hole) return pack_columns(rows, first, columns, taps, c, to);
                          for (index_t t = 0; t < taps; ++t) store(to.base + t * to.by_tap + c * to.by_channel, zero());
                        });
  }
  Rows<const float> rows = lanes_of_c(a, a.from, cb);
  const bool vector = one_vector(rows, taps);
  for (index_t o = 0; o < lanes; ++o) {
    const index_t lo = logical(a.o_map, ob * lanes + o, a.o);
    rows.base = a.from + most(0, lo) * a.c * taps;
    if (lo < 0)
      for (index_t t = 0; t < taps; ++t) store(to.base + t * to.by_tap + o * lanes, zero());
    else if (vector)
      store(to.base + o * lanes, load(rows.row(0)));
    else
      pack_columns(rows, 0, taps, taps, o, to);
  }
}

void unpack_block(const WeightArgs& a, index_t ob, index_t cb) {
  const index_t taps = a.kh * a.kw;
  const Packed<const float> from = packed(a, a.from, ob, cb);
  if (a.order == WeightOrder::depthwise) return unpack_columns(lanes_of_o(a, a.to, ob), 0, taps, taps, 0, from, a.add);
  if (a.order == WeightOrder::forward || a.order == WeightOrder::planes) {
    const Rows<float> rows = lanes_of_o(a, a.to, ob);
    return for_each_run(a, cb * lanes, least((cb + 1) * lanes, a.c_physical),
                        [&](index_t first, index_t columns, index_t c, bool hole) SN_INLINE_BODY {
                          if (!hole) unpack_columns(rows, first, columns, taps, c, from, a.add);
                        });
  }
  Rows<float> rows = lanes_of_c(a, a.to, cb);
  const bool vector = one_vector(rows, taps);
  for (index_t o = 0; o < lanes; ++o) {
    const index_t lo = logical(a.o_map, ob * lanes + o, a.o);
    if (lo < 0) continue;
    rows.base = a.to + lo * a.c * taps;
    if (vector)
      store(rows.row(0),
            a.add ? simd::add(load(rows.row(0)), load(from.base + o * lanes)) : load(from.base + o * lanes));
    else
      unpack_columns(rows, 0, taps, taps, o, from, a.add);
  }
}

}  // namespace

void pack_weights(const WeightArgs& a) noexcept {
  const index_t taps = a.kh * a.kw;
  for_each_block(a, [&](index_t ob, index_t cb) SN_INLINE_BODY {
    if (a.order != WeightOrder::plain) return pack_block(a, ob, cb);
    const index_t lo = logical(a.o_map, ob, a.o);
    for (index_t c = 0; c < a.c_physical; ++c) {
      const index_t lc = logical(a.c_map, c, a.c);
      for (index_t t = 0; t < taps; ++t)
        a.to[(ob * a.c_physical + c) * taps + t] = lo < 0 || lc < 0 ? 0 : a.from[(lo * a.c + lc) * taps + t];
    }
  });
}

void unpack_weights(const WeightArgs& a) noexcept {
  const index_t taps = a.kh * a.kw;
  for_each_block(a, [&](index_t ob, index_t cb) SN_INLINE_BODY {
    if (a.order != WeightOrder::plain) return unpack_block(a, ob, cb);
    const index_t lo = logical(a.o_map, ob, a.o);
    for (index_t c = 0; lo >= 0 && c < a.c_physical; ++c) {
      const index_t lc = logical(a.c_map, c, a.c);
      for (index_t t = 0; lc >= 0 && t < taps; ++t) {
        float& to = a.to[(lo * a.c + lc) * taps + t];
        to = a.from[(ob * a.c_physical + c) * taps + t] + (a.add ? to : 0);
      }
    }
  });
}

}  // namespace slimneck::kernels::SN_ISA
