// Steps of the engine itself: parameters into the order that kernels read, and results back into logical order.
#pragma once

#include "graph/program.hpp"

namespace slimneck::graph {

/// The packed (and prepared) form of a parameter; holes are zero. scratch: elements of packed.physical where there is
/// something to prepare.
template <class T>
void pack(const Packed& packed, const Target& target, View<const T> parameter, T* to, T* scratch) noexcept;

/// logical (+)= the physical view through the maps of its layout. add: gradients; otherwise: running state.
template <class T>
void unpack(View<const T> physical, const Layout& layout, const Target& target, View<T> logical, bool add) noexcept;

/// A step of Kind::gather.
template <class T>
void gather(const Step& step, const Target& target) noexcept;

}  // namespace slimneck::graph
