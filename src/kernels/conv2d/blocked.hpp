// Dense convolution between blocked views, weights packed to match: the scalar form of what SIMD kernels compute.
#pragma once

#include "slimneck/kernels.hpp"

namespace slimneck::kernels {

/// y = conv(x, w) for groups = 1. x and y have the same block V (8 or 16). w is packed
/// [O/V][C/V][kh][kw][V of C][V of O], holes and the rest of the last block zero. Accumulates in T, in an order that
/// depends on the shape only.
template <class T>
void conv2d_fwd_blocked(View<const T> x, const T* w, index_t kh, index_t kw, View<T> y,
                        const Conv2d& geometry) noexcept;

}  // namespace slimneck::kernels
