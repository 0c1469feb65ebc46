// Winograd convolution of 3x3 taps and stride 2 by F(MxM, 2x2), M = 4 or 2, see winograd_phases.hpp:
//
//   y         = A^T [ sum over phases and c of U[phase, c] * (B^T x[phase, c] B) ] A
//   dx[phase] = A^T [ sum over o of U'[phase, o] * (B^T dy[o] B) ] A      U' from turned weights
//
// Rows of dx meet the taps of dy as those of x meet those of y, the other way round: with a padding of 1 even rows 2i
// meet u = 1 of row i, and odd rows 2i + 1 meet u = 2 of row i and u = 0 of row i + 1.
#include "kernels/conv2d/winograd_frame.hpp"
#include "kernels/conv2d/winograd_phases.hpp"
#include "kernels/declare.hpp"

namespace slimneck::kernels::SN_ISA {

namespace {

using namespace simd;  // NOLINT(google-build-using-namespace): helpers of this folder
using winograd::Place;

template <int M>
struct Forward : Stride2<M> {
  static constexpr int output_phases = 1;
  template <int Phase>
  static SN_INLINE void output(const ConvArgs& a, const Place& at, index_t block, const float* m, index_t plane) {
    winograd::output_tile<M, M + 1>(a, at, block, m, plane);
  }
};

template <int M>
struct Backward {
  static constexpr int phases = 1, output_phases = 4, channels = lanes;
  static constexpr WinogradForm form = M == 4 ? winograd4s2_back : winograd2s2_back;
  static constexpr index_t first(index_t sum) { return sum; }
  static constexpr index_t plane(index_t sum) { return point_of<M>(sum); }

  template <int Phase>
  static SN_INLINE void input(const ConvArgs& a, const float* dy, index_t row, index_t column, float* v,
                              index_t plane) {
    constexpr int n = M + 1;
    input_at<n, n, 1>(
        dy, a.xh, a.h, a.w, row / 2, column / 2, [=](const float* d, index_t step, index_t pixel) SN_INLINE_BODY {
          phase_input<n, n>(d, step, pixel,
                            [=](int i, int j, Vec t) SN_INLINE_BODY { store(v + (i * n + j) * plane, t); });
        });
  }
  /// M x M pixels of dx, two apart. Rows and columns with two taps are the odd ones.
  template <int Phase>
  static SN_INLINE void output(const ConvArgs& a, const Place& at, index_t block, const float* m, index_t plane) {
    constexpr bool one_row = Phase / 2 == 1, one_column = Phase % 2 == 1;
    const index_t row = at.row + !one_row, column = at.column + !one_column, step = a.yh;
    float* dx = a.y + at.n * a.yn + block * a.yb + row * step + column * lanes;
    const bool sum = a.epilogue.add;
    const auto put = [=](index_t i, index_t j, Vec t) SN_INLINE_BODY {
      float* to = dx + 2 * i * step + 2 * j * lanes;
      store(to, sum ? simd::add(t, load(to)) : t);
    };
    if (row + 2 * M - 2 < a.oh && column + 2 * M - 2 < a.ow)
      phase_output<M, one_row, one_column>(m, plane, put);
    else
      border<one_row, one_column>(m, plane, (a.oh - row + 1) / 2, (a.ow - column + 1) / 2, put);
  }
  template <class Store>
  static SN_INLINE void weights(const float* w, index_t tap, Store to) {
    phases_weights<M>(w, tap, [=](int slice, Vec u) SN_INLINE_BODY { to(slice, 0, u); });
  }

 private:
  /// Of a tile that reaches past the map the first rows x columns pixels.
  template <bool OneRow, bool OneColumn, class Put>
  static void border(const float* m, index_t plane, index_t rows, index_t columns, Put put) {
    alignas(64) float pixels[M * M * lanes];
    phase_output<M, OneRow, OneColumn>(
        m, plane, [&](int i, int j, Vec t) SN_INLINE_BODY { store(pixels + (i * M + j) * lanes, t); });
    for (index_t i = 0; i < least(M, rows); ++i)
      for (index_t j = 0; j < least(M, columns); ++j) put(i, j, load(pixels + (i * M + j) * lanes));
  }
};

}  // namespace

void winograd4s2_conv(const ConvArgs& a) noexcept { winograd::convolve<Forward<4>>(a); }
void winograd2s2_conv(const ConvArgs& a) noexcept { winograd::convolve<Forward<2>>(a); }
void winograd4s2_prepare(const WeightArgs& a) noexcept { winograd::prepare<Forward<4>>(a); }
void winograd2s2_prepare(const WeightArgs& a) noexcept { winograd::prepare<Forward<2>>(a); }
void winograd4s2_bwd_x(const ConvArgs& a) noexcept { winograd::convolve<Backward<4>>(a); }
void winograd2s2_bwd_x(const ConvArgs& a) noexcept { winograd::convolve<Backward<2>>(a); }
void winograd4s2_bwd_x_prepare(const WeightArgs& a) noexcept { winograd::prepare<Backward<4>>(a); }
void winograd2s2_bwd_x_prepare(const WeightArgs& a) noexcept { winograd::prepare<Backward<2>>(a); }

}  // namespace slimneck::kernels::SN_ISA
