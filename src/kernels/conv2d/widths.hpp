// How output blocks and pixels are shared out over register tiles, for kernel bodies.
//
// Output blocks go in twos; an odd count ends with a group of three (narrower tiles, 12 loads for 27 multiply-adds),
// and only a single block stays alone (21 loads for 20). A row of pixels is cut into tiles of nearly equal width,
// because a short last tile wastes more than slightly narrower ones. Tile functions for each width lie in a table per
// group size.
#pragma once

#include "kernels/args.hpp"
#include "kernels/conv2d/tile.hpp"

namespace {
namespace simd {

/// Blocks of the group that begins at block b, of `blocks`: 2, or 3 or 1 for the last of an odd count.
SN_INLINE int group_size(index_t blocks, index_t b) {
  const index_t rest = blocks - b;
  return rest == 1 || rest == 3 ? static_cast<int>(rest) : 2;
}
SN_INLINE index_t group_count(index_t blocks) { return most(blocks / 2, least(blocks, 1)); }

/// Widest tile of 1, 2 and 3 blocks: accumulators, weights and one broadcast fill 32 or 16 registers.
inline constexpr int widest[4] = {0, tile_pixels == 14 ? 20 : 10, tile_pixels, tile_pixels == 14 ? 9 : 4};

/// Widest tile whose stores are done while the next one is computed: 16 of 512 bits. A core of the Zen 4 generation
/// takes two cycles for each, and more of them in a row wait (28 cost 60 cycles a tile, 14 % with one input block).
inline constexpr int narrow[4] = {0, lanes == 16 ? 16 : widest[1], lanes == 16 ? 8 : widest[2],
                                  lanes == 16 ? 5 : widest[3]};

/// Where sums rest in y between input blocks: long rows, whose y comes from far, take the narrow tiles; in short ones
/// these are 1 % slower.
SN_INLINE int widest_in_row(index_t pixels, int out) { return (pixels < 40 ? widest : narrow)[out]; }

/// Function of a tile of O blocks and P pixels: fn[O][P].
template <class Function>
struct Table {
  Function fn[4][widest[1] + 1];
};

/// Fills a table from Make<O, P>::fn.
template <class Function, template <int, int> class Make, int O, int P>
constexpr void fill_widths(Table<Function>& t) {
  t.fn[O][P] = Make<O, P>::fn;
  if constexpr (P > 1) fill_widths<Function, Make, O, P - 1>(t);
}
template <class Function, template <int, int> class Make>
constexpr Table<Function> table_of_widths() {
  Table<Function> t{};
  fill_widths<Function, Make, 1, widest[1]>(t);
  fill_widths<Function, Make, 2, widest[2]>(t);
  fill_widths<Function, Make, 3, widest[3]>(t);
  return t;
}

/// `count` pixels as tiles: tile t has width(t) of them, the first `wider` one more than the others.
struct Cut {
  index_t tiles, narrow, wider;
  SN_INLINE index_t width(index_t t) const { return narrow + (t < wider ? 1 : 0); }
};
SN_INLINE Cut cut(index_t count, index_t width) {
  const index_t tiles = most(1, (count + width - 1) / width);
  return {tiles, count / tiles, count % tiles};
}

/// run(image, strip, first output block, blocks of the group) for every task of a kernel that writes strips of rows.
template <class Run>
SN_INLINE void for_each_task(const slimneck::kernels::ConvArgs& a, Run run) {
  const index_t strips = (a.oh + a.strip - 1) / a.strip, groups = group_count(a.y_blocks);
#pragma omp parallel for collapse(3) schedule(static)
  for (index_t n = 0; n < a.n; ++n)
    for (index_t s = 0; s < strips; ++s)
      for (index_t g = 0; g < groups; ++g) run(n, s, 2 * g, group_size(a.y_blocks, 2 * g));
}

}  // namespace simd
}  // namespace
