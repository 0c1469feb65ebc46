// Where a half of GSConv's output lies.
#pragma once

#include "slimneck/tensor.hpp"

namespace slimneck::kernels::cuda {

/// A map of its own (which may be every other channel of a larger one); or, where split is not 0, the even channels
/// before the odd ones: view is the whole output [a | b] then, split the number of its even channels, (channels + 1) /
/// 2, and channel c of the half is channel ((first + c) % 2) * split + (first + c) / 2 of the view.
template <class T>
struct Half {
  View<T> view;
  index_t first = 0, split = 0;

  Half() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): a map of its own is the half that most calls have
  Half(const View<T>& v, index_t f = 0, index_t s = 0) : view(v), first(f), split(s) {}
  // NOLINTNEXTLINE(google-explicit-constructor): as T* converts to const T*
  operator Half<const T>() const { return {view, first, split}; }
};

}  // namespace slimneck::kernels::cuda
