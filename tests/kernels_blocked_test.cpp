// The convolution on blocked views against the scalar specification: exact on integers, in blocks of 8 and 16.
#include <doctest/doctest.h>

#include <vector>

#include "golden_case.hpp"
#include "kernels/conv2d/blocked.hpp"

using namespace slimneck;
using namespace slimneck::test;

TEST_SUITE_BEGIN("kernels_blocked");

namespace {

struct Geometry {
  Shape x;
  index_t out, kh, kw, stride, pad_h, pad_w, dilation;
};

// Channels below, at and above a block; widths around the tile; maps of one pixel; taps that miss the picture.
const Geometry table[] = {{{1, 3, 5, 7}, 5, 1, 1, 1, 0, 0, 1},   {{2, 8, 6, 5}, 16, 3, 3, 1, 1, 1, 1},
                          {{1, 16, 9, 8}, 24, 3, 3, 2, 1, 1, 1}, {{3, 17, 1, 1}, 9, 3, 3, 2, 1, 1, 1},
                          {{1, 24, 7, 2}, 8, 5, 5, 1, 2, 2, 1},  {{2, 10, 13, 13}, 33, 6, 6, 2, 2, 2, 1},
                          {{1, 40, 8, 9}, 16, 3, 3, 1, 2, 2, 2}, {{0, 8, 4, 4}, 8, 1, 1, 1, 0, 0, 1},
                          {{1, 9, 4, 6}, 7, 1, 3, 1, 0, 1, 1},   {{1, 8, 10, 11}, 8, 3, 3, 3, 1, 1, 1}};

index_t extent(index_t in, index_t k, index_t pad, const Geometry& g) {
  return (in + 2 * pad - g.dilation * (k - 1) - 1) / g.stride + 1;
}

index_t blocks(index_t channels, index_t v) { return (channels + v - 1) / v; }

/// [O/V][C/V][kh][kw][V of C][V of O].
template <class T>
std::vector<T> packed(const Numbers& w, index_t v) {
  const Shape& s = w.shape;
  std::vector<T> p(static_cast<std::size_t>(blocks(s.n, v) * blocks(s.c, v) * s.h * s.w * v * v), T{0});
  for (index_t o = 0; o < s.n; ++o)
    for (index_t c = 0; c < s.c; ++c)
      for (index_t t = 0; t < s.h * s.w; ++t) {
        const index_t at = (((o / v) * blocks(s.c, v) + c / v) * s.h * s.w + t) * v * v + c % v * v + o % v;
        p[static_cast<std::size_t>(at)] = static_cast<T>(w.at(o, c, t / s.w, t % s.w));
      }
  return p;
}

/// The same numbers with the channels rounded up to whole blocks; the new ones hold zero.
Numbers rounded(const Numbers& x, index_t v) {
  Numbers r({x.shape.n, blocks(x.shape.c, v) * v, x.shape.h, x.shape.w});
  for (index_t n = 0; n < x.shape.n; ++n)
    for (index_t c = 0; c < x.shape.c; ++c)
      for (index_t h = 0; h < x.shape.h; ++h)
        for (index_t w = 0; w < x.shape.w; ++w) r.at(n, c, h, w) = x.at(n, c, h, w);
  return r;
}

template <class T>
void check(const Geometry& g, index_t v) {
  const Numbers x = integers(g.x, 1), w = integers({g.out, g.x.c, g.kh, g.kw}, 2);
  const Shape y{g.x.n, g.out, extent(g.x.h, g.kh, g.pad_h, g), extent(g.x.w, g.kw, g.pad_w, g)};
  const kernels::Conv2d geometry{g.stride, g.pad_h, g.pad_w, g.dilation, 1};

  Guarded<T> plain_x(x, {}), plain_w(w, {}), want(y, {});
  kernels::conv2d_fwd<T>(plain_x.read(), plain_w.read(), {}, want.view(), geometry);

  const Numbers x_blocks = rounded(x, v);
  Guarded<T> in(x_blocks, {v, v, 1, 0}), out({y.n, blocks(y.c, v) * v, y.h, y.w}, {v});
  kernels::conv2d_fwd_blocked<T>(in.read(), packed<T>(w, v).data(), g.kh, g.kw, out.view(), geometry);

  CHECK(out.intact());
  CHECK(same_bits(out.numbers(), rounded(want.numbers(), v)));
}

}  // namespace

TEST_CASE("blocked convolution is exact on integers") {
  for (const Geometry& g : table)
    for (const index_t v : {index_t{8}, index_t{16}}) {
      CAPTURE(to_string(g.x));
      CAPTURE(g.out);
      CAPTURE(v);
      check<float>(g, v);
      check<double>(g, v);
    }
}

TEST_SUITE_END();
