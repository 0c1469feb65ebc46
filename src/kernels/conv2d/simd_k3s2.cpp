// 3x3 convolution, stride 2, border of one pixel: see k3.hpp.
#include "kernels/conv2d/k3.hpp"
#include "kernels/declare.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder

template <int O, int P>
struct Make {
  static constexpr k3::Tile fn = k3::tile<O, P, 2>;
};
constexpr Table<k3::Tile> table = table_of_widths<k3::Tile, Make>();

}  // namespace

void conv_k3s2(const ConvArgs& a) noexcept { k3::run<2>(a, table); }

}  // namespace slimneck::kernels::SN_ISA
