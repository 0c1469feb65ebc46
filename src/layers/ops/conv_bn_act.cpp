// Conv of the YOLO world in one node: convolution, batch norm, activation (recognised by
// rewrites/fuse_conv_bn_act.cpp).
//   inference: x, w, scale, bias [, r] -> y = act(conv(x, w) scale + bias) [+ r]; bn_fold makes scale and bias
//   training:  x, w, gamma, beta            -> y, z = conv(x, w), mean(z), var(z); z and its statistics serve backward
#include "layers/ops/composite.hpp"
#include "layers/ops/cuda.hpp"
#include "layers/ops/fast.hpp"

namespace slimneck::ops {

namespace {

std::vector<Shape> infer(const Attributes& a, Shapes in) {
  const bool train = a.integer("train") != 0;
  require_inputs(in, 4, train ? 4 : 5);
  static_cast<void>(activation_attribute(a));
  const Shape z = convolved(a, in[0], in[1]), v = channel_vector(z);
  for (const Shape& s : in.subspan(2, 2)) require_shape("a number per channel", s, v);
  if (in.size() > 4) require_shape("what is added", in[4], z);
  if (!train) return {z};
  require_at_least("values per channel in training", z.n * z.h * z.w, 2);
  return {z, z, v, v};
}

std::string_view maps(const Attributes& a, Shapes in) {
  const bool train = a.integer("train") != 0;
  const index_t groups = a.integer("groups");
  const bool added = in.size() > 4;
  if (groups == 1) return train ? "-a,ba,-b,-b>-b,-b,-b,-b" : added ? "-a,ba,-b,-b,-b>-b" : "-a,ba,-b,-b>-b";
  if (groups == in[0].c && in[0].c == in[1].n)
    return train ? "-a,a-,-a,-a>-a,-a,-a,-a" : added ? "-a,a-,-a,-a,-a>-a" : "-a,a-,-a,-a>-a";
  return {};
}

Cost cost(const Attributes& a, Shapes in, Shapes out) {
  Cost c;
  c.macs = convolution_macs(out[0], in[1]);
  c.norm_elements = out[0].numel();
  if (a.integer("act") != 0) c.act_elements = out[0].numel();
  if (in.size() > 4) c.other_flops = out[0].numel();
  return c;
}

Cost norm_act_cost(const Attributes& a, Shapes in, Shapes) {
  Cost c;
  c.norm_elements = in[0].numel();
  if (a.integer("act") != 0) c.act_elements = in[0].numel();
  return c;
}

template <class T>
void run(const KernelCall& k) {
  const Attributes& a = *k.attributes;
  const View<T> y = k.out<T>(0);
  if (a.integer("train") == 0) {
    convolve<T>(k, y);
    scale_act<T>(y, k.in<T>(2), k.in<T>(3), a);
    if (k.inputs.size() > 4) kernels::add<T>(y, k.in<T>(4), y);
    return;
  }
  const View<T> z = k.out<T>(1);
  convolve<T>(k, z);
  kernels::bn_stats<T>(z, k.out<T>(2), k.out<T>(3));
  norm_act<T>(z, k.out<T>(2), k.out<T>(3), k.in<T>(2), k.in<T>(3), y, a);
}

/// The fast form: in inference one pass, with scale, bias and activation at the end of the convolution; in training the
/// statistics are gathered there, and a second pass over z normalises and activates.
class Fast {
 public:
  Fast(DType type, const Target& target, const Attributes& a, std::span<const AnyView> in, std::span<const AnyView> out,
       void* memory)
      : a_(a),
        in_(in),
        out_(out),
        target_(target),
        train_(a.integer("train") != 0),
        conv_(FastConv::Direction::forward, type, target, a, in[0], in[1].shape, out[train_ ? 1 : 0]),
        scratch_(memory) {
    if (!possible()) return;
    work_ = scratch_.take(conv_.workspace());
    if (!train_) return;
    moments_ = scratch_.take(conv_.moments());
    after_ = scratch_;
    take_norm(scratch_, out[0].shape.c);
  }

  [[nodiscard]] Lowering lowering(KernelFunction run) const {
    if (!possible()) return {};
    Lowering l = conv_.lowering(run);
    l.workspace = scratch_.taken();
    return l;
  }

  void run() {
    const auto vector = [](const AnyView& v) { return static_cast<float*>(v.data); };
    const kernels::Activation act = activation_attribute(a_);
    if (!train_) {
      kernels::Epilogue e = kernels::ending(vector(in_[2]), vector(in_[3]), act.kind, static_cast<float>(act.slope));
      if (in_.size() > 4) lay(in_[4], e.residual, e.rn, e.rb, e.rh);
      conv_.run(vector(in_[1]), e, work_);
      return;
    }
    kernels::Epilogue e;
    e.moments = moments_;
    conv_.run(vector(in_[1]), e, work_);
    float *mean = vector(out_[2]), *var = vector(out_[3]);
    conv_.merge(moments_, mean, var);
    run_norm(out_[1], out_[0], {mean, var, vector(in_[2]), vector(in_[3]), a_.real("eps")}, act, target_, after_);
  }

 private:
  /// What is added has to lie in blocks, too: a parameter does not.
  [[nodiscard]] bool possible() const { return conv_.possible() && (in_.size() < 5 || in_[4].block == out_[0].block); }

  const Attributes& a_;
  std::span<const AnyView> in_, out_;
  Target target_;
  bool train_;
  FastConv conv_;
  Scratch scratch_, after_{nullptr};
  float *work_ = nullptr, *moments_ = nullptr;
};

Lowering lower(const LowerContext& c) {
  return Fast(c.type, c.target, *c.attributes, c.inputs, c.outputs, nullptr).lowering([](const KernelCall& k) {
    Fast(DType::f32, k.target, *k.attributes, k.inputs, k.outputs, k.workspace).run();
  });
}

/// y again, from z and its statistics.
Recipe recompute(const Node& node, int self, int output) {
  if (output != 0 || node.attributes.integer("train") == 0) return {};
  return {&bn_act, {{self, 1}, {self, 2}, {self, 3}, node.inputs[2], node.inputs[3]}, norm_act_of(node.attributes)};
}

Lowering lower_norm(const LowerContext& c) {
  Scratch count(nullptr);
  take_norm(count, c.outputs[0].shape.c);
  const auto run = [](const KernelCall& k) {
    const auto vector = [&](std::size_t i) { return k.in<float>(i).data; };
    Scratch s(k.workspace);
    run_norm(k.inputs[0], k.outputs[0], {vector(1), vector(2), vector(3), vector(4), k.attributes->real("eps")},
             activation_attribute(*k.attributes), k.target, s);
  };
  return lower_in_blocks(c, "bn_act", run, count.taken());
}

/// dy, z, mean, var, gamma, beta -> dz, dgamma, dbeta.
Lowering lower_bwd(const LowerContext& c) {
  return lower_in_blocks(
      c, "bn_act_bwd",
      [](const KernelCall& k) { run_norm_bwd(k, k.in<float>(5).data, activation_attribute(*k.attributes), true); },
      norm_bwd_workspace(c.inputs[1]));
}

// ---- CUDA ----
/// In inference z is y itself.
CudaConv cuda_conv(const Target& target, const Attributes& a, std::span<const AnyView> in,
                   std::span<const AnyView> out) {
  return {target, a, in[0].shape, in[1].shape, out[0].shape};
}

void run_cuda(const KernelCall& k) {
  const kernels::Activation act = activation_attribute(*k.attributes);
  kernels::fast::Finish finish{k.in<float>(2), k.in<float>(3), act, {}};
  if (k.inputs.size() > 4) finish.residual = k.in<float>(4);
  cuda_conv(k.target, *k.attributes, k.inputs, k.outputs).forward(k, k.out<float>(0), finish);
}

void run_cuda_train(const KernelCall& k) {
  const auto y = k.out<float>(0), z = k.out<float>(1), mean = k.out<float>(2), var = k.out<float>(3);
  cuda_conv(k.target, *k.attributes, k.inputs, k.outputs).forward(k, z, {});
  cuda(k).bn_stats(*k.stream, z, mean, var, static_cast<float*>(k.workspace));
  cuda_norm(k, z, mean, var, 2, y, activation_attribute(*k.attributes));
}

/// The two work areas are used one after the other.
Lowering lower_cuda(const LowerContext& c) {
  const CudaConv conv = cuda_conv(c.target, *c.attributes, c.inputs, c.outputs);
  if (c.attributes->integer("train") == 0) return conv.lowering(c, run_cuda);
  Lowering l = conv.lowering(c, run_cuda_train);
  l.workspace = std::max(l.workspace, c.target.cuda->norm_workspace(c.outputs[0].shape));
  return l;
}

Lowering lower_norm_cuda(const LowerContext&) {
  return lower_to_cuda("bn_apply", [](const KernelCall& k) {
    cuda_norm(k, k.in<float>(0), k.in<float>(1), k.in<float>(2), 3, k.out<float>(0),
              activation_attribute(*k.attributes));
  });
}

Lowering lower_bwd_cuda(const LowerContext& c) {
  const auto run = [](const KernelCall& k) { cuda_norm_bwd(k, activation_attribute(*k.attributes), true); };
  return lower_to_cuda("bn_bwd", run, c.target.cuda->norm_workspace(c.inputs[1].shape));
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
    .stands_for = "conv2d batch_norm activation",
    .infer = infer,
    .maps = maps,
    .cost = cost,
    .reference = Reference::of([]<class T>(const KernelCall& k) { run<T>(k); }),
    .gradient = gradient,
    .recompute = recompute,
    .lower = lower,
    .lower_cuda = lower_cuda,
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

/// z, mean, var, gamma, beta -> y = act(bn(z)): what a training plan computes again instead of keeping it.
const OpDef bn_act{
    .name = "bn_act",
    .attributes = norm_act_attributes,
    .stands_for = "batch_norm activation",
    .in_place = first_input,
    .infer = [](const Attributes&, Shapes in) -> std::vector<Shape> {
      require_inputs(in, 5, 5);
      for (const Shape& s : in.subspan(1)) require_shape("a number per channel", s, channel_vector(in[0]));
      return {in[0]};
    },
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a,-a,-a,-a,-a>-a"; },
    .cost = norm_act_cost,
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      norm_act<T>(k.in<T>(0), k.in<T>(1), k.in<T>(2), k.in<T>(3), k.in<T>(4), k.out<T>(0), *k.attributes);
    }),
    .lower = lower_norm,
    .lower_cuda = lower_norm_cuda,
};

/// dy, z, mean, var, gamma, beta -> dz, dgamma, dbeta for y = act(bn(z)).
const OpDef bn_act_bwd{
    .name = "bn_act_bwd",
    .attributes = norm_act_attributes,
    .stands_for = "act_bwd bn_bwd",
    .in_place = first_input,
    .infer = [](const Attributes&, Shapes in) -> std::vector<Shape> {
      require_inputs(in, 6, 6);
      require_shape("z", in[1], in[0]);
      const Shape v = channel_vector(in[0]);
      for (const Shape& s : in.subspan(2)) require_shape("a number per channel", s, v);
      return {in[0], v, v};
    },
    .maps = [](const Attributes&, Shapes) -> std::string_view { return "-a,-a,-a,-a,-a,-a>-a,-a,-a"; },
    .cost = norm_act_cost,
    .reference = Reference::of([]<class T>(const KernelCall& k) {
      const View<T> dz = k.out<T>(0), scratch(static_cast<T*>(k.workspace), dz.shape, dz.block);
      norm_act_bwd<T>(k.in<T>(0), k.in<T>(1), k.in<T>(2), k.in<T>(3), k.in<T>(4), k.in<T>(5), scratch, dz, k.out<T>(1),
                      k.out<T>(2), *k.attributes);
    }),
    .workspace = [](const Attributes&, Shapes in) { return in[0].numel(); },
    .lower = lower_bwd,
    .lower_cuda = lower_bwd_cuda,
};

}  // namespace slimneck::ops
