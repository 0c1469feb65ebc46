// Winograd convolution of a plain picture: y = A^T [ sum over channels of U[channel] * (B^T x[channel] B) ] A, where
// the channels are its phases; see winograd_stem.hpp.
#include "kernels/conv2d/winograd_frame.hpp"
#include "kernels/conv2d/winograd_stem.hpp"
#include "kernels/declare.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder
using winograd::Place;

struct Stem : stem::Form {
  static constexpr int output_phases = 1;
  template <int Phase>
  static SN_INLINE void output(const ConvArgs& a, const Place& at, index_t block, const float* m, index_t plane) {
    winograd::output_tile<4, 6>(a, at, block, m, plane);
  }
};

void transform(const ConvArgs& a, const WinogradPlan& p, index_t batch, index_t count, float* v) {
  winograd::Tiles tiles(p, batch);
  for (index_t t = 0; t < count; ++t, tiles.next()) {
    const Place at = tiles.place();
    if (at.column == 0) stem::transform_row(a, at.n, at.row, p.columns, v + p.input, v + t * lanes, p.block, p.v_plane);
  }
}

}  // namespace

void winograd4_stem_conv(const ConvArgs& args) noexcept {
  ConvArgs a = args;
  a.x_blocks = Stem::blocks;
  winograd::convolve<Stem>(a, transform);
}

void winograd4_stem_prepare(const WeightArgs& a) noexcept {
  const index_t out = a.o_physical / lanes;
  for (index_t o = 0; o < out; ++o)
    for (index_t i = 0; i < 12; ++i) {
      alignas(64) float taps[9 * lanes] = {};
      for (index_t t = 0; t < 9 && i / 4 < a.c_physical; ++t)
        store(taps + t * lanes, load(a.from + o * a.c_physical * 36 * lanes + stem::tap_at(i, t)));
      Stem::weights(taps, lanes,
                    winograd::PreparedAt<Stem>{a.to, o, out, i / Stem::channels, Stem::blocks, i % Stem::channels});
    }
}

}  // namespace slimneck::kernels::SN_ISA
