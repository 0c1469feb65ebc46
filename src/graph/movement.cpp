#include "graph/movement.hpp"

#include <algorithm>

namespace slimneck::graph {

namespace {

/// Logical index of physical position p; positions past the end of a map, and holes, are -1.
index_t logical(const ChannelMap& map, index_t p, index_t count) {
  if (map.empty()) return p < count ? p : -1;
  return p < static_cast<index_t>(map.size()) ? map[static_cast<std::size_t>(p)] : -1;
}

}  // namespace

template <class T>
void pack(const Packed& packed, View<const T> w, T* target) noexcept {
  const Shape& s = packed.physical;
  const index_t v = packed.blocked, taps = s.h * s.w;
  if (v > 0) std::fill_n(target, s.n * s.c * taps, T{0});
#pragma omp parallel for schedule(static)
  for (index_t o = 0; o < s.n; ++o) {
    const index_t lo = logical(packed.layout.n, o, w.shape.n);
    for (index_t i = 0; i < s.c; ++i) {
      const index_t li = logical(packed.layout.c, i, w.shape.c);
      for (index_t t = 0; t < taps; ++t) {
        const T value = lo < 0 || li < 0 ? T{0} : w.data[lo * w.sn + li * w.sc + t];
        const index_t at = v == 0 ? (o * s.c + i) * taps + t
                                  : (((o / v) * (s.c / v) + i / v) * taps + t) * v * v + (i % v) * v + o % v;
        target[at] = value;
      }
    }
  }
}

template <class T>
void unpack(View<const T> x, const Layout& layout, View<T> y, bool add) noexcept {
  for (index_t n = 0; n < x.shape.n; ++n) {
    const index_t ln = logical(layout.n, n, y.shape.n);
    for (index_t c = 0; c < x.shape.c; ++c) {
      const index_t lc = logical(layout.c, c, y.shape.c);
      if (ln < 0 || lc < 0) continue;
      for (index_t h = 0; h < x.shape.h; ++h)
        for (index_t w = 0; w < x.shape.w; ++w) {
          T& target = y.at(ln, lc, h, w);
          target = add ? target + x.at(n, c, h, w) : x.at(n, c, h, w);
        }
    }
  }
}

template void pack<float>(const Packed&, View<const float>, float*) noexcept;
template void pack<double>(const Packed&, View<const double>, double*) noexcept;
template void unpack<float>(View<const float>, const Layout&, View<float>, bool) noexcept;
template void unpack<double>(View<const double>, const Layout&, View<double>, bool) noexcept;

}  // namespace slimneck::graph
