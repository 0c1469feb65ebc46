// The parts of a map that partial sums are taken of (see moments.hpp), for kernel bodies.
#pragma once

#include "kernels/norm/args.hpp"
#include "kernels/simd.hpp"

namespace {
namespace simd {

struct Part {
  index_t n, b, row, rows;
  index_t index;  ///< n * strips + strip
};

/// body(part) for every part of blocks [first, last); which thread runs it changes nothing.
template <class Body>
SN_INLINE void for_each_part(index_t n, index_t first, index_t last, index_t h, index_t strip, const Body& body) {
  const index_t strips = slimneck::kernels::strips_of(h, strip), tasks = n * strips * (last - first);
#pragma omp parallel for schedule(static) if (tasks > 1)
  for (index_t t = 0; t < tasks; ++t) {
    Part p;
    const index_t s = t % strips;
    p.b = first + t / strips % (last - first);
    p.n = t / (strips * (last - first));
    p.row = s * strip;
    p.rows = least(strip, h - p.row);
    p.index = p.n * strips + s;
    body(p);
  }
}

/// Blocks whose maps (each of n * h * w * V floats) stay in the cache between two passes over them.
SN_INLINE index_t blocks_in_cache(index_t n, index_t h, index_t w, index_t maps) {
  constexpr index_t bytes = 512 * 1024;
  return most(1, bytes / most(1, n * h * w * lanes * maps * index_t{sizeof(float)}));
}

/// The rows of a part as one long row where the maps have no gaps between rows.
struct Span {
  index_t rows, floats;
};
SN_INLINE Span span_of(index_t rows, index_t w, bool dense) {
  return dense ? Span{1, rows * w * lanes} : Span{rows, w * lanes};
}

}  // namespace simd
}  // namespace
