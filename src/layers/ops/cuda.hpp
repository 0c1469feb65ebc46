// From ops to the kernels for CUDA (kernels/cuda/kernels.hpp): which of them computes a node, between plain views.
#pragma once

#include "kernels/cuda/entries.hpp"
#include "layers/ops/geometry.hpp"

namespace slimneck::ops {

/// The kernels of the plan's device.
inline const kernels::cuda::Entries& cuda(const KernelCall& k) noexcept { return *k.target.cuda; }

/// A kernel, or several, for a node; workspace in floats.
inline Lowering lower_to_cuda(std::string_view name, KernelFunction run, index_t workspace = 0) {
  Lowering l;
  l.kernel = name;
  l.run = run;
  l.workspace = workspace;
  return l;
}

/// A convolution between views of these shapes, by the kernels for dense or for depthwise ones. `a`: geometry of the
/// forward; x, w, y: of the forward, too.
class CudaConv {
 public:
  CudaConv(const Target& target, const Attributes& a, const Shape& x, const Shape& w, const Shape& y) noexcept;

  /// Enough floats for each of the three directions.
  [[nodiscard]] index_t workspace() const noexcept;
  /// A lowering of the forward by `run`. Dense weights that stay what they are are packed once: kept by the step.
  [[nodiscard]] Lowering lowering(const LowerContext& c, KernelFunction run) const;
  /// Their names.
  [[nodiscard]] std::string_view data_name() const noexcept { return depthwise_ ? "depthwise_bwd_x" : "conv2d_bwd_x"; }
  [[nodiscard]] std::string_view weights_name() const noexcept {
    return depthwise_ ? "depthwise_bwd_w" : "conv2d_bwd_w";
  }

  /// Fills what is kept, for inputs 0 and 1 of the node.
  void pack(const KernelCall& k) const noexcept;
  /// y = finish(conv(x, w)) for inputs 0 and 1 of the node.
  void forward(const KernelCall& k, View<float> y, const kernels::fast::Finish& finish) const noexcept;
  /// Output 0 of the node = (+)= the adjoint in x, of inputs 0 and 1.
  void data(const KernelCall& k, kernels::Write write) const noexcept;
  /// Output 0 of the node = the adjoint in w, of inputs 0 and 1.
  void weights(const KernelCall& k) const noexcept;

 private:
  const kernels::cuda::Entries& entries_;
  Shape x_, w_, y_;
  kernels::Conv2d geometry_;
  bool depthwise_;
};

/// y = act(bn(z)) by these statistics and parameters: inputs of the node from `mean` and from `gamma` on.
void cuda_norm(const KernelCall& k, View<const float> z, View<const float> mean, View<const float> var,
               std::size_t gamma, View<float> y, const kernels::Activation& act) noexcept;

/// dy, z, mean, var, gamma [, beta] -> dz, dgamma, dbeta.
void cuda_norm_bwd(const KernelCall& k, const kernels::Activation& act, bool batch_stats) noexcept;

}  // namespace slimneck::ops
