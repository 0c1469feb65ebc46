// Walking over several blocked maps of one extent at once, in the longest contiguous rows that all of them have. For
// kernel bodies.
#pragma once

#include "kernels/simd.hpp"

namespace {
namespace simd {

struct Strides {
  index_t n, b, h;
};

/// Rows of `floats` contiguous floats, each cut into pieces.
struct Rows {
  index_t n, blocks, rows, floats, pieces;
};

/// Floats of a piece: a multiple of every lane count, small enough for tasks of a whole network's smaller maps to keep
/// several threads busy, large enough to hide what a task costs.
inline constexpr index_t piece_floats = 8192;

/// Rows become one where they follow one another in all maps; blocks and images as well.
template <int M>
SN_INLINE Rows rows_of(index_t n, index_t blocks, index_t h, index_t w, const Strides (&maps)[M]) {
  Rows r{n, blocks, h, w * lanes, 1};
  bool dense = true;
  for (const Strides& s : maps) dense = dense && (h <= 1 || s.h == r.floats);
  if (dense) {
    r.rows = 1;
    r.floats *= h;
    for (const Strides& s : maps) dense = dense && (blocks <= 1 || s.b == r.floats);
  }
  if (dense) {
    r.blocks = 1;
    r.floats *= blocks;
    for (const Strides& s : maps) dense = dense && (n <= 1 || s.n == r.floats);
  }
  if (dense) {
    r.n = 1;
    r.floats *= n;
  }
  r.pieces = (r.floats + piece_floats - 1) / piece_floats;
  return r;
}

/// body(at, count) for every piece: at[m] is its offset in map m, count its floats, a multiple of the lanes.
template <int M, class Body>
SN_INLINE void for_each_piece(const Rows& r, const Strides (&maps)[M], const Body& body) {
  const index_t tasks = r.n * r.blocks * r.rows * r.pieces;
#pragma omp parallel for schedule(static) if (tasks > 1)
  for (index_t t = 0; t < tasks; ++t) {
    const index_t piece = t % r.pieces, row = t / r.pieces % r.rows;
    const index_t b = t / (r.pieces * r.rows) % r.blocks, n = t / (r.pieces * r.rows * r.blocks);
    index_t at[M];
    for (int m = 0; m < M; ++m) at[m] = n * maps[m].n + b * maps[m].b + row * maps[m].h + piece * piece_floats;
    body(at, least(piece_floats, r.floats - piece * piece_floats));
  }
}

}  // namespace simd
}  // namespace
