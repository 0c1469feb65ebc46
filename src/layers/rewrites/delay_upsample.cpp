// Inference: a 1x1 convolution that alone reads a nearest upsample is computed before it. Every output pixel depends on
// one input pixel, of which the upsample makes factor^2 equal ones: the same numbers from a part of the multiply-adds.
// Before: conv_bn_act(upsample(x)). After: upsample(conv_bn_act(x)).
#include "layers/rewrites/rewrites.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::rewrites {

namespace {

bool pixel_by_pixel(const Graph& g, const Node& n) {
  if (n.op != &ops::conv_bn_act || n.attributes.integer("train") != 0 || n.inputs.size() > 4) return false;
  const Shape& w = g.shape(n.inputs[1]);
  const Attributes& a = n.attributes;
  return w.h == 1 && w.w == 1 && a.integer("stride") == 1 && a.integer("pad_h") == 0 && a.integer("pad_w") == 0;
}

Graph apply(const Graph& old, Mode mode) {
  if (mode != Mode::infer) return old;
  const graph::Readers readers(old);
  const auto delayed = [&](const Node& conv) {
    return pixel_by_pixel(old, conv) && old.node(conv.inputs[0]).op == &ops::upsample &&
           readers.only(conv.inputs[0]) >= 0;
  };
  graph::Rebuild fresh(old);
  for (int i = 0; i < old.size(); ++i) {
    const Node& n = old.node(i);
    if (!delayed(n)) {
      const int reader = n.op == &ops::upsample ? readers.only({i, 0}) : -1;
      if (reader < 0 || !delayed(old.node(reader))) fresh.copy(i);
      continue;
    }
    const Node& up = old.node(n.inputs[0]);
    std::vector<Value> in{fresh(up.inputs[0])};
    for (std::size_t k = 1; k < n.inputs.size(); ++k) in.push_back(fresh(n.inputs[k]));
    const Value small = fresh.add(ops::conv_bn_act, std::move(in), n.attributes, n.name);
    fresh.set({i, 0}, fresh.add(ops::upsample, {small}, up.attributes, up.name));
  }
  return fresh.finish();
}

}  // namespace

const graph::Rewrite delay_upsample{.name = "delay_upsample", .apply = apply};

}  // namespace slimneck::rewrites
