#include "kernels/dsc/dsc.hpp"

#include <algorithm>

namespace slimneck::kernels {

namespace {

struct First {
  DepthwiseArgs args;
  const DepthwiseVariant* variant;
};
First first_of(const Kernels& kernels, const Dsc& dsc, const MapAt& y) {
  First f{dsc.depthwise, &choose_depthwise_fwd(dsc.depthwise)};
  lay_y(y, f.args);
  f.args.epilogue = {};
  f.args.strip = f.variant->strip(f.args, kernels.lanes);
  return f;
}

ConvArgs second_of(const Kernels& kernels, const Dsc& dsc, const MapAt& y) {
  ConvArgs c = dsc.pointwise;
  lay_x(dsc.a, c);
  lay_y(y, c);
  c.epilogue = {};
  c.strip = dsc.variant->strip(c, kernels.lanes);
  return c;
}

BnArgs normalisation_of(const Dsc& dsc, index_t blocks, const MapAt& z, const MapAt& y, float* scale, float* bias) {
  const DepthwiseArgs& d = dsc.depthwise;
  BnArgs a = normalisation(d.n, blocks, d.oh, d.ow, z, y, dsc.act, dsc.slope);
  a.scale = scale;
  a.bias = bias;
  return a;
}

BnGradArgs norm_gradient(const Dsc& dsc, index_t blocks, const MapAt& dy, const MapAt& z, const MapAt& dz,
                         const float* scale, const float* bias, double eps) {
  BnGradArgs a;
  a.n = dsc.depthwise.n;
  a.blocks = blocks;
  a.h = dsc.depthwise.oh;
  a.w = dsc.depthwise.ow;
  lay(dy, a.dy, a.dyn, a.dyb, a.dyh);
  lay(z, a.z, a.zn, a.zb, a.zh);
  lay(dz, a.dz, a.dzn, a.dzb, a.dzh);
  a.scale = scale;
  a.bias = bias;
  a.eps = eps;
  a.act = dsc.act;
  a.slope = dsc.slope;
  return a;
}

/// The gradient of the depthwise weights of dsc from dz1.
DepthwiseGradArgs depthwise_gradient(const Dsc& dsc, const MapAt& dz1) {
  const DepthwiseArgs& d = dsc.depthwise;
  DepthwiseGradArgs a;
  static_cast<ConvGeometry&>(a) = static_cast<const ConvGeometry&>(d);
  a.blocks = d.blocks;
  a.x = d.x;
  a.xn = d.xn;
  a.xb = d.xb;
  a.xh = d.xh;
  lay_dy(dz1, a);
  return a;
}

}  // namespace

void dsc_infer(const Kernels& kernels, const Dsc& dsc, const PairInference& norm) noexcept {
  First f = first_of(kernels, dsc, dsc.a);
  f.args.epilogue = ending(norm.scale1, norm.bias1, dsc.act, dsc.slope);
  (kernels.*f.variant->run)(f.args);
  ConvArgs c = second_of(kernels, dsc, dsc.y);
  c.epilogue = ending(norm.scale2, norm.bias2, dsc.act, dsc.slope);
  (kernels.*dsc.variant->run)(c);
}

index_t dsc_train_workspace(const Dsc& dsc, index_t lanes) noexcept {
  const DepthwiseArgs& d = dsc.depthwise;
  const index_t c1 = d.blocks * lanes, c2 = dsc.pointwise.y_blocks * lanes;
  const index_t first = moments_floats(d.n, d.oh, choose_depthwise_fwd(d).strip(d, lanes), c1);
  const index_t second = moments_floats(d.n, d.oh, dsc.variant->strip(dsc.pointwise, lanes), c2);
  return 2 * std::max(c1, c2) + std::max(first, second);
}

void dsc_train(const Kernels& kernels, const Dsc& dsc, const PairTraining& t) noexcept {
  const DepthwiseArgs& d = dsc.depthwise;
  const index_t c1 = d.blocks * kernels.lanes, c2 = dsc.pointwise.y_blocks * kernels.lanes;
  float *scale = t.workspace, *bias = scale + std::max(c1, c2), *moments = bias + std::max(c1, c2);
  First f = first_of(kernels, dsc, t.z1);
  f.args.epilogue.moments = moments;
  (kernels.*f.variant->run)(f.args);
  merge_moments(moments_args(d.n, d.oh, d.ow, f.args.strip, c1, moments, t.mean1, t.var1));
  bn_fold(c1, t.mean1, t.var1, t.gamma1, t.beta1, t.eps, scale, bias);
  kernels.bn_act(normalisation_of(dsc, d.blocks, t.z1, dsc.a, scale, bias));

  ConvArgs c = second_of(kernels, dsc, t.z2);
  c.epilogue.moments = moments;
  (kernels.*dsc.variant->run)(c);
  merge_moments(moments_args(d.n, d.oh, d.ow, c.strip, c2, moments, t.mean2, t.var2));
  bn_fold(c2, t.mean2, t.var2, t.gamma2, t.beta2, t.eps, scale, bias);
  kernels.bn_act(normalisation_of(dsc, c.y_blocks, t.z2, dsc.y, scale, bias));
}

index_t dsc_bwd_workspace(const Dsc& dsc, index_t lanes) noexcept {
  const DepthwiseArgs& d = dsc.depthwise;
  const index_t c1 = d.blocks * lanes, c2 = dsc.pointwise.y_blocks * lanes, most = std::max(c1, c2);
  const DepthwiseGradArgs g = depthwise_gradient(dsc, {});
  return 5 * most +
         std::max(bn_workspace(d.n, most / lanes, d.oh, d.ow, lanes), choose_depthwise_bwd_w(g).workspace(g, lanes));
}

void dsc_bwd(const Kernels& kernels, const Dsc& dsc, const PairTraining& t, const DscGrad& g) noexcept {
  const index_t lanes = kernels.lanes;
  const index_t c1 = dsc.depthwise.blocks * lanes, c2 = dsc.pointwise.y_blocks * lanes, most = std::max(c1, c2);
  float *scale = g.workspace, *bias = scale + most, *coefficients = bias + most, *rest = coefficients + 3 * most;

  bn_fold(c2, t.mean2, t.var2, t.gamma2, t.beta2, t.eps, scale, bias);
  BnGradArgs second = norm_gradient(dsc, dsc.pointwise.y_blocks, g.dy, t.z2, g.dz2, scale, bias, t.eps);
  second.mean = t.mean2;
  second.var = t.var2;
  second.dgamma = g.dgamma2;
  second.dbeta = g.dbeta2;
  second.coefficients = coefficients;
  second.workspace = rest;
  kernels.bn_act_bwd(second);

  ConvGradArgs weights = g.pointwise_gradient;
  lay_x(dsc.a, weights);
  lay_dy(g.dz2, weights);
  (kernels.*g.gradient->run)(weights);
  ConvArgs data = g.pointwise_data;
  lay_x(g.dz2, data);
  lay_y(g.dz1, data);  // da, for a moment
  data.strip = g.data->strip(data, lanes);
  (kernels.*g.data->run)(data);

  bn_fold(c1, t.mean1, t.var1, t.gamma1, t.beta1, t.eps, scale, bias);
  BnGradArgs first = norm_gradient(dsc, dsc.depthwise.blocks, g.dz1, t.z1, g.dz1, scale, bias, t.eps);
  first.mean = t.mean1;
  first.var = t.var1;
  first.dgamma = g.dgamma1;
  first.dbeta = g.dbeta1;
  first.coefficients = coefficients;
  first.workspace = rest;
  kernels.bn_act_bwd(first);

  DepthwiseGradArgs taps = depthwise_gradient(dsc, g.dz1);
  taps.dw = g.dw1;
  taps.workspace = rest;
  (kernels.*choose_depthwise_bwd_w(taps).run)(taps);
  DepthwiseArgs back = dsc.depthwise;
  back.h = dsc.depthwise.oh;
  back.w = dsc.depthwise.ow;
  back.oh = dsc.depthwise.h;
  back.ow = dsc.depthwise.w;
  lay_x(g.dz1, back);
  lay_y(g.dx, back);
  const DepthwiseVariant& variant = choose_depthwise_bwd_x(back);
  back.epilogue = {};
  back.strip = variant.strip(back, lanes);
  (kernels.*variant.run)(back);
}

}  // namespace slimneck::kernels
