#include "kernels/plain/norm.hpp"

#include <algorithm>

namespace slimneck::kernels::plain {

BlockedNorm::BlockedNorm(const Machine& machine, const Shape& shape, Workspace& workspace) : machine_(machine) {
  const index_t blocks = (shape.c + machine.lanes - 1) / machine.lanes;
  channels_ = blocks * machine.lanes;
  for (float** vector : {&v_.gamma, &v_.beta, &v_.mean, &v_.var, &v_.scale, &v_.bias, &v_.dgamma, &v_.dbeta})
    *vector = workspace.take(channels_);
  coefficients_ = workspace.take(3 * channels_);
  sums_ = workspace.take(bn_workspace(shape.n, blocks, shape.h, shape.w, machine.lanes));
}

// Lanes past the last channel get numbers that keep everything finite: dense convolutions multiply them by zero.
void BlockedNorm::set_affine(View<const float> gamma, View<const float> beta) noexcept {
  if (!to_vector(gamma, v_.gamma, channels_)) std::fill_n(v_.gamma, channels_, 1.0F);
  if (!to_vector(beta, v_.beta, channels_)) std::fill_n(v_.beta, channels_, 0.0F);
}

void BlockedNorm::set_statistics(View<const float> mean, View<const float> var) noexcept {
  to_vector(mean, v_.mean, channels_);
  to_vector(var, v_.var, channels_, 1);
}

void BlockedNorm::fold(double eps) noexcept {
  bn_fold(channels_, v_.mean, v_.var, v_.gamma, v_.beta, eps, v_.scale, v_.bias);
}

void BlockedNorm::statistics(View<const float> z) noexcept {
  BnArgs a;
  set_extent(a, z);
  lay(z, a.z, a.zn, a.zb, a.zh);
  a.mean = v_.mean;
  a.var = v_.var;
  a.workspace = sums_;
  machine_.kernels->bn_moments(a);
}

namespace {

void set_activation(BnArgs& a, const Activation& act) {
  a.act = act.kind;
  a.slope = static_cast<float>(act.slope);
}

}  // namespace

void BlockedNorm::apply(View<const float> z, View<float> y, const Activation& act) const noexcept {
  BnArgs a;
  set_extent(a, z);
  lay(z, a.z, a.zn, a.zb, a.zh);
  lay_y(y, a);
  a.scale = v_.scale;
  a.bias = v_.bias;
  set_activation(a, act);
  machine_.kernels->bn_act(a);
}

void BlockedNorm::train(View<const float> z, View<float> y, const Activation& act, double eps) noexcept {
  BnArgs a;
  set_extent(a, z);
  lay(z, a.z, a.zn, a.zb, a.zh);
  lay_y(y, a);
  a.mean = v_.mean;
  a.var = v_.var;
  a.gamma = v_.gamma;
  a.beta = v_.beta;
  a.scale = v_.scale;
  a.bias = v_.bias;
  a.eps = eps;
  set_activation(a, act);
  a.workspace = sums_;
  machine_.kernels->bn_act_train(a);
}

void BlockedNorm::backward(View<const float> dy, View<const float> z, View<float> dz, const Activation& act, double eps,
                           bool batch_stats) noexcept {
  BnGradArgs a;
  set_extent(a, z);
  lay(dy, a.dy, a.dyn, a.dyb, a.dyh);
  lay(z, a.z, a.zn, a.zb, a.zh);
  lay(dz, a.dz, a.dzn, a.dzb, a.dzh);
  a.mean = v_.mean;
  a.var = v_.var;
  a.scale = v_.scale;
  a.bias = v_.bias;
  a.eps = eps;
  a.act = act.kind;
  a.slope = static_cast<float>(act.slope);
  a.batch_stats = batch_stats;
  a.dgamma = v_.dgamma;
  a.dbeta = v_.dbeta;
  a.coefficients = coefficients_;
  a.workspace = sums_;
  machine_.kernels->bn_act_bwd(a);
}

}  // namespace slimneck::kernels::plain
