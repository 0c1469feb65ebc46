// From ops to the fast kernels: which of them computes a convolution between the views of a node, and the call itself.
// Made anew at lowering and at each run, from shapes alone: cheap, and never two answers.
#pragma once

#include "kernels/conv2d/variants.hpp"
#include "kernels/depthwise/variants.hpp"
#include "kernels/norm/pair.hpp"
#include "layers/ops/common.hpp"

namespace slimneck::ops {

/// The kernels for nodes in the plan's blocks; null where there are none: double precision, or blocks of another size.
const kernels::Kernels* fast_kernels(DType type, const Target& target) noexcept;

using kernels::lay;
using kernels::set_extent;
using Scratch = kernels::Pieces;

/// x -> y or x, z -> y of an elementwise kernel.
kernels::PointwiseArgs pointwise(const KernelCall& k) noexcept;

/// Output 0 holds the numbers of x, for a kernel that adds to it; most often they share memory already.
void begin_with(const AnyView& x, const KernelCall& k) noexcept;

/// A kernel for nodes whose maps all lie in the plan's blocks; vectors (height and width 1) may lie as they like.
Lowering lower_in_blocks(const LowerContext& c, std::string_view name, KernelFunction run, index_t workspace = 0);

/// y = act(bn(z)) by these statistics.
struct Norm {
  const float *mean = nullptr, *var = nullptr, *gamma = nullptr, *beta = nullptr;
  double eps = 0;
};
void run_norm(const AnyView& z, const AnyView& y, const Norm& norm, const kernels::Activation& act,
              const Target& target, Scratch& scratch) noexcept;
void take_norm(Scratch& scratch, index_t channels) noexcept;

/// Batch norm and activation, backward: dy, z, mean, var, gamma -> dz, dgamma, dbeta; beta null where the activation is
/// none.
void run_norm_bwd(const KernelCall& k, const float* beta, const kernels::Activation& act, bool batch_stats) noexcept;
index_t norm_bwd_workspace(const AnyView& z) noexcept;
/// What a norm's gradient of a map like z works in: folded norm, coefficients and partial sums; laid into `b`.
void take_norm_bwd(Scratch& s, const AnyView& z, kernels::BnGradArgs& b, float*& scale, float*& bias) noexcept;

/// Data through a convolution, dense or depthwise: x is what is read, y what is written.
class FastConv {
 public:
  enum class Direction : std::uint8_t { forward, backward };
  /// w: shape of the weights, physical; a: geometry of the forward convolution.
  FastConv(Direction direction, DType type, const Target& target, const Attributes& a, const AnyView& x, const Shape& w,
           const AnyView& y) noexcept;

  [[nodiscard]] bool possible() const noexcept { return dense_ || depthwise_; }
  /// name, order and preparation of the weights, workspace of this convolution alone.
  [[nodiscard]] Lowering lowering(KernelFunction run) const noexcept;
  [[nodiscard]] index_t workspace() const noexcept;
  /// Floats of Epilogue::moments, and their merging into the mean and the biased variance of each channel.
  [[nodiscard]] index_t moments() const noexcept;
  void merge(const float* moments, float* mean, float* var) const noexcept;
  void run(const float* weights, const kernels::Epilogue& epilogue, float* workspace) noexcept;

  /// The dense kernel, null where there is none, and what it is called with.
  [[nodiscard]] const kernels::ConvVariant* dense() const noexcept { return dense_; }
  [[nodiscard]] const kernels::ConvArgs& dense_args() const noexcept { return conv_; }

 private:
  [[nodiscard]] const kernels::ConvVariant& choose(kernels::Algorithm algorithm) const noexcept;
  /// In training weights are prepared after every move of the parameters.
  [[nodiscard]] bool pays(const kernels::ConvVariant& v) const noexcept;
  [[nodiscard]] kernels::MomentsArgs moments_args(const float* moments, float* mean, float* var) const noexcept;

  const kernels::Kernels* kernels_;
  Target target_;
  Direction direction_;
  Shape w_;
  kernels::ConvArgs conv_;
  kernels::DepthwiseArgs channelwise_;
  const kernels::ConvVariant* dense_ = nullptr;
  const kernels::DepthwiseVariant* depthwise_ = nullptr;
};

/// The gradient of the weights.
class FastConvGrad {
 public:
  FastConvGrad(DType type, const Target& target, const Attributes& a, const AnyView& x, const AnyView& dy,
               const Shape& dw) noexcept;
  [[nodiscard]] bool possible() const noexcept { return dense_ || depthwise_; }
  [[nodiscard]] Lowering lowering(KernelFunction run) const noexcept;
  [[nodiscard]] index_t workspace() const noexcept;
  void run(float* dw, float* workspace) noexcept;

 private:
  const kernels::Kernels* kernels_;
  Target target_;
  kernels::ConvGradArgs conv_;
  kernels::DepthwiseGradArgs channelwise_;
  const kernels::ConvGradVariant* dense_ = nullptr;
  const kernels::DepthwiseGradVariant* depthwise_ = nullptr;
};

}  // namespace slimneck::ops
