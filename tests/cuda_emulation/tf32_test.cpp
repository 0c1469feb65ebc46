// Dense CUDA convolutions on tensor cores.
#include "bench.hpp"
#include "kernels/cuda/kernels.hpp"

using namespace slimneck;
using namespace slimneck::table;
using cuda_cases::Bench;
using cuda_cases::DeviceArray;
using cuda_cases::DeviceMap;
using cuda_cases::name_of;
using cuda_cases::run_case;
namespace cuda = kernels::cuda;

TEST_CASE("tensor cores: numbers of 11 bits are exact, others are rounded to them") {
  // Rounding each of two factors is off by at most 2^-11 of it.
  constexpr double rounded = 0x1p-10;
  for (const ConvRow& row :
       {ConvRow{{2, 5, 7, 9}, 7, 3, 3, {2, 1, 1}}, ConvRow{{1, 20, 6, 10}, 70, 1, 1, {}},
        ConvRow{{1, 40, 4, 4}, 33, 3, 3, {1, 1, 1}}, ConvRow{{1, 6, 5, 6}, 8, 3, 3, {1, 2, 2, 2, 2}}})
    for (const Fill fill : {Fill::integers, Fill::reals}) {
      ConvProblem p(row, fill);
      if (fill == Fill::reals)
        for (Want* want : {&p.y, &p.dx}) want->factor += rounded;
      Bench bench;
      bench.stream.set_tf32(true);
      const DeviceMap x(bench, p.x, {}), w(bench, p.w, {}), dy(bench, p.dy, {}), y(bench, row.y(), {}),
          dx(bench, row.x, {});
      const DeviceArray<float> workspace(bench, cuda::conv2d_workspace(row.x, row.w(), row.y(), row.g));
      run_case(name_of("conv2d", "fwd", row).with("tf32"), [&] {
        cuda::conv2d_fwd(bench.stream, x.read(), w.read(), y.view(), row.g, {}, workspace.data());
        CHECK(mismatches(y.finished(), p.y) == 0);
      });
      run_case(name_of("conv2d", "bwd_x", row).with("tf32"), [&] {
        cuda::conv2d_bwd_x(bench.stream, dy.read(), w.read(), dx.view(), row.g, workspace.data());
        CHECK(mismatches(dx.finished(), p.dx) == 0);
      });
    }
}

TEST_CASE("large tiles of tensor cores") {
  const ConvProblem p({{2, 1, 131, 130}, 65, 1, 1, {}}, Fill::integers);
  Bench bench;
  bench.stream.set_tf32(true);
  const DeviceMap x(bench, p.x, {}), w(bench, p.w, {}), y(bench, p.row.y(), {});
  const DeviceArray<float> workspace(bench, cuda::conv2d_workspace(p.row.x, p.row.w(), p.row.y(), p.row.g));
  run_case(name_of("conv2d", "fwd", p.row).with("tf32"), [&] {
    cuda::conv2d_fwd(bench.stream, x.read(), w.read(), y.view(), p.row.g, {}, workspace.data());
    CHECK(mismatches(y.finished(), p.y) == 0);
  });
}
