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

  /// A number for each physical channel.
  struct Vectors {
    float *gamma, *beta, *mean, *var, *scale, *bias, *dgamma, *dbeta;
  };
  [[nodiscard]] const Vectors& vectors() const { return v_; }

 private:
  Machine machine_;
  index_t channels_;
  Vectors v_;
  float *coefficients_, *sums_;
};

}  // namespace slimneck::kernels::plain
