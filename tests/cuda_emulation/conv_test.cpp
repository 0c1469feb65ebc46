// Dense CUDA convolutions over the table of shapes of the kernels for the CPU: exact on whole numbers, within the bound
// of their sums on others; what comes at the end of convolutions; GSConv.
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
using kernels::Act;
using kernels::Write;
namespace cuda = kernels::cuda;

namespace {

void check_dense(const ConvProblem& p, const Placement& at) {
  Bench bench;
  const DeviceMap x(bench, p.x, at), w(bench, p.w, at), dy(bench, p.dy, at), y(bench, p.row.y(), at),
      dx(bench, p.row.x, at), dw(bench, p.row.w(), at);
  const DeviceArray<float> workspace(bench, cuda::conv2d_workspace(p.row.x, p.row.w(), p.row.y(), p.row.g));
  run_case(name_of("conv2d", "fwd", p.row), [&] {
    cuda::conv2d_fwd(bench.stream, x.read(), w.read(), y.view(), p.row.g, {}, workspace.data());
    CHECK(mismatches(y.finished(), p.y) == 0);
  });
  run_case(name_of("conv2d", "bwd_x", p.row), [&] {
    cuda::conv2d_bwd_x(bench.stream, dy.read(), w.read(), dx.view(), p.row.g, workspace.data());
    CHECK(mismatches(dx.finished(), p.dx) == 0);
  });
  run_case(name_of("conv2d", "bwd_w", p.row), [&] {
    cuda::conv2d_bwd_w(bench.stream, x.read(), dy.read(), dw.view(), p.row.g, workspace.data());
    CHECK(mismatches(dw.finished(), p.dw) == 0);
  });
}

/// act(sum * scale + bias) + residual, in double.
Tensor finished(const Tensor& sum, const Tensor& scale, const Tensor& bias, const kernels::Activation& act,
                const Tensor& residual) {
  Tensor y(sum.shape(), DType::f64);
  const View<double> to = y.view<double>();
  const Shape& s = sum.shape();
  for (index_t n = 0; n < s.n; ++n)
    for (index_t c = 0; c < s.c; ++c)
      for (index_t h = 0; h < s.h; ++h)
        for (index_t w = 0; w < s.w; ++w) {
          const double factor = static_cast<double>(scale.data<float>()[c]),
                       more = static_cast<double>(bias.data<float>()[c]);
          to.at(n, c, h, w) = kernels::act_value(act, sum.view<double>().at(n, c, h, w) * factor + more) +
                              static_cast<double>(residual.view<float>().at(n, c, h, w));
        }
  return y;
}

/// Finishes of a convolution: the results of set, of add and of what is there when adding begins.
void check_finish(const ConvRow& row) {
  const ConvProblem p(row, Fill::integers);
  const Shape channels{1, row.o, 1, 1};
  const Tensor scale = random_tensor(channels, Fill::integers, 5), residual = random_tensor(row.y(), Fill::integers, 6);
  const kernels::Activation act{Act::leaky_relu, 0.25};  // exact on whole numbers
  const Tensor want = finished(p.y.value, scale, p.bias, act, residual);
  Tensor twice = want;
  for (index_t i = 0; i < twice.numel(); ++i) twice.data<double>()[i] *= 2;

  Bench bench;
  const DeviceMap x(bench, p.x, {}), w(bench, p.w, {}), ds(bench, scale, {}), db(bench, p.bias, {}),
      dr(bench, residual, {}), y(bench, row.y(), {}), sum(bench, want.to(DType::f32), {});
  const kernels::fast::Finish finish{ds.read(), db.read(), act, dr.read()};
  const DeviceArray<float> workspace(bench, cuda::conv2d_workspace(row.x, row.w(), row.y(), row.g));
  const auto run = [&](const View<float>& to, Write write) {
    if (row.depthwise())
      cuda::depthwise_fwd(bench.stream, x.read(), w.read(), to, row.g, finish, write);
    else
      cuda::conv2d_fwd(bench.stream, x.read(), w.read(), to, row.g, finish, workspace.data(), write);
  };
  run_case(name_of(row.depthwise() ? "depthwise" : "conv2d", "fwd", row).with("with all that may follow"), [&] {
    run(y.view(), Write::set);
    run(sum.view(), Write::add);
    CHECK(mismatches(y.finished(), {want, {}, 0}) == 0);
    CHECK(mismatches(sum.finished(), {twice, {}, 0}) == 0);
  });
}

}  // namespace

TEST_CASE("dense convolutions") {
  // An emulated device takes every third row, and of those with many multiply-adds none.
  constexpr index_t many = 800000;
  std::size_t i = 0;
  for (const ConvRow& row : conv_rows()) {
    ++i;
    if (!cuda_cases::real_device && (i % 3 != 0 || name_of("", "", row).work > many)) continue;
    check_dense(ConvProblem(row, Fill::integers), place_of(i));
    if (i % 2 == 0) check_dense(ConvProblem(row, i % 4 == 0 ? Fill::positives : Fill::reals), place_of(i + 1));
  }
}

TEST_CASE("large tiles of dense convolution") {
  // 65 channels and 34060 pixels: the fewest that get them.
  const ConvProblem p({{2, 1, 131, 130}, 65, 3, 3, {1, 1, 1}}, Fill::integers);
  Bench bench;
  const DeviceMap x(bench, p.x, {}), w(bench, p.w, {}), y(bench, p.row.y(), {});
  const DeviceArray<float> workspace(bench, cuda::conv2d_workspace(p.row.x, p.row.w(), p.row.y(), p.row.g));
  run_case(name_of("conv2d", "fwd", p.row), [&] {
    cuda::conv2d_fwd(bench.stream, x.read(), w.read(), y.view(), p.row.g, {}, workspace.data());
    CHECK(mismatches(y.finished(), p.y) == 0);
  });
}

TEST_CASE("four pixels at a time, and sums that are cut into slices") {
  // 1x1 on aligned maps of whole vectors, of two images, and of groups; small maps with many terms, of two groups too.
  for (const ConvRow& row : {ConvRow{{2, 20, 6, 10}, 19, 1, 1, {}}, ConvRow{{1, 8, 5, 12}, 6, 1, 1, {1, 0, 0, 1, 2}},
                             ConvRow{{1, 70, 4, 4}, 33, 3, 3, {1, 1, 1}}, ConvRow{{2, 300, 3, 3}, 5, 1, 1, {}},
                             ConvRow{{1, 64, 5, 6}, 6, 3, 3, {2, 1, 1, 1, 2}}}) {
    check_dense(ConvProblem(row, Fill::integers), {});
    check_dense(ConvProblem(row, Fill::reals), {});
    check_finish(row);
  }
}

TEST_CASE("packed weights: with room for slices in the same bits, without it in one launch") {
  for (const ConvRow& row : {ConvRow{{1, 70, 4, 4}, 33, 3, 3, {1, 1, 1}}, ConvRow{{2, 5, 7, 9}, 7, 3, 3, {2, 1, 1}},
                             ConvRow{{2, 300, 3, 3}, 5, 1, 1, {}}, ConvRow{{2, 290, 6, 10}, 39, 1, 1, {}},
                             ConvRow{{1, 64, 5, 6}, 6, 3, 3, {2, 1, 1, 1, 2}}}) {
    const ConvProblem p(row, Fill::reals);
    Bench bench;
    const DeviceMap x(bench, p.x, {}), w(bench, p.w, {}), y(bench, row.y(), {}), again(bench, row.y(), {}),
        once(bench, row.y(), {});
    const DeviceArray<float> workspace(bench, cuda::conv2d_workspace(row.x, row.w(), row.y(), row.g)),
        packed(bench, cuda::conv2d_packed_size(row.w(), row.g)),
        parts(bench, cuda::conv2d_packed_workspace(row.w(), row.y(), row.g));
    run_case(name_of("conv2d", "fwd", row).with("packed"), [&] {
      const View<const float> shape(nullptr, row.w());
      cuda::conv2d_fwd(bench.stream, x.read(), w.read(), y.view(), row.g, {}, workspace.data());
      cuda::conv2d_pack(bench.stream, x.read(), w.read(), row.g, packed.data());
      cuda::conv2d_fwd_packed(bench.stream, x.read(), shape, again.view(), row.g, {}, packed.data(), parts.data());
      cuda::conv2d_fwd_packed(bench.stream, x.read(), shape, once.view(), row.g, {}, packed.data(), nullptr);
      CHECK(same_bits(again.finished(), y.finished()));
      CHECK(mismatches(once.finished(), p.y) == 0);
    });
  }
}

TEST_CASE("scale, bias, activation and residual at the end of convolutions, set and added") {
  check_finish({{2, 5, 7, 9}, 7, 3, 3, {2, 1, 1}});
  check_finish({{1, 6, 4, 5}, 4, 1, 1, {1, 0, 0, 1, 2}});
  check_finish({{2, 5, 11, 9}, 5, 5, 5, {1, 2, 2, 1, 5}});
  check_finish({{1, 3, 9, 8}, 3, 3, 3, {1, 2, 2, 2, 3}});
}

TEST_CASE("GSConv in two kernels: both halves go to every other channel, no pass for concatenation and shuffle") {
  const kernels::Activation act{Act::leaky_relu, 0.25};
  for (const index_t half : {4, 5}) {
    const ConvProblem dense({{2, 3, 9, 11}, half, 3, 3, {2, 1, 1}}, Fill::integers);
    const Shape shape = dense.row.y(), both{shape.n, 2 * half, shape.h, shape.w};
    const Tensor taps = random_tensor({half, 1, 5, 5}, Fill::integers, 7);
    const kernels::Conv2d depthwise{1, 2, 2, 1, half};
    Tensor a(shape, DType::f64), b(shape, DType::f64), want(both, DType::f64);
    kernels::act_fwd<double>(dense.y.value.view<double>(), a.view<double>(), act);
    kernels::conv2d_fwd<double>(a.view<double>(), taps.to(DType::f64).view<double>(), {}, b.view<double>(), depthwise);
    kernels::act_fwd<double>(b.view<double>(), b.view<double>(), act);
    kernels::copy<double>(a.view<double>(), want.view<double>().channels(0, half, 2));
    kernels::copy<double>(b.view<double>(), want.view<double>().channels(1, half, 2));

    Bench bench;
    const DeviceMap x(bench, dense.x, {}), w1(bench, dense.w, {}), w2(bench, taps, {}), y(bench, both, {});
    const DeviceArray<float> workspace(bench, cuda::conv2d_workspace(dense.row.x, dense.row.w(), shape, dense.row.g));
    const View<float> first = y.view().channels(0, half, 2), second = y.view().channels(1, half, 2);
    run_case(name_of("gsconv", "fwd", dense.row), [&] {
      cuda::conv2d_fwd(bench.stream, x.read(), w1.read(), first, dense.row.g, {{}, {}, act, {}}, workspace.data());
      cuda::depthwise_fwd(bench.stream, first, w2.read(), second, depthwise, {{}, {}, act, {}});
      CHECK(mismatches(y.finished(), {want, {}, 0}) == 0);
    });
  }
}
