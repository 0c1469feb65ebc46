// What stands in for tensor cores on an emulated device: the layout of the fragments, and the rounding.
#include "bench.hpp"
#include "kernels/cuda/mma.hpp"

using namespace slimneck;
using cuda_cases::Bench;
using cuda_cases::DeviceArray;
namespace cuda = kernels::cuda;

namespace {

constexpr int rows = 16, columns = 8, terms = 8, warps = 2;

/// c += a b for each warp, row by row in memory, with the places of fragments as the PTX ISA tells them.
__global__ void multiply(const float* a, const float* b, float* c) {
  const int own = cuda::thread_x() / cuda::warp, lane = cuda::thread_x() % cuda::warp, g = lane / 4, t = lane % 4;
  a += own * rows * terms;
  b += own * terms * columns;
  c += own * rows * columns;
  const float left[] = {a[g * terms + t], a[(g + 8) * terms + t], a[g * terms + t + 4], a[(g + 8) * terms + t + 4]};
  const float right[] = {b[t * columns + g], b[(t + 4) * columns + g]};
  const int places[] = {g * columns + 2 * t, g * columns + 2 * t + 1, (g + 8) * columns + 2 * t,
                        (g + 8) * columns + 2 * t + 1};
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = c[places[i]];
  cuda::multiply_tf32(sums, left, right);
  for (int i = 0; i < 4; ++i) c[places[i]] = sums[i];
}

std::vector<float> whole_numbers(int count, int step) {
  std::vector<float> v(static_cast<std::size_t>(count));
  for (int i = 0; i < count; ++i) v[static_cast<std::size_t>(i)] = static_cast<float>(i * step % 37 - 18);
  return v;
}

}  // namespace

TEST_CASE("a product of tensor cores is one of matrices") {
  Bench bench;
  const std::vector<float> a = whole_numbers(warps * rows * terms, 5), b = whole_numbers(warps * terms * columns, 7),
                           c = whole_numbers(warps * rows * columns, 11);
  const DeviceArray<float> da(bench, a), db(bench, b);
  DeviceArray<float> dc(bench, c);
  cuda::launch(bench.stream, "multiply", multiply, cuda::Grid{{1}, {warps * cuda::warp}}, da.data(), db.data(),
               dc.data());
  const std::vector<float>& got = dc.values();
  for (int w = 0; w < warps; ++w)
    for (int i = 0; i < rows; ++i)
      for (int j = 0; j < columns; ++j) {
        const auto at = static_cast<std::size_t>((w * rows + i) * columns + j);
        float want = c[at];
        for (int k = 0; k < terms; ++k)
          want += a[static_cast<std::size_t>((w * rows + i) * terms + k)] *
                  b[static_cast<std::size_t>((w * terms + k) * columns + j)];
        CHECK(got[at] == want);
      }
}

TEST_CASE("numbers are rounded to 10 bits of mantissa, halves away from zero") {
  CHECK(cuda::to_tf32(2047.F) == 2047.F);
  CHECK(cuda::to_tf32(1.F + 0x1p-11F) == 1.F + 0x1p-10F);
  CHECK(cuda::to_tf32(-1.F - 0x1p-11F) == -1.F - 0x1p-10F);
  CHECK(cuda::to_tf32(1.F + 0x1.ffep-12F) == 1.F);
  CHECK(cuda::to_tf32(INFINITY) == INFINITY);
  CHECK(std::isnan(cuda::to_tf32(NAN)));
}
