// How the gradient of the weights is cut into tasks: by shape alone, so that sums have one order on any number of
// threads. Plain code for kernel bodies and for variants.cpp alike, hence with internal linkage.
#pragma once

#include "kernels/args.hpp"
#include "kernels/strips.hpp"

namespace slimneck::kernels {
namespace {

constexpr index_t smaller(index_t a, index_t b) { return a < b ? a : b; }
constexpr index_t larger(index_t a, index_t b) { return a < b ? b : a; }

/// Tasks are pairs of output blocks. Where these are few, the pixels are cut into parts that have a dw each, which are
/// added up at the end: that costs about as much as 100 pixels of a small dw, and of a large one as 1600.
constexpr index_t grad_parts_wanted(const ConvGradArgs& a) {
  constexpr index_t few = 4, enough = 16, small_part = 100, large_part = 1600;
  const index_t pairs = larger(1, round_up_divide(a.y_blocks, 2)), pixels = a.n * a.oh * a.ow;
  const index_t affordable =
      larger(pairs < few ? smaller(pixels / small_part, round_up_divide(few, pairs)) : 1, pixels / large_part);
  return larger(1, smaller(affordable, round_up_divide(enough, pairs)));
}

/// Rows of y in a strip: the x and dy of one (pair of output blocks, input block) stay in a first level cache of 32 KiB
/// for all taps; for a single tap, which reads them once or twice, a second level does, and longer strips touch dw less
/// often. All strips of an image have nearly the same number of rows, and each part has as many of them.
constexpr index_t grad_strip_rows(const ConvGradArgs& a, index_t lanes) {
  const index_t row = larger(1, a.ow) * lanes * 4 * (2 + a.stride * a.stride), rows = larger(1, a.oh);
  const index_t fit = larger(1, (a.kh * a.kw > 1 ? 32 : 128) * 1024 / row);
  const index_t parts = round_up_divide(grad_parts_wanted(a), larger(1, a.n));  // of an image
  return round_up_divide(rows, round_up_divide(round_up_divide(rows, fit), parts) * parts);
}

/// Strips of all images together.
constexpr index_t grad_strips(const ConvGradArgs& a, index_t lanes) {
  return a.n * round_up_divide(a.oh, grad_strip_rows(a, lanes));
}

constexpr index_t grad_parts_of(const ConvGradArgs& a, index_t strips) {
  return larger(1, smaller(strips, grad_parts_wanted(a)));
}
constexpr index_t grad_parts(const ConvGradArgs& a, index_t lanes) { return grad_parts_of(a, grad_strips(a, lanes)); }

/// Floats of dw in blocked order.
constexpr index_t grad_size(const ConvGradArgs& a, index_t lanes) {
  return a.y_blocks * a.x_blocks * a.kh * a.kw * lanes * lanes;
}

/// The same for a plain input.
inline constexpr index_t grad_stem_strip = 4;
constexpr index_t grad_stem_parts(const ConvGradArgs& a) {
  return grad_parts_of(a, a.n * round_up_divide(a.oh, grad_stem_strip));
}
constexpr index_t grad_stem_size(const ConvGradArgs& a, index_t lanes) {
  return a.y_blocks * a.planes * a.kh * a.kw * lanes;
}

}  // namespace
}  // namespace slimneck::kernels
