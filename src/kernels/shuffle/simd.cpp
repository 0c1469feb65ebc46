// y[p] = x[list[p]], zeros where list[p] < 0, between blocked and plain maps.
//
// V output channels at a time. Plain -> blocked: V rows of V pixels are transposed in registers, whatever rows they
// are. Blocked -> plain likewise, once for each source block that the V channels come from. Blocked -> blocked: lanes
// are picked out of the source blocks, one permutation for each; shuffles of a network have one or two of them. All of
// it is bound by memory once the maps do not fit into the cache.
#include "kernels/declare.hpp"
#include "kernels/pointwise/rows.hpp"

namespace slimneck::kernels::SN_ISA {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

namespace {

/// Source blocks of V output channels: lane i comes from lane from[k][i] of block[k], for the one k where that is >= 0.
struct Sources {
  index_t count = 0;
  index_t block[lanes];
  int from[lanes][lanes];
};

SN_INLINE Sources sources_of(const index_t* list, index_t channels) {
  Sources s;
  for (index_t i = 0; i < channels; ++i) {
    if (list[i] < 0) continue;
    const index_t block = list[i] / lanes;
    index_t k = 0;
    while (k < s.count && s.block[k] != block) ++k;
    if (k == s.count) {
      s.block[s.count++] = block;
      for (index_t j = 0; j < lanes; ++j) s.from[k][j] = -1;
    }
    s.from[k][i] = static_cast<int>(list[i] % lanes);
  }
  return s;
}

/// Blocked -> blocked, count floats. K source blocks, or 0 for s.count of them.
template <int K>
SN_INLINE void pick_lanes(const Sources& s, const float* x, index_t xb, float* y, index_t count) {
  const index_t k_count = K ? K : s.count;
  Pick picks[K ? K : lanes];
  for (index_t k = 0; k < k_count; ++k) picks[k] = make_pick(s.from[k]);
  for (index_t i = 0; i < count; i += lanes) {
    Vec v = zero();
#pragma GCC unroll 4
    for (index_t k = 0; k < k_count; ++k) v = pick(picks[k], load(x + s.block[k] * xb + i), v);
    store(y + i, v);
  }
}

SN_INLINE bool whole_block(const Sources& s) {
  bool whole = s.count == 1;
  for (index_t i = 0; whole && i < lanes; ++i) whole = s.from[0][i] == static_cast<int>(i);
  return whole;
}

void blocked_to_blocked(const Sources& s, const float* x, index_t xb, float* y, index_t count) {
  if (whole_block(s)) {
    for (index_t i = 0; i < count; i += lanes) store(y + i, load(x + s.block[0] * xb + i));
    return;
  }
  switch (s.count) {
    case 1: return pick_lanes<1>(s, x, xb, y, count);
    case 2: return pick_lanes<2>(s, x, xb, y, count);
    case 3: return pick_lanes<3>(s, x, xb, y, count);
    case 4: return pick_lanes<4>(s, x, xb, y, count);
    default: return pick_lanes<0>(s, x, xb, y, count);
  }
}

/// Plain -> blocked, `pixels` of them.
void plain_to_blocked(const index_t* list, const float* x, index_t xb, float* y, index_t pixels) {
  const float* rows[lanes];
  for (index_t i = 0; i < lanes; ++i) rows[i] = list[i] < 0 ? nullptr : x + list[i] * xb;
  index_t j = 0;
  for (; j + lanes <= pixels; j += lanes) {
    Vec r[lanes];
#pragma GCC unroll 16
    for (index_t i = 0; i < lanes; ++i) r[i] = rows[i] ? load(rows[i] + j) : zero();
    transpose(r);
#pragma GCC unroll 16
    for (index_t i = 0; i < lanes; ++i) store(y + (j + i) * lanes, r[i]);
  }
  for (; j < pixels; ++j)
    for (index_t i = 0; i < lanes; ++i) y[j * lanes + i] = rows[i] ? rows[i][j] : 0;
}

/// Blocked -> plain: `channels` (at most V) rows of `pixels`.
void blocked_to_plain(const Sources& s, index_t channels, const index_t* list, const float* x, index_t xb, float* y,
                      index_t yb, index_t pixels) {
  for (index_t i = 0; i < channels; ++i)
    if (list[i] < 0)
      for (index_t j = 0; j < pixels; ++j) y[i * yb + j] = 0;
  for (index_t k = 0; k < s.count; ++k) {
    const float* block = x + s.block[k] * xb;
    index_t j = 0;
    for (; j + lanes <= pixels; j += lanes) {
      Vec r[lanes];
#pragma GCC unroll 16
      for (index_t i = 0; i < lanes; ++i) r[i] = load(block + (j + i) * lanes);
      transpose(r);
      float rows[lanes][lanes];
      if (whole_block(s) && channels == lanes) {
#pragma GCC unroll 16
        for (index_t i = 0; i < lanes; ++i) store(y + i * yb + j, r[i]);
        continue;
      }
#pragma GCC unroll 16
      for (index_t i = 0; i < lanes; ++i) store(rows[i], r[i]);
      for (index_t i = 0; i < channels; ++i)
        if (s.from[k][i] >= 0) store(y + i * yb + j, load(rows[s.from[k][i]]));
    }
    for (; j < pixels; ++j)
      for (index_t i = 0; i < channels; ++i)
        if (s.from[k][i] >= 0) y[i * yb + j] = block[j * lanes + s.from[k][i]];
  }
}

/// One channel, any blocks.
void one_channel(const GatherArgs& a, index_t n, index_t p) {
  const index_t c = a.list[p];
  const float* x = c < 0 ? nullptr : a.x + n * a.xn + c / a.x_block * a.xb + c % a.x_block;
  float* y = a.y + n * a.yn + p / a.y_block * a.yb + p % a.y_block;
  for (index_t h = 0; h < a.h; ++h)
    for (index_t w = 0; w < a.w; ++w) y[h * a.yh + w * a.y_block] = x ? x[h * a.xh + w * a.x_block] : 0;
}

/// Pixels of a task; a multiple of the lanes.
constexpr index_t piece = 1024;

}  // namespace

void gather_channels(const GatherArgs& a) noexcept {
  const bool fast = (a.x_block == 1 || a.x_block == lanes) && (a.y_block == 1 || a.y_block == lanes) &&
                    (a.x_block == lanes || a.y_block == lanes);
  if (!fast) {
    const index_t tasks = a.n * a.channels;
#pragma omp parallel for schedule(static) if (tasks > 1)
    for (index_t t = 0; t < tasks; ++t) one_channel(a, t / a.channels, t % a.channels);
    return;
  }
  const bool dense = a.xh == a.w * a.x_block && a.yh == a.w * a.y_block;
  const index_t rows = dense ? 1 : a.h, pixels = dense ? a.h * a.w : a.w, pieces = (pixels + piece - 1) / piece;
  const index_t groups = (a.channels + lanes - 1) / lanes, tasks = a.n * groups * pieces;
#pragma omp parallel for schedule(static) if (tasks > 1)
  for (index_t t = 0; t < tasks; ++t) {
    const index_t first = t % pieces * piece, g = t / pieces % groups, n = t / pieces / groups;
    const index_t channels = least(lanes, a.channels - g * lanes), count = least(piece, pixels - first);
    const index_t* list = a.list + g * lanes;
    const float* x = a.x + n * a.xn + first * a.x_block;
    float* y = a.y + n * a.yn + first * a.y_block + (a.y_block == 1 ? g * lanes : g) * a.yb;
    Sources s;
    if (a.x_block != 1) s = sources_of(list, channels);
    for (index_t r = 0; r < rows; ++r) {
      if (a.x_block == 1)
        plain_to_blocked(list, x + r * a.xh, a.xb, y + r * a.yh, count);
      else if (a.y_block == 1)
        blocked_to_plain(s, channels, list, x + r * a.xh, a.xb, y + r * a.yh, a.yb, count);
      else
        blocked_to_blocked(s, x + r * a.xh, a.xb, y + r * a.yh, count * lanes);
    }
  }
}

}  // namespace slimneck::kernels::SN_ISA
