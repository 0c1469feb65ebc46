// Ops that only move channels: shuffle, slice, pad, concat. Their tables say everything, so they have no kernel of
// their own: plans turn them into bookkeeping where they can, and into a copy or a gather where they cannot.
#include <algorithm>
#include <numeric>

#include "layers/ops/common.hpp"

namespace slimneck::ops {

namespace {

constexpr AttributeSpec source_attribute[] = {{"source", Kind::list, true}};
constexpr AttributeSpec slice_attributes[] = {{"first", Kind::integer, true}, {"count", Kind::integer, true}};
constexpr AttributeSpec pad_attributes[] = {{"first", Kind::integer, true}, {"total", Kind::integer, true}};

std::vector<index_t> shuffle_source(const Attributes& a, Shapes) { return a.list("source"); }

std::vector<index_t> slice_source(const Attributes& a, Shapes) {
  std::vector<index_t> source(static_cast<std::size_t>(a.integer("count")));
  std::iota(source.begin(), source.end(), a.integer("first"));
  return source;
}

std::vector<index_t> pad_source(const Attributes& a, Shapes in) {
  std::vector<index_t> source(static_cast<std::size_t>(a.integer("total")), -1);
  std::iota(source.begin() + a.integer("first"), source.begin() + a.integer("first") + in[0].c, index_t{0});
  return source;
}

std::vector<Shape> infer_shuffle(const Attributes& a, Shapes in) {
  require_inputs(in, 1, 1);
  std::vector<index_t> sorted = a.list("source");
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 0; i < sorted.size(); ++i)
    if (sorted[i] != static_cast<index_t>(i)) throw ShapeError("source is not a permutation of the channels");
  if (static_cast<index_t>(sorted.size()) != in[0].c)
    throw ShapeError("source has " + std::to_string(sorted.size()) + " entries for " + std::to_string(in[0].c) +
                     " channels");
  return {in[0]};
}

void check_range(index_t first, index_t count, index_t channels) {
  if (first < 0 || count < 1 || count > channels || first > channels - count)
    throw ShapeError(std::to_string(count) + " channels from " + std::to_string(first) + " on leave the " +
                     std::to_string(channels) + " that there are");
}

std::vector<Shape> infer_slice(const Attributes& a, Shapes in) {
  require_inputs(in, 1, 1);
  check_range(a.integer("first"), a.integer("count"), in[0].c);
  return {{in[0].n, a.integer("count"), in[0].h, in[0].w}};
}

std::vector<Shape> infer_pad(const Attributes& a, Shapes in) {
  require_inputs(in, 1, 1);
  check_range(a.integer("first"), in[0].c, a.integer("total"));
  return {{in[0].n, a.integer("total"), in[0].h, in[0].w}};
}

std::vector<Shape> infer_concat(const Attributes&, Shapes in) {
  require_inputs(in, 1, 4096);
  Shape y = in[0];
  for (const Shape& x : in.subspan(1)) {
    if (x.n != y.n || x.h != y.h || x.w != y.w)
      throw ShapeError("inputs " + to_string(in[0]) + " and " + to_string(x) + " differ in more than channels");
    require_at_most("the number of channels", x.c);
    y.c += x.c;
  }
  return {y};
}

void shuffle_gradient(GradientContext& g) {
  const std::vector<index_t>& source = g.attributes().list("source");
  std::vector<index_t> inverse(source.size());
  for (std::size_t j = 0; j < source.size(); ++j)
    inverse[static_cast<std::size_t>(source[j])] = static_cast<index_t>(j);
  g.contribute(0, g.emit(channel_shuffle, {g.gradient()}, {{"source", inverse}}));
}

void slice_gradient(GradientContext& g) {
  g.contribute(0, g.emit(pad_channels, {g.gradient()},
                         {{"first", g.attributes().integer("first")}, {"total", g.shape(g.input(0)).c}}));
}

void concat_gradient(GradientContext& g) {
  index_t first = 0;
  for (std::size_t i = 0; i < g.inputs(); ++i) {
    const index_t count = g.shape(g.input(i)).c;
    if (g.wants(i))
      g.contribute(i, g.emit(slice, {g.gradient()}, {{"first", first}, {"count", count}}, "bwd" + std::to_string(i)));
    first += count;
  }
}

std::vector<OpCase> shuffle_cases() {
  return {{"interleave6", {{2, 6, 2, 3}}, {{"source", std::vector<index_t>{0, 3, 1, 4, 2, 5}}}},
          {"deinterleave6", {{2, 6, 2, 3}}, {{"source", std::vector<index_t>{0, 2, 4, 1, 3, 5}}}},
          {"any5", {{1, 5, 3, 2}}, {{"source", std::vector<index_t>{3, 0, 4, 1, 2}}}}};
}

}  // namespace

const OpDef channel_shuffle{
    .name = "channel_shuffle",
    .attributes = source_attribute,
    .kind = OpKind::gather,
    .infer = infer_shuffle,
    .source = shuffle_source,
    .gradient = shuffle_gradient,
    .cases = shuffle_cases,
};

const OpDef slice{
    .name = "slice",
    .attributes = slice_attributes,
    .kind = OpKind::gather,
    .infer = infer_slice,
    .source = slice_source,
    .gradient = slice_gradient,
    .cases = []() -> std::vector<OpCase> {
      return {{"middle", {{2, 7, 2, 3}}, {{"first", index_t{2}}, {"count", index_t{3}}}}};
    },
};

/// The gradient of slice: x becomes channels first ... of `total`, the others are zero.
const OpDef pad_channels{
    .name = "pad_channels",
    .attributes = pad_attributes,
    .kind = OpKind::gather,
    .infer = infer_pad,
    .source = pad_source,
    .gradient =
        [](GradientContext& g) {
          g.contribute(0, g.emit(slice, {g.gradient()},
                                 {{"first", g.attributes().integer("first")}, {"count", g.shape(g.input(0)).c}}));
        },
    .cases = []() -> std::vector<OpCase> {
      return {{"middle", {{2, 3, 2, 2}}, {{"first", index_t{1}}, {"total", index_t{5}}}}};
    },
};

const OpDef concat{
    .name = "concat",
    .kind = OpKind::concat,
    .infer = infer_concat,
    .gradient = concat_gradient,
    .cases = []() -> std::vector<OpCase> {
      return {{"three", {{2, 3, 2, 3}, {2, 1, 2, 3}, {2, 4, 2, 3}}, {}}};
    },
};

}  // namespace slimneck::ops
