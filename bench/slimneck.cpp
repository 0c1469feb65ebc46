#include "slimneck.hpp"

namespace slimneck::bench {

using kernels::Kernels;
using kernels::WeightArgs;
using kernels::WeightOrder;

Tensor channel_numbers(const Numbers& plain, index_t lanes) {
  Tensor t = floats(blocks_of(static_cast<index_t>(plain.size()), lanes) * lanes);
  std::copy(plain.begin(), plain.end(), t.data<float>());
  return t;
}

// ---- Maps ----

BlockedMap::BlockedMap(const Shape& shape, index_t lanes)
    : shape_(shape),
      lanes_(lanes),
      blocks_(blocks_of(shape.c, lanes)),
      memory_(floats(shape.n * blocks_ * lanes * shape.h * shape.w)) {}

void BlockedMap::set(const Numbers& plain, index_t first, index_t all) {
  if (all == 0) all = shape_.c;
  const View<const float> from(plain.data(), {shape_.n, all, shape_.h, shape_.w});
  kernels::copy<float>(from.channels(first, shape_.c), View<float>(memory_.data<float>(), shape_, lanes_));
}

Numbers BlockedMap::plain() const {
  Numbers v(static_cast<std::size_t>(shape_.numel()));
  kernels::copy<float>(View<const float>(memory_.data<float>(), shape_, lanes_), View<float>(v.data(), shape_));
  return v;
}

Numbers plain_of(const MapRef& m, index_t lanes) {
  Numbers v(static_cast<std::size_t>(m.shape.numel()));
  View<const float> from(m.data, m.shape, lanes);
  from.sn = m.sn;
  kernels::copy<float>(from, View<float>(v.data(), m.shape));
  return v;
}

MapRef BlockedMap::ref() { return part(0, shape_.c); }

MapRef BlockedMap::part(index_t first, index_t count) {
  const index_t row = shape_.w * lanes_, plane = shape_.h * row;
  return {memory_.data<float>() + first / lanes_ * plane,
          {shape_.n, count, shape_.h, shape_.w},
          blocks_ * plane,
          plane,
          row};
}

MapRef plain_picture(const Numbers& x, const Shape& shape) {
  return {const_cast<float*>(x.data()), shape, shape.c * shape.h * shape.w, shape.h * shape.w, shape.w};
}

// ---- Arguments ----

namespace {

template <class Args>
void set_maps(Args& a, const Geometry& g, const MapRef& x, const MapRef& y) {
  static_cast<kernels::ConvGeometry&>(a) = g;
  a.n = x.shape.n;
  a.h = x.shape.h;
  a.w = x.shape.w;
  a.oh = y.shape.h;
  a.ow = y.shape.w;
  kernels::lay_x(x, a);
}

WeightArgs weight_args(index_t o, index_t c, index_t kh, index_t kw, WeightOrder order, index_t lanes) {
  WeightArgs a;
  a.o = o;
  a.c = c;
  a.kh = kh;
  a.kw = kw;
  a.order = order;
  a.o_physical = blocks_of(o, lanes) * lanes;
  a.c_physical = order == WeightOrder::planes || order == WeightOrder::depthwise ? c : blocks_of(c, lanes) * lanes;
  return a;
}

index_t size_of_weights(const WeightArgs& a) { return a.o_physical * a.c_physical * a.kh * a.kw; }

Tensor pack(const Context& context, const kernels::ConvVariant& v, WeightArgs a, const float* plain) {
  Tensor packed = floats(size_of_weights(a));
  a.from = plain;
  a.to = packed.data<float>();
  context.kernels.pack_weights(a);
  if (!v.prepare) return packed;
  Tensor prepared = floats(v.weights(a.o_physical, a.c_physical, a.kh * a.kw));
  a.from = packed.data<float>();
  a.to = prepared.data<float>();
  (context.kernels.*v.prepare)(a);
  return prepared;
}

}  // namespace

// ---- Dense ----

ConvCall::ConvCall(const Context& context, const Geometry& geometry, Direction direction, const MapRef& read,
                   const MapRef& write, const float* plain, const kernels::Epilogue& epilogue, bool planes) {
  const index_t lanes = context.lanes();
  const bool forward = direction == Direction::forward;
  set_maps(args, geometry, read, write);
  args.x_blocks = planes ? 0 : blocks_of(read.shape.c, lanes);
  args.y_blocks = blocks_of(write.shape.c, lanes);
  args.planes = planes ? read.shape.c : 0;
  kernels::lay_y(write, args);
  args.epilogue = epilogue;
  variant = &(forward ? kernels::choose_conv_fwd(args, lanes, context.algorithm)
                      : kernels::choose_conv_bwd_x(args, lanes, context.algorithm));
  const index_t o = forward ? write.shape.c : read.shape.c, c = forward ? read.shape.c : write.shape.c;
  weights_ = pack(context, *variant, weight_args(o, c, args.kh, args.kw, variant->order, lanes), plain);
  args.weights = weights_.data<float>();
  args.strip = variant->strip(args, lanes);
  workspace_ = floats(variant->workspace(args, lanes, context.threads));
  args.workspace = workspace_.data<float>();
}

ConvGradCall::ConvGradCall(const Context& context, const Geometry& geometry, const MapRef& x, const MapRef& dy,
                           bool planes)
    : o_(dy.shape.c), c_(x.shape.c) {
  const index_t lanes = context.lanes();
  set_maps(args, geometry, x, dy);
  args.x_blocks = planes ? 0 : blocks_of(c_, lanes);
  args.y_blocks = blocks_of(o_, lanes);
  args.planes = planes ? c_ : 0;
  kernels::lay_dy(dy, args);
  variant = &kernels::choose_conv_bwd_w(args, lanes, context.algorithm);
  weights_ = floats(size_of_weights(weight_args(o_, c_, args.kh, args.kw, variant->order, lanes)));
  args.dw = weights_.data<float>();
  workspace_ = floats(variant->workspace(args, lanes, context.threads));
  args.workspace = workspace_.data<float>();
}

Numbers ConvGradCall::plain(const Kernels& k) const {
  Numbers dw(static_cast<std::size_t>(o_ * c_ * args.kh * args.kw));
  WeightArgs a = weight_args(o_, c_, args.kh, args.kw, variant->order, k.lanes);
  a.from = weights_.data<float>();
  a.to = dw.data();
  k.unpack_weights(a);
  return dw;
}

// ---- Depthwise ----

Tensor pack_depthwise(const Kernels& k, const Numbers& plain, index_t c, index_t kh, index_t kw) {
  WeightArgs a = weight_args(c, 1, kh, kw, WeightOrder::depthwise, k.lanes);
  Tensor packed = floats(size_of_weights(a));
  a.from = plain.data();
  a.to = packed.data<float>();
  k.pack_weights(a);
  return packed;
}

Numbers unpack_depthwise(const Kernels& k, const Tensor& packed, index_t c, index_t kh, index_t kw) {
  Numbers plain(static_cast<std::size_t>(c * kh * kw));
  WeightArgs a = weight_args(c, 1, kh, kw, WeightOrder::depthwise, k.lanes);
  a.from = packed.data<float>();
  a.to = plain.data();
  k.unpack_weights(a);
  return plain;
}

DepthwiseCall::DepthwiseCall(const Context& context, const Geometry& geometry, ConvCall::Direction direction,
                             const MapRef& read, const MapRef& write, const Numbers& plain,
                             const kernels::Epilogue& epilogue)
    : weights_(pack_depthwise(context.kernels, plain, read.shape.c, geometry.kh, geometry.kw)) {
  set_maps(args, geometry, read, write);
  args.blocks = blocks_of(read.shape.c, context.lanes());
  kernels::lay_y(write, args);
  args.epilogue = epilogue;
  args.weights = weights_.data<float>();
  variant = &(direction == ConvCall::Direction::forward ? kernels::choose_depthwise_fwd(args)
                                                        : kernels::choose_depthwise_bwd_x(args));
  args.strip = variant->strip(args, context.lanes());
}

DepthwiseGradCall::DepthwiseGradCall(const Context& context, const Geometry& geometry, const MapRef& x,
                                     const MapRef& dy)
    : c_(x.shape.c) {
  const index_t lanes = context.lanes();
  set_maps(args, geometry, x, dy);
  args.blocks = blocks_of(c_, lanes);
  kernels::lay_dy(dy, args);
  weights_ = floats(args.blocks * lanes * args.kh * args.kw);
  args.dw = weights_.data<float>();
  variant = &kernels::choose_depthwise_bwd_w(args);
  workspace_ = floats(variant->workspace(args, lanes));
  args.workspace = workspace_.data<float>();
}

Numbers DepthwiseGradCall::plain(const Kernels& k) const { return unpack_depthwise(k, weights_, c_, args.kh, args.kw); }

// ---- Pairs ----

PairNumbers::PairNumbers(const Problem& p, index_t lanes) {
  for (const Numbers* v : {&p.bias1, &p.bias2, &p.gamma1, &p.beta1, &p.gamma2, &p.beta2})
    given_.push_back(channel_numbers(*v, lanes));
}

void PairNumbers::make(index_t channels1, index_t channels2) {
  for (const index_t channels :
       {channels1, channels1, channels2, channels2, channels1, channels1, channels2, channels2})
    made_.push_back(floats(channels));
}

kernels::PairInference PairNumbers::inference(const Problem& p) const {
  if (!p.epilogue) return {};
  return {nullptr, given_[0].data<float>(), nullptr, given_[1].data<float>()};
}

kernels::PairTraining PairNumbers::training() {
  kernels::PairTraining t;
  t.gamma1 = given_[2].data<float>();
  t.beta1 = given_[3].data<float>();
  t.gamma2 = given_[4].data<float>();
  t.beta2 = given_[5].data<float>();
  t.eps = Problem::eps;
  t.mean1 = made_[0].data<float>();
  t.var1 = made_[1].data<float>();
  t.mean2 = made_[2].data<float>();
  t.var2 = made_[3].data<float>();
  return t;
}

std::unique_ptr<Side> make_slimneck(const Problem& problem) {
  switch (problem.layer().op) {
    case Op::conv2d: return make_conv(problem);
    case Op::depthwise: return make_depthwise(problem);
    case Op::gsconv: return make_gsconv(problem);
    case Op::dsc: return make_dsc(problem);
    case Op::bn_act: return make_norm(problem);
  }
  return nullptr;
}

}  // namespace slimneck::bench
