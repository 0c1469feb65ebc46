// Steps of the engine itself: parameters into the order that kernels read, and results back into logical order.
#pragma once

#include "graph/program.hpp"

namespace slimneck::graph {

/// packed = the parameter through the maps of `packed`; holes are zero.
template <class T>
void pack(const Packed& packed, View<const T> parameter, T* target) noexcept;

/// logical (+)= the physical view through the maps of its layout. add: gradients; otherwise: running state.
template <class T>
void unpack(View<const T> physical, const Layout& layout, View<T> logical, bool add) noexcept;

}  // namespace slimneck::graph
