#include "graph/movement.hpp"

#include <type_traits>

#include "kernels/dispatch.hpp"
#include "kernels/lay.hpp"

namespace slimneck::graph {

namespace {

/// Logical index of physical position p; positions past the end of a map, and holes, are -1.
index_t logical(const ChannelMap& map, index_t p, index_t count) {
  if (map.empty()) return p < count ? p : -1;
  return p < static_cast<index_t>(map.size()) ? map[static_cast<std::size_t>(p)] : -1;
}

kernels::WeightArgs weights(const Shape& physical, const Layout& layout, const Shape& logical) {
  kernels::WeightArgs a;
  a.o = logical.n;
  a.c = logical.c;
  a.kh = logical.h;
  a.kw = logical.w;
  a.o_physical = physical.n;
  a.c_physical = physical.c;
  a.o_map = layout.n.empty() ? nullptr : layout.n.data();
  a.c_map = layout.c.empty() ? nullptr : layout.c.data();
  a.order = layout.order;
  return a;
}

template <class T>
void pack_plain(const Packed& packed, View<const T> w, T* target) noexcept {
  const Shape& s = packed.physical;
  const index_t taps = s.h * s.w;
  for (index_t o = 0; o < s.n; ++o) {
    const index_t lo = logical(packed.layout.n, o, w.shape.n);
    for (index_t i = 0; i < s.c; ++i) {
      const index_t li = logical(packed.layout.c, i, w.shape.c);
      for (index_t t = 0; t < taps; ++t, ++target)
        *target = lo < 0 || li < 0 ? T{0} : w.data[lo * w.sn + li * w.sc + t];
    }
  }
}

template <class T>
void unpack_plain(View<const T> x, const Layout& layout, View<T> y, bool add) noexcept {
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

}  // namespace

// Parameters and their gradients are dense OIHW, so the kernels need no strides of them.

template <class T>
void pack(const Packed& packed, const Target& target, View<const T> w, T* to, T* scratch) noexcept {
  if constexpr (std::is_same_v<T, float>)
    if (packed.layout.order != kernels::WeightOrder::plain) {
      kernels::WeightArgs a = weights(packed.physical, packed.layout, w.shape);
      a.from = w.data;
      a.to = packed.prepare ? scratch : to;
      kernels::kernels_of(target.isa)->pack_weights(a);
      if (packed.prepare)
        packed.prepare(target, packed.variant, scratch, to, packed.physical.n, packed.physical.c, w.shape.h, w.shape.w);
      return;
    }
  pack_plain<T>(packed, w, to);
}

template <class T>
void unpack(View<const T> x, const Layout& layout, const Target& target, View<T> y, bool add) noexcept {
  if constexpr (std::is_same_v<T, float>)
    if (layout.order != kernels::WeightOrder::plain) {
      kernels::WeightArgs a = weights(x.shape, layout, y.shape);
      a.from = x.data;
      a.to = y.data;
      a.add = add;
      kernels::kernels_of(target.isa)->unpack_weights(a);
      return;
    }
  unpack_plain<T>(x, layout, y, add);
}

template <class T>
void gather(const Step& step, const Target& target) noexcept {
  const AnyView &x = step.in_views[0], &y = step.out_views[0];
  if constexpr (std::is_same_v<T, float>) {
    const auto fits = [](const AnyView& v) { return v.sw == v.block && v.sh == v.shape.w * v.block; };
    if (fits(x) && fits(y)) {
      kernels::GatherArgs a;
      a.n = y.shape.n;
      a.channels = y.shape.c;
      a.h = y.shape.h;
      a.w = y.shape.w;
      a.x_block = x.block;
      a.y_block = y.block;
      kernels::lay_x(x, a);
      kernels::lay_y(y, a);
      a.list = step.list.data();
      kernels::kernels_of(target.isa)->gather_channels(a);
      return;
    }
  }
  kernels::gather_channels<T>(x.as<const T>(), y.as<T>(), step.list);
}

template void gather<float>(const Step&, const Target&) noexcept;
template void gather<double>(const Step&, const Target&) noexcept;
template void pack<float>(const Packed&, const Target&, View<const float>, float*, float*) noexcept;
template void pack<double>(const Packed&, const Target&, View<const double>, double*, double*) noexcept;
template void unpack<float>(View<const float>, const Layout&, const Target&, View<float>, bool) noexcept;
template void unpack<double>(View<const double>, const Layout&, const Target&, View<double>, bool) noexcept;

}  // namespace slimneck::graph
