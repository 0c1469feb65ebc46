// Batch norm with its activation on blocked maps, in vectors of the workspace.
#pragma once

#include "kernels/plain/parts.hpp"

namespace slimneck::kernels::plain {

/// One batch norm of a map of this shape; its vectors hold a number for each physical channel.
class BlockedNorm {
 public:
  BlockedNorm(const Machine& machine, const Shape& shape, Workspace& workspace);

  /// gamma and beta; without data they are 1 and 0.
  void set_affine(View<const float> gamma, View<const float> beta) noexcept;
  void set_statistics(View<const float> mean, View<const float> var) noexcept;
  /// scale = gamma / sqrt(var + eps), bias = beta - mean * scale.
  void fold(double eps) noexcept;

  /// mean and var of z.
  void statistics(View<const float> z) noexcept;
  /// y = act(z * scale + bias); y may be z.
  void apply(View<const float> z, View<float> y, const Activation& act) const noexcept;
  /// Statistics, fold and apply in one.
  void train(View<const float> z, View<float> y, const Activation& act, double eps) noexcept;
  /// From statistics and fold: dz (may be dy), dgamma, dbeta of apply.
  void backward(View<const float> dy, View<const float> z, View<float> dz, const Activation& act, double eps,
                bool batch_stats) noexcept;

  [[nodiscard]] const float* scale() const { return scale_; }
  [[nodiscard]] const float* bias() const { return bias_; }
  [[nodiscard]] const float* mean() const { return mean_; }
  [[nodiscard]] const float* var() const { return var_; }
  [[nodiscard]] const float* dgamma() const { return dgamma_; }
  [[nodiscard]] const float* dbeta() const { return dbeta_; }

 private:
  Machine machine_;
  index_t channels_;
  float *gamma_, *beta_, *mean_, *var_, *scale_, *bias_, *dgamma_, *dbeta_, *coefficients_, *sums_;
};

}  // namespace slimneck::kernels::plain
