// How maps are cut into strips of rows, which are the tasks of kernels: by shape alone, so that sums have one order on
// any number of threads. Plain code for kernel bodies and for variants alike, hence with internal linkage.
#pragma once

#include "slimneck/tensor.hpp"

namespace slimneck::kernels {
namespace {

constexpr index_t round_up_divide(index_t a, index_t b) { return (a + b - 1) / b; }

/// Rows of a strip, of which `strip` are wanted, for maps of `rows` x `columns` pixels; there are `others` tasks for
/// each strip. Many tasks share out as they come. Few become a multiple of four, nearly alike, unless that leaves less
/// than 200 pixels to one: two threads would take as long as one for a single task, and two thirds of it for three.
[[maybe_unused]] constexpr index_t even_strip(index_t rows, index_t columns, index_t strip, index_t others) {
  constexpr index_t many = 16, even = 4, least_pixels = 200;
  if (rows < 1 || others < 1) return strip;
  index_t strips = round_up_divide(rows, strip);
  if (strips * others >= many) return strip;
  while (strips * others % even != 0 && (strips + 1) * least_pixels <= rows * columns) ++strips;
  return round_up_divide(rows, strips);
}

}  // namespace
}  // namespace slimneck::kernels
