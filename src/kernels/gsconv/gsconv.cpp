#include "kernels/gsconv/gsconv.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/depthwise/variants.hpp"
#include "kernels/norm/moments.hpp"

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
  c.y = y.data;
  c.yn = y.sn;
  c.yb = y.sb;
  c.yh = y.sh;
  c.epilogue = {};
  c.strip = pair.variant->strip(c, kernels.lanes);
  return c;
}

index_t conv_moments(const GsPair& pair, index_t lanes) {
  const index_t strip = pair.variant->strip(pair.conv, lanes);
  return moments_floats(pair.conv.n, pair.conv.oh, strip, pair.conv.y_blocks * lanes);
}

BnArgs normalisation(const GsPair& pair, index_t blocks, const MapAt& z, const MapAt& y) {
  BnArgs a;
  a.n = pair.conv.n;
  a.blocks = blocks;
  a.h = pair.conv.oh;
  a.w = pair.conv.ow;
  a.z = z.data;
  a.zn = z.sn;
  a.zb = z.sb;
  a.zh = z.sh;
  a.y = y.data;
  a.yn = y.sn;
  a.yb = y.sb;
  a.yh = y.sh;
  a.act = pair.act;
  a.slope = pair.slope;
  return a;
}

/// dgamma, dbeta and P, Q, R (BnGradArgs) of `channels` channels from partial sums of g and g (z - mean).
void finish_sums(const float* sums, index_t parts, index_t channels, double count, const float* var, const float* scale,
                 double eps, float* dgamma, float* dbeta, float* coefficients) {
  for (index_t c = 0; c < channels; ++c) {
    double s, t;
    merge_sums(sums, parts, 2 * channels, c, 1, &s);
    merge_sums(sums, parts, 2 * channels, channels + c, 1, &t);
    const double q = 1 / std::sqrt(static_cast<double>(var[c]) + eps), k = static_cast<double>(scale[c]);
    dbeta[c] = static_cast<float>(s);
    dgamma[c] = static_cast<float>(q * t);
    coefficients[c] = scale[c];
    coefficients[channels + c] = static_cast<float>(-k * q * q * t / count);
    coefficients[2 * channels + c] = static_cast<float>(-k * s / count);
  }
}

}  // namespace

// ---- Inference ------------------------------------------------------------------------------------------------------

void gs_pair_infer(const Kernels& kernels, const GsPair& pair, const GsInference& norm) noexcept {
  ConvArgs c = convolution(kernels, pair, pair.a);
  c.epilogue.scale = norm.scale1;
  c.epilogue.bias = norm.bias1;
  c.epilogue.act = pair.act;
  c.epilogue.slope = pair.slope;
  (kernels.*pair.variant->run)(c);

  DepthwiseArgs d;
  d.n = c.n;
  d.blocks = c.y_blocks;
  d.h = d.oh = c.oh;
  d.w = d.ow = c.ow;
  d.kh = d.kw = pair.k;
  d.pad_h = d.pad_w = pair.k / 2;
  d.x = pair.a.data;
  d.xn = pair.a.sn;
  d.xb = pair.a.sb;
  d.xh = pair.a.sh;
  d.weights = pair.w2;
  d.y = pair.b.data;
  d.yn = pair.b.sn;
  d.yb = pair.b.sb;
  d.yh = pair.b.sh;
  d.epilogue.scale = norm.scale2;
  d.epilogue.bias = norm.bias2;
  d.epilogue.act = pair.act;
  d.epilogue.slope = pair.slope;
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

void gs_pair_train(const Kernels& kernels, const GsPair& pair, const GsTraining& t) noexcept {
  const index_t lanes = kernels.lanes, blocks = pair.conv.y_blocks, channels = blocks * lanes;
  float *scale1 = t.workspace, *bias1 = scale1 + channels, *scale2 = bias1 + channels, *bias2 = scale2 + channels;
  float* moments = bias2 + channels;

  ConvArgs c = convolution(kernels, pair, t.z1);
  c.epilogue.moments = moments;
  (kernels.*pair.variant->run)(c);
  MomentsArgs m{.n = c.n,
                .h = c.oh,
                .w = c.ow,
                .strip = c.strip,
                .first = 0,
                .last = channels,
                .channels = channels,
                .moments = moments,
                .mean = t.mean1,
                .var = t.var1};
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
    BnArgs n = normalisation(pair, count, from_block(t.z2, b), from_block(pair.b, b));
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

/// One normalisation of blocks [b, b + count): dy, z -> g or dz.
BnGradArgs norm_gradient(const GsPairGrad& g, index_t b, index_t count, const MapAt& dy, const MapAt& z) {
  BnGradArgs a;
  a.n = g.n;
  a.blocks = count;
  a.h = g.h;
  a.w = g.w;
  a.dy = dy.data ? dy.data + b * dy.sb : nullptr;
  a.dyn = dy.sn;
  a.dyb = dy.sb;
  a.dyh = dy.sh;
  a.z = z.data + b * z.sb;
  a.zn = z.sn;
  a.zb = z.sb;
  a.zh = z.sh;
  a.g = a.dz = g.dz1.data + b * g.dz1.sb;
  a.gn = a.dzn = g.dz1.sn;
  a.gb = a.dzb = g.dz1.sb;
  a.gh = a.dzh = g.dz1.sh;
  a.eps = g.eps;
  a.act = g.act;
  a.slope = g.slope;
  return a;
}

/// Without db nothing comes through the depthwise half.
void first_half_only(const Kernels& kernels, const GsPairGrad& g, const float* scale1, const float* bias1,
                     float* coefficients, float* sums, index_t b, index_t count) {
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
  BnGradArgs a = norm_gradient(g, b, count, g.da, g.z1);
  a.mean = g.mean1 + first;
  a.var = g.var1 + first;
  a.scale = scale1 + first;
  a.bias = bias1 + first;
  a.dgamma = g.dgamma1 + first;
  a.dbeta = g.dbeta1 + first;
  a.coefficients = coefficients;
  a.workspace = sums;
  kernels.bn_act_bwd(a);
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

  for (index_t b = 0; b < g.blocks; b += group) {
    const index_t count = std::min(group, g.blocks - b), first = b * lanes, channels = count * lanes;
    if (!g.db.data) {
      first_half_only(kernels, g, scale1, bias1, coefficients1, sums, b, count);
      continue;
    }
    // g2 lies where g1 and dz1 will: each is read before it is written over.
    BnGradArgs second = norm_gradient(g, b, count, g.db, g.z2);
    second.mean = g.mean2 + first;
    second.var = g.var2 + first;
    second.scale = scale2 + first;
    second.bias = bias2 + first;
    second.dgamma = g.dgamma2 + first;
    second.dbeta = g.dbeta2 + first;
    second.coefficients = coefficients2;
    second.workspace = sums;
    kernels.bn_act_bwd_sums(second);

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

    finish_sums(sums, g.n * strips_of(g.h, f.strip), channels, static_cast<double>(g.n * g.h * g.w), g.var1 + first,
                scale1 + first, g.eps, g.dgamma1 + first, g.dbeta1 + first, coefficients1);
    BnGradArgs last = norm_gradient(g, b, count, g.dz1, g.z1);
    last.mean = g.mean1 + first;
    last.scale = scale1 + first;
    last.bias = bias1 + first;
    last.coefficients = coefficients1;
    kernels.bn_act_bwd_apply(last);
  }
}

}  // namespace slimneck::kernels
