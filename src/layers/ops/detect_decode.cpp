// YOLOv5's decoding of raw heads into boxes in pixels, all levels into one list of rows.
#include <array>
#include <iterator>

#include "layers/ops/cuda.hpp"
#include "layers/ops/fast.hpp"

namespace slimneck::ops {

namespace {

constexpr AttributeSpec attributes[] = {{"na", Kind::integer, true}, {"strides", Kind::list, true}};

std::vector<Shape> infer(const Attributes& a, Shapes in) {
  require_inputs(in, 2, 65);
  const index_t na = a.integer("na"), levels = static_cast<index_t>(in.size()) - 1;
  require_at_least("na", na, 1);
  require_shape("anchors", in[0], {1, levels, na, 2});
  if (static_cast<index_t>(a.list("strides").size()) != levels)
    throw ShapeError(std::to_string(a.list("strides").size()) + " strides for " + std::to_string(levels) + " levels");
  Shape y{in[1].n, 1, 0, in[1].c / na};
  for (const Shape& x : in.subspan(1)) {
    if (x.n != y.n || x.c != y.w * na || y.w < 5)
      throw ShapeError("head " + to_string(x) + " does not fit " + std::to_string(na) + " anchors and head " +
                       to_string(in[1]));
    y.h += x.h * x.w * na;  // at most x.numel(), which fits
    require_at_most("the number of rows", y.h);
  }
  return {y};
}

/// Calls f(level input index, anchors of the level, stride, first row) for every level.
template <class T, class F>
void for_levels(const KernelCall& k, std::size_t first_head, std::size_t heads, const T* anchors, F&& f) {
  const index_t na = k.attributes->integer("na");
  const std::vector<index_t>& strides = k.attributes->list("strides");
  index_t row = 0;
  for (std::size_t i = 0; i < heads; ++i) {
    const Shape& x = k.inputs[first_head + i].shape;
    f(i, anchors + static_cast<index_t>(i) * na * 2, static_cast<double>(strides[i]), row);
    row += na * x.h * x.w;
  }
}

void run_fast(const KernelCall& k) {
  const index_t na = k.attributes->integer("na");
  const View<float> y = k.out<float>(0);
  for_levels<float>(k, 1, k.inputs.size() - 1, k.in<float>(0).data,
                    [&](std::size_t i, const float* anchors, double stride, index_t row) {
                      const AnyView& x = k.inputs[1 + i];
                      kernels::DecodeArgs d;
                      d.n = x.shape.n;
                      d.na = na;
                      d.no = y.shape.w;
                      d.h = x.shape.h;
                      d.w = x.shape.w;
                      d.x_block = x.block;
                      lay(x, d.x, d.xn, d.xb, d.xh);
                      d.anchors = anchors;
                      d.stride = static_cast<float>(stride);
                      d.first = row;
                      d.y = y.data;
                      d.yn = y.sn;
                      kernels::kernels_of(k.target.isa)->detect_decode(d);
                    });
}

Lowering lower(const LowerContext& c) {
  const kernels::Kernels* k = fast_kernels(c.type, c.target);
  if (!k) return {};
  for (const AnyView& x : c.inputs.subspan(1))
    if (x.block != k->lanes) return {};
  Lowering l;
  l.kernel = "detect_decode";
  l.run = run_fast;
  return l;
}

/// All levels at once where there are not too many.
void run_cuda(const KernelCall& k) {
  std::array<View<const float>, kernels::cuda::detect_levels> levels;
  const std::size_t count = k.inputs.size() - 1;
  if (count <= levels.size()) {
    for (std::size_t i = 0; i < count; ++i) levels[i] = k.in<float>(1 + i);
    const std::vector<index_t>& strides = k.attributes->list("strides");
    return cuda(k).detect_decode_levels(*k.stream, std::span(levels).first(count), k.in<float>(0).data,
                                        k.attributes->integer("na"), strides, k.out<float>(0));
  }
  for_levels<float>(k, 1, k.inputs.size() - 1, k.in<float>(0).data,
                    [&](std::size_t i, const float* anchors, double stride, index_t row) {
                      cuda(k).detect_decode_fwd(*k.stream, k.in<float>(1 + i), anchors, k.attributes->integer("na"),
                                                stride, row, k.out<float>(0));
                    });
}

void run_bwd_cuda(const KernelCall& k) {
  for_levels<float>(k, 2, k.inputs.size() - 2, k.in<float>(1).data,
                    [&](std::size_t i, const float* anchors, double stride, index_t row) {
                      cuda(k).detect_decode_bwd(*k.stream, k.in<float>(2 + i), anchors, k.attributes->integer("na"),
                                                stride, row, k.in<float>(0), k.out<float>(i));
                    });
}

/// Up to eight heads are read where they lie; more need plain memory.
std::string_view maps(const Attributes&, Shapes in) {
  constexpr std::string_view of_levels[] = {
      "--,-A>--",
      "--,-A,-B>--",
      "--,-A,-B,-C>--",
      "--,-A,-B,-C,-D>--",
      "--,-A,-B,-C,-D,-E>--",
      "--,-A,-B,-C,-D,-E,-F>--",
      "--,-A,-B,-C,-D,-E,-F,-G>--",
      "--,-A,-B,-C,-D,-E,-F,-G,-H>--",
  };
  const std::size_t levels = in.size() - 1;
  return levels <= std::size(of_levels) ? of_levels[levels - 1] : std::string_view{};
}

std::vector<OpCase> cases() {
  return {{"two_levels",
           {{1, 2, 3, 2}, {2, 18, 3, 4}, {2, 18, 2, 2}},
           {{"na", index_t{3}}, {"strides", std::vector<index_t>{8, 16}}}}};
}

}  // namespace

const OpDef detect_decode{
    .name = "detect_decode",
    .attributes = attributes,
    .infer = infer,
    .maps = maps,
    .cost =
        [](const Attributes&, Shapes, Shapes out) {
          Cost c;
          c.other_flops = out[0].numel();
          return c;
        },
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      const index_t na = k.attributes->integer("na");
      for_levels<T>(k, 1, k.inputs.size() - 1, k.in<T>(0).data,
                    [&](std::size_t i, const T* anchors, double s, index_t row) {
                      kernels::detect_decode_fwd<T>(k.in<T>(1 + i), anchors, na, s, row, k.out<T>(0));
                    });
    }),
    .gradient =
        [](GradientContext& g) {
          std::vector<Value> in{g.gradient()};
          for (std::size_t i = 0; i < g.inputs(); ++i) in.push_back(g.input(i));
          const Value bwd = g.emit(detect_decode_bwd, in,
                                   {{"na", g.attributes().integer("na")}, {"strides", g.attributes().list("strides")}});
          for (std::size_t i = 1; i < g.inputs(); ++i) g.contribute(i, {bwd.node, static_cast<int>(i) - 1});
        },
    .lower = lower,
    .lower_cuda = [](const LowerContext&) { return lower_to_cuda("detect_decode_fwd", run_cuda); },
    .cases = cases,
};

/// dy, anchors, x0, x1, ... -> dx0, dx1, ... The anchors are constants.
const OpDef detect_decode_bwd{
    .name = "detect_decode_bwd",
    .attributes = attributes,
    .infer = [](const Attributes& a, Shapes in) -> std::vector<Shape> {
      require_inputs(in, 3, 66);
      require_shape("dy", in[0], infer(a, in.subspan(1))[0]);
      return {in.begin() + 2, in.end()};
    },
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      const index_t na = k.attributes->integer("na");
      for_levels<T>(k, 2, k.inputs.size() - 2, k.in<T>(1).data,
                    [&](std::size_t i, const T* anchors, double s, index_t row) {
                      kernels::detect_decode_bwd<T>(k.in<T>(2 + i), anchors, na, s, row, k.in<T>(0), k.out<T>(i));
                    });
    }),
    .lower_cuda = [](const LowerContext&) { return lower_to_cuda("detect_decode_bwd", run_bwd_cuda); },
};

}  // namespace slimneck::ops
