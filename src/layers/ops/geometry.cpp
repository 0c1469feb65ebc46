#include "layers/ops/geometry.hpp"

#include <algorithm>

namespace slimneck::ops {

namespace {

index_t extent(const char* axis, index_t in, index_t k, index_t p, const Attributes& a) {
  const index_t s = a.integer("stride"), d = a.integer("dilation");
  require_at_most("dilation", d, largest_extent / std::max<index_t>(k, 1));
  require_at_most("a kernel's extent", k);
  require_at_most("padding", p);
  require_at_most(axis, in);
  const index_t span = in + 2 * p - d * (k - 1) - 1;
  if (in < 1 || k < 1 || span < 0)
    throw ShapeError(std::string("a kernel of ") + std::to_string(k) + " with padding " + std::to_string(p) +
                     " and dilation " + std::to_string(d) + " does not fit into " + axis + "=" + std::to_string(in));
  return span / s + 1;
}

}  // namespace

kernels::Conv2d geometry(const Attributes& a, index_t channels, index_t per_group) {
  kernels::Conv2d g;
  g.stride = a.integer("stride");
  g.pad_h = a.integer("pad_h");
  g.pad_w = a.integer("pad_w");
  g.dilation = a.integer("dilation");
  g.groups = a.integer("groups");
  if (g.groups > 1 && per_group == 1) g.groups = channels;
  return g;
}

Attributes geometry_of(const Attributes& a) {
  Attributes g;
  for (const AttributeSpec& spec : geometry_attributes) g.set(spec.name, a.integer(spec.name));
  return g;
}

Shape convolved(const Attributes& a, const Shape& x, const Shape& w) {
  require_at_least("stride", a.integer("stride"), 1);
  require_at_least("dilation", a.integer("dilation"), 1);
  require_at_least("pad_h", a.integer("pad_h"), 0);
  require_at_least("pad_w", a.integer("pad_w"), 0);
  const index_t g = a.integer("groups");
  require_at_least("groups", g, 1);
  if (x.c % g != 0 || w.n % g != 0)
    throw ShapeError(std::to_string(x.c % g != 0 ? x.c : w.n) + (x.c % g != 0 ? " input" : " output") +
                     " channels are not divisible by groups=" + std::to_string(g));
  if (w.c != x.c / g)
    throw ShapeError("weights are " + to_string(w) + " but the input is " + to_string(x) +
                     " with groups=" + std::to_string(g) + ", wanted c=" + std::to_string(x.c / g));
  return {x.n, w.n, extent("h", x.h, w.h, a.integer("pad_h"), a), extent("w", x.w, w.w, a.integer("pad_w"), a)};
}

void convolution_gradient(GradientContext& g, std::size_t x, std::size_t w, Value dy) {
  if (g.wants(x)) {
    const Shape shape = g.shape(g.input(x));
    Attributes a = geometry_of(g.attributes());
    a.set("h", shape.h).set("w", shape.w);
    g.contribute(x, g.emit(conv2d_bwd_x, {dy, g.input(w)}, a, "bwd_x"));
  }
  if (g.wants(w)) {
    const Shape shape = g.shape(g.input(w));
    Attributes a = geometry_of(g.attributes());
    a.set("kh", shape.h).set("kw", shape.w);
    g.contribute(w, g.emit(conv2d_bwd_w, {g.input(x), dy}, a, "bwd_w"));
  }
}

}  // namespace slimneck::ops
