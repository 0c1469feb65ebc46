// The gradient of batch normalisation in two halves, for a batch in parts: what comes between them is the parts' own
// business (layers/ops/shared_batch_norm.cpp).
#pragma once

#include "slimneck/kernels.hpp"

namespace slimneck::kernels {

/// dgamma and dbeta of x, which is one part, by the mean and variance of all parts.
template <class T>
SLIMNECK_EXPORT void bn_bwd_sums(View<const T> dy, View<const T> x, View<const T> mean, View<const T> var,
                                 View<T> dgamma, View<T> dbeta, double eps) noexcept;

/// With the averages of dgamma and dbeta over the parts: dx = gamma q (dy - [dbeta + xhat dgamma] / N), N being the
/// elements of one part. dx may be dy.
template <class T>
SLIMNECK_EXPORT void bn_bwd_x(View<const T> dy, View<const T> x, View<const T> mean, View<const T> var,
                              View<const T> gamma, View<const T> dgamma, View<const T> dbeta, View<T> dx,
                              double eps) noexcept;

}  // namespace slimneck::kernels
