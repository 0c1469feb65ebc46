// Which predictions are responsible for which labels.
#pragma once

#include <span>
#include <vector>

#include "slimneck/loss.hpp"

namespace slimneck::train {

/// The pairs of one level of rows x columns cells; anchors in cells. In T's arithmetic.
template <class T>
std::vector<Match> assign(const std::vector<double>& anchors, double factor, index_t rows, index_t columns,
                          std::span<const BoxTarget> targets);

/// Zeros everywhere.
template <class T>
void fill_zero(View<T> v);

}  // namespace slimneck::train
