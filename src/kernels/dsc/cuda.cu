// Depthwise separable convolution:  z1 = depthwise(x, w1), a = act(norm1 z1), z2 = conv(a, w2), y = act(norm2 z2)
//
// Inference is two kernels with the folded norms at their ends. In training the blocks of both convolutions leave the
// moments of what they write. The workspace holds a between them.
#include "kernels/cuda/fused.hpp"

namespace slimneck::kernels::cuda {

namespace {

struct Space {
  Shape z1, z2;
  View<float> scale1, bias1, scale2, bias2, a, g1, g2;  ///< a map for a, two for gradients
  float *sums, *depthwise, *conv;

  Space(Pieces& pieces, const Shape& x, const Shape& w1, const Shape& w2, const Conv2d& g)
      : z1(convolved(x, w1, g)), z2{z1.n, w2.n, z1.h, z1.w} {
    for (View<float>* v : {&scale1, &bias1}) *v = pieces.map({1, z1.c, 1, 1});
    for (View<float>* v : {&scale2, &bias2}) *v = pieces.map({1, z2.c, 1, 1});
    for (View<float>* v : {&a, &g1}) *v = pieces.map(z1);
    g2 = pieces.map(z2);
    const index_t parts1 = z1.c * depthwise_moments(w1, z1, g), parts2 = z2.c * conv2d_moments(w2, z2, {});
    sums =
        pieces.take(larger(Moments::numbers * larger(parts1, parts2), larger(norm_workspace(z1), norm_workspace(z2))));
    depthwise = pieces.take(depthwise_workspace(w1, z1));
    conv = pieces.take(conv2d_workspace(z1, w2, z2, {}));
  }
};

fast::Norm norm_of(const fast::Norm& norm, const View<const float>& mean, const View<const float>& var) {
  return {norm.gamma, norm.beta, mean, var};
}

}  // namespace

void dsc(Stream& stream, View<const float> x, const fast::PairWeights& weights, View<float> y,
         const fast::PairSettings& settings, float* workspace, Write write) noexcept {
  Pieces pieces(workspace);
  const Space space(pieces, x.shape, weights.w1.shape, weights.w2.shape, settings.geometry);
  bn_fold(stream, weights.norm1, space.scale1, space.bias1, settings.eps);
  bn_fold(stream, weights.norm2, space.scale2, space.bias2, settings.eps);
  depthwise_fwd(stream, x, weights.w1, space.a, settings.geometry, {space.scale1, space.bias1, settings.act, {}});
  conv2d_fwd(stream, space.a, weights.w2, y, {}, {space.scale2, space.bias2, settings.act, {}}, space.conv, write);
}

void dsc_train(Stream& stream, View<const float> x, const fast::PairWeights& weights, View<float> y,
               const fast::PairSaved<float>& saved, const fast::PairSettings& settings, float* workspace) noexcept {
  constexpr auto name = "dsc_train";
  Pieces pieces(workspace);
  const Space space(pieces, x.shape, weights.w1.shape, weights.w2.shape, settings.geometry);
  const Moments first{space.sums, depthwise_moments(weights.w1.shape, space.z1, settings.geometry)};
  depthwise_fwd_moments(stream, x, weights.w1, saved.z1, settings.geometry, {}, first.count > 0 ? first : Moments{});
  if (first.count > 0)
    merge_moments(stream, name, first, saved.mean1, saved.var1);
  else
    bn_stats(stream, saved.z1, saved.mean1, saved.var1, space.sums);
  bn_apply(stream, saved.z1, norm_of(weights.norm1, saved.mean1, saved.var1), space.a, settings.eps, settings.act);

  const Moments second{space.sums, conv2d_moments(weights.w2.shape, space.z2, {})};
  conv2d_fwd_moments(stream, space.a, weights.w2, saved.z2, {}, {}, space.conv, Write::set, second);
  merge_moments(stream, name, second, saved.mean2, saved.var2);
  bn_apply(stream, saved.z2, norm_of(weights.norm2, saved.mean2, saved.var2), y, settings.eps, settings.act);
}

void dsc_bwd(Stream& stream, View<const float> dy, View<const float> x, const fast::PairWeights& weights,
             const fast::PairSaved<const float>& saved, const fast::PairGradients& gradients,
             const fast::PairSettings& settings, float* workspace, Write write) noexcept {
  const fast::Norm norm1 = norm_of(weights.norm1, saved.mean1, saved.var1),
                   norm2 = norm_of(weights.norm2, saved.mean2, saved.var2);
  Pieces pieces(workspace);
  const Space space(pieces, x.shape, weights.w1.shape, weights.w2.shape, settings.geometry);
  const View<float>&dz1 = space.g1, &dz2 = space.g2;
  const auto norm_gradient = [&](const View<const float>& from, const View<const float>& z, const fast::Norm& norm,
                                 const View<float>& dz, const View<float>& dgamma, const View<float>& dbeta) {
    // The map is always set, the vectors as the caller says.
    if (write == Write::set)
      return bn_bwd(stream, from, z, norm, dz, dgamma, dbeta, settings.eps, settings.act, true, space.sums);
    bn_bwd(stream, from, z, norm, {}, dgamma, dbeta, settings.eps, settings.act, true, space.sums, write);
    bn_bwd(stream, from, z, norm, dz, {}, {}, settings.eps, settings.act, true, space.sums);
  };
  norm_gradient(dy, saved.z2, norm2, dz2, gradients.dgamma2, gradients.dbeta2);
  if (gradients.dw2.data) {
    bn_apply(stream, saved.z1, norm1, space.a, settings.eps, settings.act);
    conv2d_bwd_w(stream, space.a, dz2, gradients.dw2, {}, space.conv, write);
  }
  conv2d_bwd_x(stream, dz2, weights.w2, dz1, {}, space.conv);  // da, for a moment
  norm_gradient(dz1, saved.z1, norm1, dz1, gradients.dgamma1, gradients.dbeta1);
  if (gradients.dw1.data) depthwise_bwd_w(stream, x, dz1, gradients.dw1, settings.geometry, space.depthwise, write);
  if (gradients.dx.data) depthwise_bwd_x(stream, dz1, weights.w1, gradients.dx, settings.geometry, write);
}

index_t dsc_workspace(const Shape& x, const Shape& w1, const Shape& w2, const Conv2d& geometry) noexcept {
  Pieces pieces(nullptr);
  return (Space(pieces, x, w1, w2, geometry), pieces.taken());
}

}  // namespace slimneck::kernels::cuda
