// One level of the detection head: from logits x[n, a*no + k, i, j] to rows of boxes, with s_k = sigmoid(x_k):
//
//   row = first + (a h + i) w + j
//   y[row] = ((2 s0 - 0.5 + j) stride, (2 s1 - 0.5 + i) stride, (2 s2)^2 aw stride, (2 s3)^2 ah stride, s4, s5, ...)
//
// and, since s' = s (1 - s), the adjoint dx_k = dy_k dy_k/ds s (1 - s).
#include "slimneck/kernels.hpp"

namespace slimneck::kernels {

namespace {

/// A number of the row and its derivative with respect to the logit.
struct Decoded {
  double value, slope;
};

/// Entry k of the row at column or row `cell` (k = 0 or 1), for an anchor side of `side` grid units (k = 2 or 3).
Decoded decode(double logit, index_t k, index_t cell, double side, double stride) {
  const Activation sigmoid{Act::sigmoid};
  const double s = act_value(sigmoid, logit);
  const double ds = act_slope(sigmoid, logit);
  if (k < 2) return {(2 * s - 0.5 + static_cast<double>(cell)) * stride, 2 * stride * ds};
  if (k < 4) return {4 * s * s * side * stride, 8 * s * side * stride * ds};
  return {s, ds};
}

/// f(n, channel, i, j, row, k, decoded) for every logit; a line of cells belongs to one thread.
template <class T, class F>
void for_each_logit(View<const T> x, const T* anchors, index_t na, index_t no, double stride, index_t first,
                    const F& f) {
#pragma omp parallel for collapse(3) schedule(static)
  for (index_t n = 0; n < x.shape.n; ++n)
    for (index_t a = 0; a < na; ++a)
      for (index_t i = 0; i < x.shape.h; ++i)
        for (index_t j = 0; j < x.shape.w; ++j)
          for (index_t k = 0; k < no; ++k) {
            const double side = k == 2 || k == 3 ? static_cast<double>(anchors[2 * a + k - 2]) : 0;
            f(n, a * no + k, i, j, first + (a * x.shape.h + i) * x.shape.w + j, k,
              decode(static_cast<double>(x.at(n, a * no + k, i, j)), k, k == 0 ? j : i, side, stride));
          }
}

}  // namespace

template <class T>
void detect_decode_fwd(View<const T> x, const T* anchors, index_t na, double stride, index_t first,
                       View<T> y) noexcept {
  for_each_logit(x, anchors, na, y.shape.w, stride, first,
                 [&](index_t n, index_t, index_t, index_t, index_t row, index_t k, Decoded d) {
                   y.at(n, 0, row, k) = static_cast<T>(d.value);
                 });
}

template <class T>
void detect_decode_bwd(View<const T> x, const T* anchors, index_t na, double stride, index_t first, View<const T> dy,
                       View<T> dx) noexcept {
  for_each_logit(x, anchors, na, dy.shape.w, stride, first,
                 [&](index_t n, index_t c, index_t i, index_t j, index_t row, index_t k, Decoded d) {
                   dx.at(n, c, i, j) = static_cast<T>(static_cast<double>(dy.at(n, 0, row, k)) * d.slope);
                 });
}

template SLIMNECK_EXPORT void detect_decode_fwd<float>(View<const float>, const float*, index_t, double, index_t,
                                                       View<float>) noexcept;
template SLIMNECK_EXPORT void detect_decode_fwd<double>(View<const double>, const double*, index_t, double, index_t,
                                                        View<double>) noexcept;
template SLIMNECK_EXPORT void detect_decode_bwd<float>(View<const float>, const float*, index_t, double, index_t,
                                                       View<const float>, View<float>) noexcept;
template SLIMNECK_EXPORT void detect_decode_bwd<double>(View<const double>, const double*, index_t, double, index_t,
                                                        View<const double>, View<double>) noexcept;

}  // namespace slimneck::kernels
