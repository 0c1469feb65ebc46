// Depthwise CUDA convolutions over the table of shapes of the kernels for the CPU: exact on whole numbers, within the
// bound of their sums on others.
#include "bench.hpp"
#include "kernels/cuda/kernels.hpp"

using namespace slimneck;
using namespace slimneck::table;
using cuda_cases::Bench;
using cuda_cases::DeviceArray;
using cuda_cases::DeviceMap;
using cuda_cases::name_of;
using cuda_cases::place_of;
using cuda_cases::run_case;
namespace cuda = kernels::cuda;

namespace {

void check_depthwise(const ConvProblem& p, const Placement& at) {
  Bench bench;
  const DeviceMap x(bench, p.x, at), w(bench, p.w, at), dy(bench, p.dy, at), y(bench, p.row.y(), at),
      dx(bench, p.row.x, at), dw(bench, p.row.w(), at);
  const DeviceArray<float> workspace(bench, cuda::depthwise_workspace(p.row.w(), p.row.y()));
  run_case(name_of("depthwise", "fwd", p.row), [&] {
    cuda::depthwise_fwd(bench.stream, x.read(), w.read(), y.view(), p.row.g, {});
    CHECK(mismatches(y.finished(), p.y) == 0);
  });
  run_case(name_of("depthwise", "bwd_x", p.row), [&] {
    cuda::depthwise_bwd_x(bench.stream, dy.read(), w.read(), dx.view(), p.row.g);
    CHECK(mismatches(dx.finished(), p.dx) == 0);
  });
  run_case(name_of("depthwise", "bwd_w", p.row), [&] {
    cuda::depthwise_bwd_w(bench.stream, x.read(), dy.read(), dw.view(), p.row.g, workspace.data());
    CHECK(mismatches(dw.finished(), p.dw) == 0);
  });
}

}  // namespace

TEST_CASE("depthwise convolutions") {
  std::size_t i = 0;
  for (ConvRow row : conv_rows()) {
    ++i;
    if (!row.depthwise()) continue;
    // Channels do not see each other: few are enough for an emulated device, and not a multiple of those that share a
    // block.
    constexpr index_t few = 6;
    if (!cuda_cases::real_device) row.x.c = row.o = row.g.groups = std::min(row.o, few);
    check_depthwise(ConvProblem(row, Fill::integers), place_of(i));
    if (i % 3 == 0) check_depthwise(ConvProblem(row, i % 2 == 0 ? Fill::positives : Fill::reals), place_of(i + 1));
  }
}
