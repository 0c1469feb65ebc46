#include "layers/ops/fast.hpp"

#include <algorithm>

#include "layers/ops/geometry.hpp"

namespace slimneck::ops {

namespace {

using kernels::Algorithm;

Algorithm algorithm_of(const Target& t) { return t.direct ? Algorithm::direct : Algorithm::best; }

template <class Args>
void set_geometry(Args& args, const Attributes& a, const Shape& w, const Shape& read, const Shape& written) {
  static_cast<kernels::ConvGeometry&>(args) = kernels::conv_geometry(geometry(a, read.c, w.c), w, read, written);
}

/// Plain NCHW with rows in one piece: what a kernel with `planes` reads.
bool planar(const AnyView& v) { return v.block == 1 && v.sw == 1; }

/// Names of all kernels that may compute this convolution.
template <class Variant, class Args, class Pays>
std::vector<std::string_view> alternatives(std::span<const Variant> variants, const Args& args, const Target& target,
                                           const Pays& pays) {
  std::vector<std::string_view> names;
  for (const Variant& v : variants)
    if (kernels::usable(v, args, target.block, algorithm_of(target)) && pays(v)) names.push_back(v.name);
  return names;
}

void prepare_variant(const Target& target, const void* variant, const float* packed, float* prepared, index_t o,
                     index_t c, index_t kh, index_t kw) {
  const auto& v = *static_cast<const kernels::ConvVariant*>(variant);
  kernels::WeightArgs a;
  a.from = packed;
  a.to = prepared;
  a.o = a.o_physical = o;
  a.c = a.c_physical = c;
  a.kh = kh;
  a.kw = kw;
  a.order = v.order;
  (kernels::kernels_of(target.isa)->*v.prepare)(a);
}

}  // namespace

const kernels::Kernels* fast_kernels(DType type, const Target& target) noexcept {
  const kernels::Kernels* k = type == DType::f32 ? kernels::kernels_of(target.isa) : nullptr;
  return k && k->lanes == target.block ? k : nullptr;
}

kernels::PointwiseArgs pointwise(const KernelCall& k) noexcept {
  kernels::PointwiseArgs a;
  set_extent(a, k.outputs[0]);
  lay(k.inputs[0], a.x, a.xn, a.xb, a.xh);
  if (k.inputs.size() > 1) lay(k.inputs[1], a.z, a.zn, a.zb, a.zh);
  lay(k.outputs[0], a.y, a.yn, a.yb, a.yh);
  return a;
}

void begin_with(const AnyView& x, const KernelCall& k) noexcept {
  if (x.data == k.outputs[0].data) return;
  kernels::PointwiseArgs a;
  set_extent(a, x);
  lay(x, a.x, a.xn, a.xb, a.xh);
  lay(k.outputs[0], a.y, a.yn, a.yb, a.yh);
  kernels::kernels_of(k.target.isa)->map_copy(a);
}

Lowering lower_in_blocks(const LowerContext& c, std::string_view name, KernelFunction run, index_t workspace) {
  const kernels::Kernels* k = fast_kernels(c.type, c.target);
  if (!k) return {};
  const auto fits = [&](const AnyView& v) { return v.block == k->lanes || v.shape.h * v.shape.w <= 1; };
  if (!std::all_of(c.inputs.begin(), c.inputs.end(), fits) || !std::all_of(c.outputs.begin(), c.outputs.end(), fits) ||
      c.outputs[0].block != k->lanes)
    return {};
  Lowering l;
  l.kernel = name;
  l.run = run;
  l.workspace = workspace;
  return l;
}

void take_norm_bwd(Scratch& s, const AnyView& z, kernels::BnGradArgs& b, float*& scale, float*& bias) noexcept {
  set_extent(b, z);
  b.scale = scale = s.take(z.shape.c);
  b.bias = bias = s.take(z.shape.c);
  b.coefficients = s.take(3 * z.shape.c);
  b.workspace = s.take(kernels::bn_workspace(b.n, b.blocks, b.h, b.w, z.block));
}

index_t norm_bwd_workspace(const AnyView& z) noexcept {
  Scratch count(nullptr);
  kernels::BnGradArgs b;
  float *scale = nullptr, *bias = nullptr;
  take_norm_bwd(count, z, b, scale, bias);
  return count.taken();
}

void take_norm(Scratch& scratch, index_t channels) noexcept {
  scratch.take(channels);
  scratch.take(channels);
}

void run_norm(const AnyView& z, const AnyView& y, const Norm& norm, const kernels::Activation& act,
              const Target& target, Scratch& scratch) noexcept {
  const index_t channels = y.shape.c;
  kernels::BnArgs b;
  set_extent(b, y);
  lay(z, b.z, b.zn, b.zb, b.zh);
  lay(y, b.y, b.yn, b.yb, b.yh);
  b.scale = scratch.take(channels);
  b.bias = scratch.take(channels);
  b.act = act.kind;
  b.slope = static_cast<float>(act.slope);
  kernels::bn_fold(channels, norm.mean, norm.var, norm.gamma, norm.beta, norm.eps, b.scale, b.bias);
  kernels::kernels_of(target.isa)->bn_act(b);
}

void run_norm_bwd(const KernelCall& k, const float* beta, const kernels::Activation& act, bool batch_stats) noexcept {
  Scratch s(k.workspace);
  kernels::BnGradArgs b;
  float *scale = nullptr, *bias = nullptr;
  take_norm_bwd(s, k.inputs[1], b, scale, bias);
  lay(k.inputs[0], b.dy, b.dyn, b.dyb, b.dyh);
  lay(k.inputs[1], b.z, b.zn, b.zb, b.zh);
  lay(k.outputs[0], b.dz, b.dzn, b.dzb, b.dzh);
  b.mean = k.in<float>(2).data;
  b.var = k.in<float>(3).data;
  b.eps = k.attributes->real("eps");
  kernels::bn_fold(k.inputs[1].shape.c, b.mean, b.var, k.in<float>(4).data, beta, b.eps, scale, bias);
  b.act = act.kind;
  b.slope = static_cast<float>(act.slope);
  b.batch_stats = batch_stats;
  b.dgamma = k.out<float>(1).data;
  b.dbeta = k.out<float>(2).data;
  kernels::kernels_of(k.target.isa)->bn_act_bwd(b);
}

FastConv::FastConv(Direction direction, DType type, const Target& target, const Attributes& a, const AnyView& x,
                   const Shape& w, const AnyView& y) noexcept
    : kernels_(fast_kernels(type, target)), target_(target), direction_(direction), w_(w) {
  if (!kernels_ || y.block != kernels_->lanes) return;
  const index_t v = kernels_->lanes;
  const bool forward = direction == Direction::forward;
  if (a.integer("groups") > 1) {
    if (x.block != v) return;
    set_geometry(channelwise_, a, w, x.shape, y.shape);
    kernels::lay_x(x, channelwise_);
    channelwise_.blocks = kernels::blocks_of(y.shape.c, v);
    kernels::lay_y(y, channelwise_);
    depthwise_ =
        &(forward ? kernels::choose_depthwise_fwd(channelwise_) : kernels::choose_depthwise_bwd_x(channelwise_));
    channelwise_.strip = depthwise_->strip(channelwise_, v);
    return;
  }
  if (x.block != v && !planar(x)) return;
  set_geometry(conv_, a, w, x.shape, y.shape);
  kernels::lay_x(x, conv_);
  conv_.planes = x.block == v ? 0 : x.shape.c;
  conv_.x_blocks = kernels::blocks_of(x.shape.c, v);
  conv_.y_blocks = kernels::blocks_of(y.shape.c, v);
  kernels::lay_y(y, conv_);
  const kernels::ConvVariant& chosen = choose(algorithm_of(target));
  if ((conv_.planes > 0) != (chosen.order == kernels::WeightOrder::planes)) return;  // it does not read planes
  dense_ = chosen.name == target.kernel || pays(chosen) ? &chosen : &choose(Algorithm::direct);
  conv_.strip = dense_->strip(conv_, v);
}

const kernels::ConvVariant& FastConv::choose(Algorithm algorithm) const noexcept {
  const index_t v = kernels_->lanes;
  return direction_ == Direction::forward ? kernels::choose_conv_fwd(conv_, v, algorithm, target_.kernel)
                                          : kernels::choose_conv_bwd_x(conv_, v, algorithm, target_.kernel);
}

bool FastConv::pays(const kernels::ConvVariant& v) const noexcept {
  return !target_.train || kernels::pays_preparation(v, conv_, w_.n, w_.c);
}

Lowering FastConv::lowering(KernelFunction run) const noexcept {
  Lowering l;
  if (!possible()) return l;
  l.run = run;
  l.workspace = workspace();
  if (depthwise_) {
    l.kernel = depthwise_->name;
    l.weights = kernels::WeightOrder::depthwise;
    return l;
  }
  l.kernel = dense_->name;
  l.weights = dense_->order;
  if (dense_->prepare) {
    l.prepare = prepare_variant;
    l.variant = dense_;
    l.prepared = dense_->weights(w_.n, w_.c, w_.h * w_.w);
  }
  l.alternatives =
      alternatives(direction_ == Direction::forward ? kernels::conv_fwd_variants() : kernels::conv_bwd_x_variants(),
                   conv_, target_, [this](const kernels::ConvVariant& v) { return pays(v); });
  return l;
}

index_t FastConv::workspace() const noexcept {
  return dense_ && dense_->workspace ? dense_->workspace(conv_, kernels_->lanes, target_.threads) : 0;
}

kernels::MomentsArgs FastConv::moments_args(const float* moments, float* mean, float* var) const noexcept {
  const kernels::ConvGeometry& g = dense_ ? static_cast<const kernels::ConvGeometry&>(conv_) : channelwise_;
  const index_t blocks = dense_ ? conv_.y_blocks : channelwise_.blocks,
                strip = dense_ ? conv_.strip : channelwise_.strip;
  return kernels::moments_args(g.n, g.oh, g.ow, strip, blocks * kernels_->lanes, moments, mean, var);
}

index_t FastConv::moments() const noexcept {
  const kernels::MomentsArgs m = moments_args(nullptr, nullptr, nullptr);
  return kernels::moments_floats(m.n, m.h, m.strip, m.channels);
}

void FastConv::merge(const float* moments, float* mean, float* var) const noexcept {
  kernels::merge_moments(moments_args(moments, mean, var));
}

void FastConv::run(const float* weights, const kernels::Epilogue& epilogue, float* workspace) noexcept {
  if (depthwise_) {
    channelwise_.weights = weights;
    channelwise_.epilogue = epilogue;
    (kernels_->*depthwise_->run)(channelwise_);
    return;
  }
  conv_.weights = weights;
  conv_.epilogue = epilogue;
  conv_.workspace = workspace;
  (kernels_->*dense_->run)(conv_);
}

FastConvGrad::FastConvGrad(DType type, const Target& target, const Attributes& a, const AnyView& x, const AnyView& dy,
                           const Shape& dw) noexcept
    : kernels_(fast_kernels(type, target)), target_(target) {
  if (!kernels_ || dy.block != kernels_->lanes) return;
  const index_t v = kernels_->lanes;
  if (a.integer("groups") > 1) {
    if (x.block != v) return;
    set_geometry(channelwise_, a, dw, x.shape, dy.shape);
    kernels::lay_x(x, channelwise_);
    kernels::lay_dy(dy, channelwise_);
    channelwise_.blocks = kernels::blocks_of(x.shape.c, v);
    depthwise_ = &kernels::choose_depthwise_bwd_w(channelwise_);
    return;
  }
  if (x.block != v && !planar(x)) return;
  set_geometry(conv_, a, dw, x.shape, dy.shape);
  kernels::lay_x(x, conv_);
  kernels::lay_dy(dy, conv_);
  conv_.planes = x.block == v ? 0 : x.shape.c;
  conv_.x_blocks = kernels::blocks_of(x.shape.c, v);
  conv_.y_blocks = kernels::blocks_of(dy.shape.c, v);
  const kernels::ConvGradVariant& chosen = kernels::choose_conv_bwd_w(conv_, v, algorithm_of(target), target.kernel);
  if ((conv_.planes > 0) == (chosen.order == kernels::WeightOrder::planes)) dense_ = &chosen;
}

Lowering FastConvGrad::lowering(KernelFunction run) const noexcept {
  Lowering l;
  if (!possible()) return l;
  l.run = run;
  l.kernel = dense_ ? dense_->name : depthwise_->name;
  l.weights = dense_ ? dense_->order : kernels::WeightOrder::depthwise;
  l.workspace = workspace();
  if (dense_)
    l.alternatives = alternatives(kernels::conv_bwd_w_variants(), conv_, target_, [](const auto&) { return true; });
  return l;
}

index_t FastConvGrad::workspace() const noexcept {
  if (dense_) return dense_->workspace ? dense_->workspace(conv_, kernels_->lanes, target_.threads) : 0;
  return depthwise_->workspace ? depthwise_->workspace(channelwise_, kernels_->lanes) : 0;
}

void FastConvGrad::run(float* dw, float* workspace) noexcept {
  if (dense_) {
    conv_.dw = dw;
    conv_.workspace = workspace;
    (kernels_->*dense_->run)(conv_);
  } else {
    channelwise_.dw = dw;
    channelwise_.workspace = workspace;
    (kernels_->*depthwise_->run)(channelwise_);
  }
}

}  // namespace slimneck::ops
