// How often depthwise convolutions read their input from global memory: counted, for the maps of networks.
#include "bench.hpp"
#include "device.hpp"
#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/strips.hpp"

using namespace slimneck;
using cuda_cases::Bench;
using cuda_cases::DeviceMap;
namespace cuda = kernels::cuda;

namespace {

/// Reads for each element of x.
double reads(const Shape& x, index_t kernel, index_t stride) {
  const kernels::Conv2d geometry{stride, kernel / 2, kernel / 2, 1, x.c};
  Bench bench;
  const DeviceMap map(bench, x, {}), w(bench, Shape{x.c, 1, kernel, kernel}, {}),
      y(bench, Shape{x.n, x.c, (x.h - 1) / stride + 1, (x.w - 1) / stride + 1}, {});
  emulation::Device& device = emulation::Device::instance();
  device.only = emulation::Schedule{};
  const std::uint64_t before = device.copied();
  cuda::depthwise_fwd(bench.stream, map.read(), w.read(), y.view(), geometry, {});
  bench.stream.wait();
  return static_cast<double>(device.copied() - before) / static_cast<double>(x.numel() * index_t{sizeof(float)});
}

/// Threads of a block that have an output in the map, all blocks counted.
template <int kernel>
double used(int planes, int side) {
  const cuda::StripTile tile = cuda::strip_tile<kernel, 1>(planes, side, side);
  const cuda::Grid grid = cuda::strip_grid(tile, planes);
  return planes * side * side / static_cast<double>(cuda::strip * grid.blocks.x * grid.threads.x);
}

}  // namespace

TEST_CASE("depthwise convolutions read an element at most one and a half times") {
  for (const index_t side : {160, 80, 40, 20, 10})
    for (const index_t kernel : {3, 5}) {
      CAPTURE(side);
      CAPTURE(kernel);
      const Shape x{1, side < 40 ? 9 : 1, side, side};
      CHECK(reads(x, kernel, 1) <= 1.5);
      CHECK(reads(x, kernel, 2) <= 1.5);
      CHECK(reads(x, kernel, 1) >= 1);
    }
}

TEST_CASE("tiles of depthwise convolutions leave few threads without work") {
  for (const int side : {160, 80, 40, 20}) {
    CAPTURE(side);
    CHECK(used<3>(64, side) >= 0.85);
    CHECK(used<5>(64, side) >= 0.85);
  }
}
