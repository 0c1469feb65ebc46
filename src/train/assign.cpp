// YOLOv5's build_targets. There is no threshold on the overlap: an anchor fits a label when no side of the one is
// `factor` times the other's. A label belongs to the cell of its centre and, since a centre is predicted half a cell
// beyond its cell's edges, also to the neighbours on the sides where it lies nearer to the edge.
#include "train/assign.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace slimneck::train {

namespace {

/// A label in cells, and an anchor that fits it.
template <class T>
struct Fit {
  int anchor;
  const BoxTarget* target;
  T x, y, w, h;
};

template <class T>
std::vector<Fit<T>> fits(const std::vector<double>& anchors, double factor, index_t rows, index_t columns,
                         std::span<const BoxTarget> targets) {
  const T wide = static_cast<T>(columns), high = static_cast<T>(rows);
  std::vector<Fit<T>> found;
  for (std::size_t a = 0; a < anchors.size(); a += 2)
    for (const BoxTarget& t : targets) {
      const T w = static_cast<T>(t.w) * wide, h = static_cast<T>(t.h) * high;
      const T rw = w / static_cast<T>(anchors[a]), rh = h / static_cast<T>(anchors[a + 1]);
      if (std::max(std::max(rw, 1 / rw), std::max(rh, 1 / rh)) < static_cast<T>(factor))
        found.push_back({static_cast<int>(a / 2), &t, static_cast<T>(t.x) * wide, static_cast<T>(t.y) * high, w, h});
    }
  return found;
}

/// Whether a coordinate lies in the nearer half of its cell, and there is a cell beyond that edge.
template <class T>
bool near_edge(T coordinate) {
  return coordinate - std::floor(coordinate) < T(0.5) && coordinate > 1;
}

}  // namespace

template <class T>
std::vector<Match> assign(const std::vector<double>& anchors, double factor, index_t rows, index_t columns,
                          std::span<const BoxTarget> targets) {
  const std::vector<Fit<T>> found = fits<T>(anchors, factor, rows, columns, targets);
  const T wide = static_cast<T>(columns), high = static_cast<T>(rows);
  constexpr std::array<std::array<T, 2>, 5> offsets{{{0, 0}, {T(0.5), 0}, {0, T(0.5)}, {T(-0.5), 0}, {0, T(-0.5)}}};
  std::vector<Match> matches;
  for (std::size_t side = 0; side < offsets.size(); ++side)
    for (const Fit<T>& f : found) {
      const std::array<bool, 5> wanted{true, near_edge(f.x), near_edge(f.y), near_edge(wide - f.x),
                                       near_edge(high - f.y)};
      if (!wanted[side]) continue;
      // Clamped before the distance is taken: a centre on the picture's last edge lies one cell from its own.
      const index_t cx = std::clamp(static_cast<index_t>(f.x - offsets[side][0]), index_t{0}, columns - 1);
      const index_t cy = std::clamp(static_cast<index_t>(f.y - offsets[side][1]), index_t{0}, rows - 1);
      matches.push_back({f.target->image,
                         f.anchor,
                         static_cast<int>(cy),
                         static_cast<int>(cx),
                         f.target->cls,
                         {static_cast<double>(f.x - static_cast<T>(cx)), static_cast<double>(f.y - static_cast<T>(cy)),
                          static_cast<double>(f.w), static_cast<double>(f.h)}});
    }
  return matches;
}

template <class T>
void fill_zero(View<T> v) {
#pragma omp parallel for schedule(static)
  for (index_t n = 0; n < v.shape.n; ++n)
    for (index_t c = 0; c < v.shape.c; ++c)
      for (index_t h = 0; h < v.shape.h; ++h)
        for (index_t w = 0; w < v.shape.w; ++w) v.at(n, c, h, w) = 0;
}

template std::vector<Match> assign<float>(const std::vector<double>&, double, index_t, index_t,
                                          std::span<const BoxTarget>);
template std::vector<Match> assign<double>(const std::vector<double>&, double, index_t, index_t,
                                           std::span<const BoxTarget>);
template void fill_zero<float>(View<float>);
template void fill_zero<double>(View<double>);

}  // namespace slimneck::train
