#include "kernels/plain/conv.hpp"

namespace slimneck::kernels::plain {

namespace {

WeightArgs dense_weights(const Shape& w, WeightOrder order, index_t lanes) {
  WeightArgs a;
  a.o = w.n;
  a.c = w.c;
  a.kh = w.h;
  a.kw = w.w;
  a.o_physical = kernels::blocks_of(w.n, lanes) * lanes;
  a.c_physical = order == WeightOrder::planes ? w.c : kernels::blocks_of(w.c, lanes) * lanes;
  a.order = order;
  return a;
}

WeightArgs depthwise_weights(const Shape& w, index_t lanes) {
  WeightArgs a;
  a.o = w.n;
  a.c = 1;
  a.kh = w.h;
  a.kw = w.w;
  a.o_physical = kernels::blocks_of(w.n, lanes) * lanes;
  a.c_physical = 1;
  a.order = WeightOrder::depthwise;
  return a;
}

index_t floats_of(const WeightArgs& a) { return a.o_physical * a.c_physical * a.kh * a.kw; }

void pack(const Machine& machine, WeightArgs a, View<const float> w, float* plain, float* packed) {
  to_dense(w, plain);
  a.from = plain;
  a.to = packed;
  machine.kernels->pack_weights(a);
}

void unpack(const Machine& machine, WeightArgs a, float* packed, float* plain, View<float> dw, Write write) {
  a.from = packed;
  a.to = plain;
  machine.kernels->unpack_weights(a);
  from_dense(plain, dw, write);
}

}  // namespace

// ---- Dense
// -----------------------------------------------------------------------------------------------------------

DenseData::DenseData(const Machine& machine, const ConvShape& shape, bool backward, bool planes, Algorithm algorithm,
                     Workspace& workspace)
    : machine_(machine) {
  const index_t lanes = machine.lanes;
  const Shape &from = backward ? shape.y : shape.x, &to = backward ? shape.x : shape.y;
  static_cast<ConvGeometry&>(args_) = conv_geometry(shape.geometry, shape.w, from, to);
  args_.x_blocks = kernels::blocks_of(from.c, lanes);
  args_.y_blocks = kernels::blocks_of(to.c, lanes);
  // The maps are dense: what a variant decides from their strides it decides here, too.
  lay_x(View<float>(nullptr, from, planes ? 1 : lanes), args_);
  lay_y(View<float>(nullptr, to, lanes), args_);
  if (planes) args_.planes = from.c;
  variant_ = backward ? &choose_conv_bwd_x(args_, lanes, algorithm) : &choose_conv_fwd(args_, lanes, algorithm);
  args_.strip = variant_->strip(args_, lanes);
  weights_ = dense_weights(shape.w, variant_->order, lanes);
  plain_ = workspace.take(shape.w.numel());
  packed_ = workspace.take(floats_of(weights_));
  if (variant_->prepare)
    prepared_ = workspace.take(variant_->weights(weights_.o_physical, weights_.c_physical, weights_.kh * weights_.kw));
  args_.workspace = workspace.take(variant_->workspace(args_, lanes, machine.threads));
}

ConvArgs DenseData::prepare(View<const float> x, View<const float> w) const noexcept {
  pack(machine_, weights_, w, plain_, packed_);
  if (variant_->prepare) {
    WeightArgs p = weights_;
    p.from = packed_;
    p.to = prepared_;
    (machine_.kernels->*variant_->prepare)(p);
  }
  ConvArgs a = args_;
  lay_x(x, a);
  a.weights = variant_->prepare ? prepared_ : packed_;
  return a;
}

void DenseData::run(View<const float> x, View<const float> w, View<float> y, const Epilogue& epilogue) const noexcept {
  ConvArgs a = prepare(x, w);
  lay_y(y, a);
  a.epilogue = epilogue;
  (machine_.kernels->*variant_->run)(a);
}

DenseWeights::DenseWeights(const Machine& machine, const ConvShape& shape, bool planes, Algorithm algorithm,
                           Workspace& workspace)
    : machine_(machine) {
  const index_t lanes = machine.lanes;
  static_cast<ConvGeometry&>(args_) = conv_geometry(shape.geometry, shape.w, shape.x, shape.y);
  args_.x_blocks = kernels::blocks_of(shape.x.c, lanes);
  args_.y_blocks = kernels::blocks_of(shape.y.c, lanes);
  lay_x(View<float>(nullptr, shape.x, planes ? 1 : lanes), args_);
  lay_dy(View<float>(nullptr, shape.y, lanes), args_);
  if (planes) args_.planes = shape.x.c;
  variant_ = &choose_conv_bwd_w(args_, lanes, algorithm);
  weights_ = dense_weights(shape.w, variant_->order, lanes);
  plain_ = workspace.take(shape.w.numel());
  args_.dw = workspace.take(floats_of(weights_));
  args_.workspace = workspace.take(variant_->workspace(args_, lanes, machine.threads));
}

void DenseWeights::run(View<const float> x, View<const float> dy, View<float> dw, Write write) const noexcept {
  ConvGradArgs a = args_;
  lay_x(x, a);
  lay_dy(dy, a);
  (machine_.kernels->*variant_->run)(a);
  unpack(machine_, weights_, a.dw, plain_, dw, write);
}

// ---- Depthwise
// -------------------------------------------------------------------------------------------------------

DepthwiseData::DepthwiseData(const Machine& machine, const ConvShape& shape, bool backward, Workspace& workspace)
    : machine_(machine), weights_(depthwise_weights(shape.w, machine.lanes)) {
  const Shape &from = backward ? shape.y : shape.x, &to = backward ? shape.x : shape.y;
  static_cast<ConvGeometry&>(args_) = conv_geometry(shape.geometry, shape.w, from, to);
  args_.blocks = kernels::blocks_of(shape.x.c, machine.lanes);
  lay_x(View<float>(nullptr, from, machine.lanes), args_);
  lay_y(View<float>(nullptr, to, machine.lanes), args_);
  variant_ = backward ? &choose_depthwise_bwd_x(args_) : &choose_depthwise_fwd(args_);
  args_.strip = variant_->strip(args_, machine.lanes);
  plain_ = workspace.take(shape.w.numel());
  packed_ = workspace.take(floats_of(weights_));
}

const float* DepthwiseData::prepare(View<const float> w) const noexcept {
  pack(machine_, weights_, w, plain_, packed_);
  return packed_;
}

void DepthwiseData::run(View<const float> x, View<const float> w, View<float> y,
                        const Epilogue& epilogue) const noexcept {
  DepthwiseArgs a = args_;
  lay_x(x, a);
  lay_y(y, a);
  a.weights = prepare(w);
  a.epilogue = epilogue;
  (machine_.kernels->*variant_->run)(a);
}

DepthwiseWeights::DepthwiseWeights(const Machine& machine, const ConvShape& shape, Workspace& workspace)
    : machine_(machine), weights_(depthwise_weights(shape.w, machine.lanes)) {
  static_cast<ConvGeometry&>(args_) = conv_geometry(shape.geometry, shape.w, shape.x, shape.y);
  args_.blocks = kernels::blocks_of(shape.x.c, machine.lanes);
  lay_x(View<float>(nullptr, shape.x, machine.lanes), args_);
  lay_dy(View<float>(nullptr, shape.y, machine.lanes), args_);
  variant_ = &choose_depthwise_bwd_w(args_);
  plain_ = workspace.take(shape.w.numel());
  args_.dw = workspace.take(floats_of(weights_));
  args_.workspace = workspace.take(variant_->workspace(args_, machine.lanes));
}

void DepthwiseWeights::run(View<const float> x, View<const float> dy, View<float> dw, Write write) const noexcept {
  DepthwiseGradArgs a = args_;
  lay_x(x, a);
  lay_dy(dy, a);
  (machine_.kernels->*variant_->run)(a);
  unpack(dw, write);
}

void DepthwiseWeights::unpack(View<float> dw, Write write) const noexcept {
  plain::unpack(machine_, weights_, args_.dw, plain_, dw, write);
}

}  // namespace slimneck::kernels::plain
