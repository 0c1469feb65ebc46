// The heart of GSConv in one node: z1 = conv(x, w1), a = act(bn1 z1), z2 = dw(a, w2), b = act(bn2 z2). The concat of a
// and b and the shuffle are bookkeeping of the plan (recognised by rewrites/fuse_gs_pair.cpp).
//   inference: x, w1, scale1, bias1, w2, scale2, bias2 -> a, b, where bn z is z scale + bias
//   training:  x, w1, gamma1, beta1, w2, gamma2, beta2 -> a, b, z1, mean1, var1, z2, mean2, var2
#include "kernels/gsconv/gsconv.hpp"
#include "layers/ops/composite.hpp"
#include "layers/ops/cuda.hpp"
#include "layers/ops/fast.hpp"

namespace slimneck::ops {

namespace {

constexpr std::size_t w2 = 4;            ///< operand of the depthwise weights
constexpr std::size_t db_alone[] = {1};  ///< read before anything is written; da is not

/// The depthwise half keeps the map's extent: stride 1, padding k/2.
kernels::Conv2d depthwise(const Shape& map, const Shape& w) {
  kernels::Conv2d g;
  g.pad_h = w.h / 2;
  g.pad_w = w.w / 2;
  g.groups = map.c;
  return g;
}

std::vector<Shape> infer(const Attributes& a, Shapes in) {
  const bool train = a.integer("train") != 0;
  require_inputs(in, 7, 7);
  static_cast<void>(activation_attribute(a));
  const Shape z = convolved(a, in[0], in[1]), v = channel_vector(z);
  if (in[w2].n != z.c || in[w2].c != 1 || in[w2].h % 2 == 0 || in[w2].w % 2 == 0)
    throw ShapeError("depthwise weights are " + to_string(in[w2]) + ", wanted " + std::to_string(z.c) +
                     "x1 and an odd kernel");
  for (std::size_t i = 2; i < in.size(); ++i)
    if (i != w2) require_shape("a number per channel", in[i], v);
  if (!train) return {z, z};
  require_at_least("values per channel in training", z.n * z.h * z.w, 2);
  return {z, z, z, v, v, z, v, v};
}

std::string_view maps(const Attributes& a, Shapes) {
  if (a.integer("groups") != 1) return {};
  return a.integer("train") != 0 ? "-a,ba,-b,-b,b-,-b,-b>-b,-b,-b,-b,-b,-b,-b,-b" : "-a,ba,-b,-b,b-,-b,-b>-b,-b";
}

Cost cost(const Attributes& a, Shapes in, Shapes out) {
  Cost c;
  c.macs = convolution_macs(out[0], in[1]) + convolution_macs(out[0], in[w2]);
  c.norm_elements = 2 * out[0].numel();
  if (a.integer("act") != 0) c.act_elements = 2 * out[0].numel();
  return c;
}

template <class T>
void run(const KernelCall& k) {
  const Attributes& attr = *k.attributes;
  const bool train = attr.integer("train") != 0;
  const View<const T> depthwise_w = k.in<T>(w2);
  const View<T> a = k.out<T>(0), b = k.out<T>(1), z1 = train ? k.out<T>(2) : a, z2 = train ? k.out<T>(5) : b;

  convolve<T>(k, z1);
  if (train) {
    kernels::bn_stats<T>(z1, k.out<T>(3), k.out<T>(4));
    norm_act<T>(z1, k.out<T>(3), k.out<T>(4), k.in<T>(2), k.in<T>(3), a, attr);
  } else {
    scale_act<T>(a, k.in<T>(2), k.in<T>(3), attr);
  }
  kernels::conv2d_fwd<T>(a, depthwise_w, {}, z2, depthwise(a.shape, depthwise_w.shape));
  if (train) {
    kernels::bn_stats<T>(z2, k.out<T>(6), k.out<T>(7));
    norm_act<T>(z2, k.out<T>(6), k.out<T>(7), k.in<T>(5), k.in<T>(6), b, attr);
  } else {
    scale_act<T>(b, k.in<T>(5), k.in<T>(6), attr);
  }
}

// ---- fast forms ----

kernels::MapAt map_of(const AnyView& v) noexcept {
  kernels::MapAt m;
  lay(v, m.data, m.sn, m.sb, m.sh);
  return m;
}

float* vector(const AnyView& v) noexcept { return static_cast<float*>(v.data); }

/// Has the fused pass this kernel?
bool fused_kernel(const Shape& w) noexcept { return w.h == w.w && (w.h == 3 || w.h == 5); }

/// kernels/gsconv/gsconv.hpp for a node: in inference two kernels with everything at their ends, in training three
/// passes.
class Fast {
 public:
  Fast(DType type, const Target& target, const Attributes& a, std::span<const AnyView> in, std::span<const AnyView> out,
       void* memory)
      : a_(a),
        in_(in),
        out_(out),
        kernels_(fast_kernels(type, target)),
        train_(a.integer("train") != 0),
        conv_(FastConv::Direction::forward, type, target, a, in[0], in[1].shape, out[0]),
        scratch_(memory) {
    if (!possible()) return;
    pair_.variant = conv_.dense();
    pair_.conv = conv_.dense_args();
    pair_.conv.weights = vector(in[1]);
    pair_.conv.workspace = scratch_.take(conv_.workspace());
    pair_.k = in[w2].shape.h;
    pair_.w2 = vector(in[w2]);
    pair_.a = map_of(out[0]);
    pair_.b = map_of(out[1]);
    const kernels::Activation act = activation_attribute(a);
    pair_.act = act.kind;
    pair_.slope = static_cast<float>(act.slope);
    if (train_) work_ = scratch_.take(kernels::gs_pair_train_workspace(pair_, kernels_->lanes));
  }

  [[nodiscard]] Lowering lowering(KernelFunction run) const {
    if (!possible()) return {};
    Lowering l = conv_.lowering(run);
    l.workspace = scratch_.taken();
    return l;
  }

  void run() noexcept { train_ ? train() : infer(); }

 private:
  [[nodiscard]] bool possible() const noexcept { return conv_.dense() && fused_kernel(in_[w2].shape); }

  void infer() noexcept {
    kernels::gs_pair_infer(*kernels_, pair_, {vector(in_[2]), vector(in_[3]), vector(in_[5]), vector(in_[6])});
  }

  void train() noexcept {
    kernels::PairTraining t;
    t.gamma1 = vector(in_[2]);
    t.beta1 = vector(in_[3]);
    t.gamma2 = vector(in_[5]);
    t.beta2 = vector(in_[6]);
    t.eps = a_.real("eps");
    t.z1 = map_of(out_[2]);
    t.mean1 = vector(out_[3]);
    t.var1 = vector(out_[4]);
    t.z2 = map_of(out_[5]);
    t.mean2 = vector(out_[6]);
    t.var2 = vector(out_[7]);
    t.workspace = work_;
    kernels::gs_pair_train(*kernels_, pair_, t);
  }

  const Attributes& a_;
  std::span<const AnyView> in_, out_;
  const kernels::Kernels* kernels_;
  bool train_;
  FastConv conv_;
  Scratch scratch_;
  kernels::GsPair pair_;
  float* work_ = nullptr;
};

Lowering lower(const LowerContext& c) {
  return Fast(c.type, c.target, *c.attributes, c.inputs, c.outputs, nullptr).lowering([](const KernelCall& k) {
    Fast(DType::f32, k.target, *k.attributes, k.inputs, k.outputs, k.workspace).run();
  });
}

kernels::GsPairGrad grad_of(const Attributes& a, std::span<const AnyView> in, std::span<const AnyView> out) noexcept {
  kernels::GsPairGrad g;
  set_extent(g, in[2]);
  g.k = in[10].shape.h;
  g.da = map_of(in[0]);
  g.db = map_of(in[1]);
  g.z1 = map_of(in[2]);
  g.mean1 = vector(in[3]);
  g.var1 = vector(in[4]);
  g.z2 = map_of(in[5]);
  g.mean2 = vector(in[6]);
  g.var2 = vector(in[7]);
  g.gamma1 = vector(in[8]);
  g.beta1 = vector(in[9]);
  g.w2 = vector(in[10]);
  g.gamma2 = vector(in[11]);
  g.beta2 = vector(in[12]);
  g.eps = a.real("eps");
  const kernels::Activation act = activation_attribute(a);
  g.act = act.kind;
  g.slope = static_cast<float>(act.slope);
  g.dz1 = map_of(out[0]);
  g.dgamma1 = vector(out[1]);
  g.dbeta1 = vector(out[2]);
  g.dw2 = vector(out[3]);
  g.dgamma2 = vector(out[4]);
  g.dbeta2 = vector(out[5]);
  return g;
}

Lowering lower_bwd(const LowerContext& c) {
  const kernels::Kernels* k = fast_kernels(c.type, c.target);
  if (!k || c.inputs[2].block != k->lanes || !fused_kernel(c.inputs[10].shape)) return {};
  Lowering l;
  l.kernel = "gs_pair_bwd";
  l.weights = kernels::WeightOrder::depthwise;
  l.workspace = kernels::gs_pair_bwd_workspace(grad_of(*c.attributes, c.inputs, c.outputs), k->lanes, c.target.threads);
  l.run = [](const KernelCall& call) {
    kernels::GsPairGrad g = grad_of(*call.attributes, call.inputs, call.outputs);
    g.workspace = static_cast<float*>(call.workspace);
    kernels::gs_pair_bwd(*kernels::kernels_of(call.target.isa), g);
  };
  return l;
}

// ---- CUDA ----
void run_cuda_infer(const KernelCall& k) {
  const auto x = k.in<float>(0), w1 = k.in<float>(1);
  const kernels::Activation act = activation_attribute(*k.attributes);
  cuda(k).gs_pair_infer(*k.stream, x, w1, {k.in<float>(2), k.in<float>(3), act, {}}, k.in<float>(w2),
                        {k.in<float>(5), k.in<float>(6), act, {}}, k.out<float>(0), k.out<float>(1),
                        geometry(*k.attributes, x.shape.c, w1.shape.c), static_cast<float*>(k.workspace));
}

void run_cuda_train(const KernelCall& k) {
  const auto x = k.in<float>(0), w1 = k.in<float>(1);
  const kernels::fast::PairWeights weights{
      w1, {k.in<float>(2), k.in<float>(3), {}, {}}, k.in<float>(w2), {k.in<float>(5), k.in<float>(6), {}, {}}};
  const kernels::fast::PairSaved<float> saved{k.out<float>(2), k.out<float>(3), k.out<float>(4),
                                              k.out<float>(5), k.out<float>(6), k.out<float>(7)};
  cuda(k).gs_pair_train(
      *k.stream, x, weights, k.out<float>(0), k.out<float>(1), saved,
      {geometry(*k.attributes, x.shape.c, w1.shape.c), activation_attribute(*k.attributes), k.attributes->real("eps")},
      static_cast<float*>(k.workspace));
}

Lowering lower_cuda(const LowerContext& c) {
  const Shape &x = c.inputs[0].shape, &w1 = c.inputs[1].shape;
  const index_t workspace =
      c.target.cuda->gs_pair_workspace(x, w1, c.inputs[w2].shape, geometry(*c.attributes, x.c, w1.c));
  return c.attributes->integer("train") != 0 ? lower_to_cuda("gs_pair_train", run_cuda_train, workspace)
                                             : lower_to_cuda("gs_pair_infer", run_cuda_infer, workspace);
}

void run_cuda_bwd(const KernelCall& k) {
  const kernels::fast::PairWeights weights{
      {}, {k.in<float>(8), k.in<float>(9), {}, {}}, k.in<float>(10), {k.in<float>(11), k.in<float>(12), {}, {}}};
  const kernels::fast::PairSaved<const float> saved{k.in<float>(2), k.in<float>(3), k.in<float>(4),
                                                    k.in<float>(5), k.in<float>(6), k.in<float>(7)};
  const kernels::fast::PairGradients gradients{
      {}, {}, k.out<float>(1), k.out<float>(2), k.out<float>(3), k.out<float>(4), k.out<float>(5)};
  cuda(k).gs_pair_bwd(*k.stream, k.in<float>(0), k.in<float>(1), weights, saved, k.out<float>(0), gradients,
                      {{}, activation_attribute(*k.attributes), k.attributes->real("eps")},
                      static_cast<float*>(k.workspace), kernels::Write::set);
}

/// Scratch memory as for a 1x1 convolution in front of it.
Lowering lower_bwd_cuda(const LowerContext& c) {
  const Shape& z = c.inputs[2].shape;
  return lower_to_cuda("gs_pair_bwd", run_cuda_bwd,
                       c.target.cuda->gs_pair_workspace(z, {z.c, z.c, 1, 1}, c.inputs[10].shape, {}));
}

void gradient(GradientContext& g) {
  require_training_form(g.attributes());
  const Value bwd = g.emit(gs_pair_bwd,
                           {g.gradient(0), g.gradient(1), g.output(2), g.output(3), g.output(4), g.output(5),
                            g.output(6), g.output(7), g.input(2), g.input(3), g.input(4), g.input(5), g.input(6)},
                           norm_act_of(g.attributes()), "bwd_pair");
  for (int i = 1; i < 6; ++i) g.contribute(static_cast<std::size_t>(i) + 1, {bwd.node, i});
  convolution_gradient(g, 0, 1, bwd);
}

/// A half again, from z1 or z2 and their statistics.
Recipe recompute(const Node& node, int self, int output) {
  if (output > 1 || node.attributes.integer("train") == 0) return {};
  const int z = output == 0 ? 2 : 5;
  const std::size_t gamma = output == 0 ? 2 : 5;
  return {&bn_act,
          {{self, z}, {self, z + 1}, {self, z + 2}, node.inputs[gamma], node.inputs[gamma + 1]},
          norm_act_of(node.attributes)};
}

std::vector<Shape> infer_bwd(const Attributes&, Shapes in) {
  require_inputs(in, 13, 13);
  const Shape &z = in[2], v = channel_vector(z);
  for (const Shape& half : in.first(2))
    if (!absent(half)) require_shape("the gradient of a half", half, z);
  require_shape("z2", in[5], z);
  return {z, v, v, in[10], v, v};
}

/// da, db (either may be absent), z1, mean1, var1, z2, mean2, var2, gamma1, beta1, w2, gamma2, beta2
///   -> dz1, dgamma1, dbeta1, dw2, dgamma2, dbeta2. a is computed again from z1: cheaper than keeping it.
template <class T>
void run_bwd(const KernelCall& k) {
  const Attributes& attr = *k.attributes;
  const View<const T> da = k.in<T>(0), db = k.in<T>(1), z1 = k.in<T>(2), mean1 = k.in<T>(3), var1 = k.in<T>(4);
  const View<const T> gamma1 = k.in<T>(8), beta1 = k.in<T>(9), w = k.in<T>(10);
  const View<T> dz1 = k.out<T>(0);
  const View<T> dz2(static_cast<T*>(k.workspace), z1.shape, z1.block);
  const kernels::Conv2d dw = depthwise(z1.shape, w.shape);

  if (db.data)
    norm_act_bwd<T>(db, k.in<T>(5), k.in<T>(6), k.in<T>(7), k.in<T>(11), k.in<T>(12), dz2, dz2, k.out<T>(4),
                    k.out<T>(5), attr);
  else
    for (const View<T>& zero : {dz2, k.out<T>(4), k.out<T>(5)}) kernels::fill_zero<T>(zero);
  norm_act<T>(z1, mean1, var1, gamma1, beta1, dz1, attr);  // dz1 holds a for a moment
  kernels::conv2d_bwd_w<T>(dz1, dz2, k.out<T>(3), dw);
  kernels::conv2d_bwd_x<T>(dz2, w, dz1, dw);
  if (da.data) kernels::add<T>(dz1, da, dz1);
  norm_act_bwd<T>(dz1, z1, mean1, var1, gamma1, beta1, dz2, dz1, k.out<T>(1), k.out<T>(2), attr);
}

}  // namespace

const OpDef gs_pair{
    .name = "gs_pair",
    .attributes = composite_attributes,
    .stands_for = "conv2d batch_norm activation, depthwise conv2d batch_norm activation",
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
      return {{"1x1_mish",
               {{2, 3, 3, 4}, {4, 3, 1, 1}, v, v, {4, 1, 5, 5}, v, v},
               {{"act", index_t{2}}, {"train", index_t{1}}},
               2},
              {"3x3_s2_none",
               {{2, 3, 5, 4}, {4, 3, 3, 3}, v, v, {4, 1, 5, 5}, v, v},
               {{"stride", index_t{2}}, {"pad_h", index_t{1}}, {"pad_w", index_t{1}}, {"train", index_t{1}}},
               2}};
    },
};

const OpDef gs_pair_bwd{
    .name = "gs_pair_bwd",
    .attributes = norm_act_attributes,
    .stands_for = "act_bwd bn_bwd, depthwise conv2d_bwd_x conv2d_bwd_w, act_bwd bn_bwd",
    .apart_on_cuda = true,
    .in_place = db_alone,
    .infer = infer_bwd,
    .maps = [](const Attributes&, Shapes) -> std::string_view {
      return "-b,-b,-b,-b,-b,-b,-b,-b,-b,-b,b-,-b,-b>-b,-b,-b,b-,-b,-b";
    },
    .cost =
        [](const Attributes& a, Shapes in, Shapes) {
          Cost c;
          c.macs = 2 * convolution_macs(in[2], in[10]);
          c.norm_elements = 2 * in[2].numel();
          if (a.integer("act") != 0) c.act_elements = 2 * in[2].numel();
          return c;
        },
    .reference = Reference::of([]<class T>(const KernelCall& k) { run_bwd<T>(k); }),
    .workspace = [](const Attributes&, Shapes in) { return in[2].numel(); },
    .lower = lower_bwd,
    .lower_cuda = lower_bwd_cuda,
};

}  // namespace slimneck::ops
