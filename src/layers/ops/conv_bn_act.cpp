// Conv of the YOLO world in one node: convolution, batch norm, activation (recognised by
// rewrites/fuse_conv_bn_act.cpp).
//   inference: x, w, gamma, beta, mean, var -> y
//   training:  x, w, gamma, beta            -> y, z = conv(x, w), mean(z), var(z); z and its statistics serve backward
#include "layers/ops/composite.hpp"

namespace slimneck::ops {

namespace {

std::vector<Shape> infer(const Attributes& a, Shapes in) {
  const bool train = a.integer("train") != 0;
  require_inputs(in, train ? 4 : 6, train ? 4 : 6);
  static_cast<void>(activation_attribute(a));
  const Shape z = convolved(a, in[0], in[1]), v = channel_vector(z);
  for (const Shape& s : in.subspan(2)) require_shape("a number per channel", s, v);
  if (!train) return {z};
  require_at_least("values per channel in training", z.n * z.h * z.w, 2);
  return {z, z, v, v};
}

std::string_view maps(const Attributes& a, Shapes in) {
  const bool train = a.integer("train") != 0;
  const index_t groups = a.integer("groups");
  if (groups == 1) return train ? "-a,ba,-b,-b>-b,-b,-b,-b" : "-a,ba,-b,-b,-b,-b>-b";
  if (groups == in[0].c && in[0].c == in[1].n) return train ? "-a,a-,-a,-a>-a,-a,-a,-a" : "-a,a-,-a,-a,-a,-a>-a";
  return {};
}

Cost cost(const Attributes& a, Shapes in, Shapes out) {
  Cost c;
  c.macs = convolution_macs(out[0], in[1]);
  c.norm_elements = out[0].numel();
  if (a.integer("act") != 0) c.act_elements = out[0].numel();
  return c;
}

template <class T>
void run(const KernelCall& k) {
  const Attributes& a = *k.attributes;
  const bool train = a.integer("train") != 0;
  const View<T> y = k.out<T>(0), z = train ? k.out<T>(1) : y;
  convolve<T>(k, z);
  if (train) kernels::bn_stats<T>(z, k.out<T>(2), k.out<T>(3));
  norm_act<T>(z, train ? k.out<T>(2) : k.in<T>(4), train ? k.out<T>(3) : k.in<T>(5), k.in<T>(2), k.in<T>(3), y, a);
}

void gradient(GradientContext& g) {
  require_training_form(g.attributes());
  if (!g.gradient().valid()) return;
  const Value bwd = g.emit(bn_act_bwd, {g.gradient(), g.output(1), g.output(2), g.output(3), g.input(2), g.input(3)},
                           norm_act_of(g.attributes()), "bwd_bn_act");
  g.contribute(2, {bwd.node, 1});
  g.contribute(3, {bwd.node, 2});
  convolution_gradient(g, 0, 1, bwd);
}

}  // namespace

const OpDef conv_bn_act{
    .name = "conv_bn_act",
    .attributes = composite_attributes,
    .infer = infer,
    .maps = maps,
    .cost = cost,
    .reference = Reference::of([]<class T>(const KernelCall& k) { run<T>(k); }),
    .gradient = gradient,
    .cases = []() -> std::vector<OpCase> {
      const Shape v{1, 4, 1, 1};
      return {{"3x3_s2_silu",
               {{2, 3, 5, 4}, {4, 3, 3, 3}, v, v},
               {{"stride", index_t{2}},
                {"pad_h", index_t{1}},
                {"pad_w", index_t{1}},
                {"act", index_t{1}},
                {"train", index_t{1}}}},
              {"dw_none",
               {{2, 4, 3, 4}, {4, 1, 3, 3}, v, v},
               {{"groups", index_t{4}}, {"pad_h", index_t{1}}, {"pad_w", index_t{1}}, {"train", index_t{1}}}}};
    },
};

/// dy, z, mean, var, gamma, beta -> dz, dgamma, dbeta for y = act(bn(z)).
const OpDef bn_act_bwd{
    .name = "bn_act_bwd",
    .attributes = norm_act_attributes,
    .infer = [](const Attributes&, Shapes in) -> std::vector<Shape> {
      require_inputs(in, 6, 6);
      require_shape("z", in[1], in[0]);
      const Shape v = channel_vector(in[0]);
      for (const Shape& s : in.subspan(2)) require_shape("a number per channel", s, v);
      return {in[0], v, v};
    },
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a,-a,-a,-a,-a,-a>-a,-a,-a"; },
    .cost =
        [](const Attributes& a, Shapes in, Shapes) {
          Cost c;
          c.norm_elements = in[0].numel();
          if (a.integer("act") != 0) c.act_elements = in[0].numel();
          return c;
        },
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      const View<T> dz = k.out<T>(0);
      norm_act_bwd<T>(k.in<T>(0), k.in<T>(1), k.in<T>(2), k.in<T>(3), k.in<T>(4), k.in<T>(5), dz, dz, k.out<T>(1),
                      k.out<T>(2), *k.attributes);
    }),
};

}  // namespace slimneck::ops
