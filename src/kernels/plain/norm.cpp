#include "kernels/plain/norm.hpp"

#include <algorithm>

namespace slimneck::kernels::plain {

BlockedNorm::BlockedNorm(const Machine& machine, const Shape& shape, Workspace& workspace) : machine_(machine) {
  const index_t blocks = (shape.c + machine.lanes - 1) / machine.lanes;
  channels_ = blocks * machine.lanes;
  for (float** vector : {&gamma_, &beta_, &mean_, &var_, &scale_, &bias_, &dgamma_, &dbeta_})
    *vector = workspace.take(channels_);
  coefficients_ = workspace.take(3 * channels_);
  sums_ = workspace.take(bn_workspace(shape.n, blocks, shape.h, shape.w, machine.lanes));
}

// Lanes past the last channel get numbers that keep everything finite: dense convolutions multiply them by zero.
void BlockedNorm::set_affine(View<const float> gamma, View<const float> beta) noexcept {
  if (!to_vector(gamma, gamma_, channels_)) std::fill_n(gamma_, channels_, 1.0F);
  if (!to_vector(beta, beta_, channels_)) std::fill_n(beta_, channels_, 0.0F);
}

void BlockedNorm::set_statistics(View<const float> mean, View<const float> var) noexcept {
  to_vector(mean, mean_, channels_);
  to_vector(var, var_, channels_, 1);
}

void BlockedNorm::fold(double eps) noexcept { bn_fold(channels_, mean_, var_, gamma_, beta_, eps, scale_, bias_); }

void BlockedNorm::statistics(View<const float> z) noexcept {
  BnArgs a;
  set_extent(a, z);
  set_map(a.z, a.zn, a.zb, a.zh, z);
  a.mean = mean_;
  a.var = var_;
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
  set_map(a.z, a.zn, a.zb, a.zh, z);
  set_map(a.y, a.yn, a.yb, a.yh, y);
  a.scale = scale_;
  a.bias = bias_;
  set_activation(a, act);
  machine_.kernels->bn_act(a);
}

void BlockedNorm::train(View<const float> z, View<float> y, const Activation& act, double eps) noexcept {
  BnArgs a;
  set_extent(a, z);
  set_map(a.z, a.zn, a.zb, a.zh, z);
  set_map(a.y, a.yn, a.yb, a.yh, y);
  a.mean = mean_;
  a.var = var_;
  a.gamma = gamma_;
  a.beta = beta_;
  a.scale = scale_;
  a.bias = bias_;
  a.eps = eps;
  set_activation(a, act);
  a.workspace = sums_;
  machine_.kernels->bn_act_train(a);
}

void BlockedNorm::backward(View<const float> dy, View<const float> z, View<float> dz, const Activation& act, double eps,
                           bool batch_stats) noexcept {
  BnGradArgs a;
  set_extent(a, z);
  set_map(a.dy, a.dyn, a.dyb, a.dyh, dy);
  set_map(a.z, a.zn, a.zb, a.zh, z);
  set_map(a.dz, a.dzn, a.dzb, a.dzh, dz);
  a.mean = mean_;
  a.var = var_;
  a.scale = scale_;
  a.bias = bias_;
  a.eps = eps;
  a.act = act.kind;
  a.slope = static_cast<float>(act.slope);
  a.batch_stats = batch_stats;
  a.dgamma = dgamma_;
  a.dbeta = dbeta_;
  a.coefficients = coefficients_;
  a.workspace = sums_;
  machine_.kernels->bn_act_bwd(a);
}

}  // namespace slimneck::kernels::plain
