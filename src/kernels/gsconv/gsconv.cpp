#include "kernels/gsconv/gsconv.hpp"

#include <algorithm>

#include "kernels/depthwise/variants.hpp"

namespace slimneck::kernels {

namespace {

/// Channel blocks that go through the passes together: what a pass has written is still in the second level cache when
/// the next one reads it, as far as it can be. Depends on the shape only.
index_t blocks_together(index_t n, index_t h, index_t w, index_t lanes, index_t maps) {
  constexpr index_t bytes = 512 * 1024;
  return std::max<index_t>(1, bytes / std::max<index_t>(1, n * h * w * lanes * maps * index_t{sizeof(float)}));
}

MapAt from_block(const MapAt& m, index_t b) { return {m.data ? m.data + b * m.sb : nullptr, m.sn, m.sb, m.sh}; }

ConvArgs convolution(const Kernels& kernels, const GsPair& pair, const MapAt& y) {
  ConvArgs c = pair.conv;
  lay_y(y, c);
  c.epilogue = {};
  c.strip = pair.variant->strip(c, kernels.lanes);
  return c;
}

index_t conv_moments(const GsPair& pair, index_t lanes) {
  const index_t strip = pair.variant->strip(pair.conv, lanes);
  return moments_floats(pair.conv.n, pair.conv.oh, strip, pair.conv.y_blocks * lanes);
}

}  // namespace

// ---- Inference ------------------------------------------------------------------------------------------------------

void gs_pair_infer(const Kernels& kernels, const GsPair& pair, const PairInference& norm) noexcept {
  ConvArgs c = convolution(kernels, pair, pair.a);
  c.epilogue = ending(norm.scale1, norm.bias1, pair.act, pair.slope);
  (kernels.*pair.variant->run)(c);

  DepthwiseArgs d;
  d.n = c.n;
  d.blocks = c.y_blocks;
  d.h = d.oh = c.oh;
  d.w = d.ow = c.ow;
  d.kh = d.kw = pair.k;
  d.pad_h = d.pad_w = pair.k / 2;
  lay_x(pair.a, d);
  d.weights = pair.w2;
  lay_y(pair.b, d);
  d.epilogue = ending(norm.scale2, norm.bias2, pair.act, pair.slope);
  const DepthwiseVariant& variant = choose_depthwise_fwd(d);
  d.strip = variant.strip(d, kernels.lanes);
  (kernels.*variant.run)(d);
}

// ---- Training, forward ----------------------------------------------------------------------------------------------

index_t gs_pair_train_workspace(const GsPair& pair, index_t lanes) noexcept {
  const ConvArgs& c = pair.conv;
  const index_t channels = c.y_blocks * lanes;
  return 4 * channels + std::max(conv_moments(pair, lanes), moments_floats(c.n, c.oh, gs_strip(c.oh, c.ow), channels));
}

void gs_pair_train(const Kernels& kernels, const GsPair& pair, const PairTraining& t) noexcept {
  const index_t lanes = kernels.lanes, blocks = pair.conv.y_blocks, channels = blocks * lanes;
  float *scale1 = t.workspace, *bias1 = scale1 + channels, *scale2 = bias1 + channels, *bias2 = scale2 + channels;
  float* moments = bias2 + channels;

  ConvArgs c = convolution(kernels, pair, t.z1);
  c.epilogue.moments = moments;
  (kernels.*pair.variant->run)(c);
  MomentsArgs m = moments_args(c.n, c.oh, c.ow, c.strip, channels, moments, t.mean1, t.var1);
  merge_moments(m);
  bn_fold(channels, t.mean1, t.var1, t.gamma1, t.beta1, t.eps, scale1, bias1);

  m.strip = gs_strip(c.oh, c.ow);
  m.mean = t.mean2;
  m.var = t.var2;
  const index_t group = blocks_together(c.n, c.oh, c.ow, lanes, 3);
  for (index_t b = 0; b < blocks; b += group) {
    const index_t count = std::min(group, blocks - b), first = b * lanes;
    GsForwardArgs f;
    f.n = c.n;
    f.blocks = count;
    f.h = c.oh;
    f.w = c.ow;
    f.k = pair.k;
    f.z1 = from_block(t.z1, b);
    f.a = from_block(pair.a, b);
    f.z2 = from_block(t.z2, b);
    f.scale = scale1 + first;
    f.bias = bias1 + first;
    f.act = pair.act;
    f.slope = pair.slope;
    f.weights = pair.w2 + first * pair.k * pair.k;
    f.strip = m.strip;
    f.moments = moments + first;
    f.channels = channels;
    kernels.gs_forward(f);
    m.first = first;
    m.last = first + count * lanes;
    merge_moments(m);
    bn_fold(count * lanes, t.mean2 + first, t.var2 + first, t.gamma2 ? t.gamma2 + first : nullptr,
            t.beta2 ? t.beta2 + first : nullptr, t.eps, scale2 + first, bias2 + first);
    BnArgs n = normalisation(c.n, count, c.oh, c.ow, from_block(t.z2, b), from_block(pair.b, b), pair.act, pair.slope);
    n.scale = scale2 + first;
    n.bias = bias2 + first;
    kernels.bn_act(n);
  }
}

// ---- Training, backward ---------------------------------------------------------------------------------------------

namespace {

index_t grad_group(const GsPairGrad& g, index_t lanes) {
  return std::min(g.blocks, blocks_together(g.n, g.h, g.w, lanes, 3));
}

/// Floats of each piece of the workspace, in order.
struct GradSpace {
  index_t vectors, coefficients, sums, parts, scratch;
  GradSpace(const GsPairGrad& g, index_t lanes) {
    const index_t group = grad_group(g, lanes), channels = group * lanes;
    vectors = 4 * g.blocks * lanes;
    coefficients = 3 * channels;
    sums = std::max(bn_workspace(g.n, group, g.h, g.w, lanes), g.n * strips_of(g.h, gs_strip(g.h, g.w)) * 2 * channels);
    parts = g.n * channels * g.k * g.k;
    scratch = gs_scratch(g.h, g.w, g.k, lanes);
  }
};

/// One normalisation as the kernels take it: numbers of all channels, and where the work of a group lies.
struct Norm {
  const float *mean, *var, *scale, *bias;
  float *dgamma, *dbeta, *coefficients, *sums;
};

/// Of blocks [b, b + count): dy, z -> g or dz.
BnGradArgs norm_gradient(const GsPairGrad& g, index_t b, index_t count, const MapAt& dy, const MapAt& z,
                         const Norm& norm, index_t lanes) {
  BnGradArgs a;
  a.n = g.n;
  a.blocks = count;
  a.h = g.h;
  a.w = g.w;
  lay(from_block(dy, b), a.dy, a.dyn, a.dyb, a.dyh);
  lay(from_block(z, b), a.z, a.zn, a.zb, a.zh);
  lay(from_block(g.dz1, b), a.g, a.gn, a.gb, a.gh);
  lay(from_block(g.dz1, b), a.dz, a.dzn, a.dzb, a.dzh);
  const index_t first = b * lanes;
  a.mean = norm.mean + first;
  a.var = norm.var + first;
  a.scale = norm.scale + first;
  a.bias = norm.bias + first;
  a.dgamma = norm.dgamma + first;
  a.dbeta = norm.dbeta + first;
  a.coefficients = norm.coefficients;
  a.workspace = norm.sums;
  a.eps = g.eps;
  a.act = g.act;
  a.slope = g.slope;
  return a;
}

/// Without db nothing comes through the depthwise half.
void first_half_only(const Kernels& kernels, const GsPairGrad& g, const Norm& norm1, index_t b, index_t count) {
  const index_t first = b * kernels.lanes, channels = count * kernels.lanes;
  std::fill_n(g.dw2 + first * g.k * g.k, channels * g.k * g.k, 0.0F);
  std::fill_n(g.dgamma2 + first, channels, 0.0F);
  std::fill_n(g.dbeta2 + first, channels, 0.0F);
  if (!g.da.data) {
    std::fill_n(g.dgamma1 + first, channels, 0.0F);
    std::fill_n(g.dbeta1 + first, channels, 0.0F);
    for (index_t n = 0; n < g.n; ++n)
      for (index_t i = b; i < b + count; ++i)
        for (index_t h = 0; h < g.h; ++h)
          std::fill_n(g.dz1.data + n * g.dz1.sn + i * g.dz1.sb + h * g.dz1.sh, g.w * kernels.lanes, 0.0F);
    return;
  }
  kernels.bn_act_bwd(norm_gradient(g, b, count, g.da, g.z1, norm1, kernels.lanes));
}

}  // namespace

index_t gs_pair_bwd_workspace(const GsPairGrad& g, index_t lanes, int threads) noexcept {
  const GradSpace space(g, lanes);
  return space.vectors + 2 * space.coefficients + space.sums + space.parts + space.scratch * threads;
}

void gs_pair_bwd(const Kernels& kernels, const GsPairGrad& g) noexcept {
  const index_t lanes = kernels.lanes, all = g.blocks * lanes, group = grad_group(g, lanes);
  const GradSpace space(g, lanes);
  float *scale1 = g.workspace, *bias1 = scale1 + all, *scale2 = bias1 + all, *bias2 = scale2 + all;
  float *coefficients1 = scale1 + space.vectors, *coefficients2 = coefficients1 + space.coefficients;
  float* sums = coefficients2 + space.coefficients;
  bn_fold(all, g.mean1, g.var1, g.gamma1, g.beta1, g.eps, scale1, bias1);
  bn_fold(all, g.mean2, g.var2, g.gamma2, g.beta2, g.eps, scale2, bias2);
  const Norm norm1{g.mean1, g.var1, scale1, bias1, g.dgamma1, g.dbeta1, coefficients1, sums},
      norm2{g.mean2, g.var2, scale2, bias2, g.dgamma2, g.dbeta2, coefficients2, sums};

  for (index_t b = 0; b < g.blocks; b += group) {
    const index_t count = std::min(group, g.blocks - b), first = b * lanes;
    if (!g.db.data) {
      first_half_only(kernels, g, norm1, b, count);
      continue;
    }
    // g2 lies where g1 and dz1 will: each is read before it is written over.
    kernels.bn_act_bwd_sums(norm_gradient(g, b, count, g.db, g.z2, norm2, lanes));

    GsBackwardArgs f;
    f.n = g.n;
    f.blocks = count;
    f.h = g.h;
    f.w = g.w;
    f.k = g.k;
    f.da = from_block(g.da, b);
    f.z1 = from_block(g.z1, b);
    f.z2 = from_block(g.z2, b);
    f.g = from_block(g.dz1, b);
    f.scale1 = scale1 + first;
    f.bias1 = bias1 + first;
    f.mean1 = g.mean1 + first;
    f.mean2 = g.mean2 + first;
    f.coefficients2 = coefficients2;
    f.act = g.act;
    f.slope = g.slope;
    f.weights = g.w2 + first * g.k * g.k;
    f.dw = g.dw2 + first * g.k * g.k;
    f.strip = gs_strip(g.h, g.w);
    f.sums = sums;
    f.parts = sums + space.sums;
    f.scratch = f.parts + space.parts;
    kernels.gs_backward(f);

    const BnGradArgs last = norm_gradient(g, b, count, g.dz1, g.z1, norm1, lanes);
    bn_finish_sums(last, lanes, f.strip, 0, count);
    kernels.bn_act_bwd_apply(last);
  }
}

}  // namespace slimneck::kernels
