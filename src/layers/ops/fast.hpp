// From ops to the fast kernels: which of them computes a convolution between the views of a node, and the call itself.
// Made anew at lowering and at each run, from shapes alone: cheap, and never two answers.
#pragma once

#include "kernels/conv2d/variants.hpp"
#include "kernels/depthwise/variants.hpp"
#include "layers/ops/common.hpp"

namespace slimneck::ops {

/// The kernels for nodes in the plan's blocks; null where there are none: double precision, or blocks of another size.
const kernels::Kernels* fast_kernels(DType type, const Target& target) noexcept;

/// Do all views lie in blocks of that many channels?
bool in_blocks(std::span<const AnyView> views, index_t lanes) noexcept;

/// Pieces of a call's scratch memory, each aligned; without memory it only counts.
class Scratch {
 public:
  explicit Scratch(void* memory) : memory_(static_cast<float*>(memory)) {}
  float* take(index_t floats) noexcept {
    float* piece = memory_ ? memory_ + taken_ : nullptr;
    taken_ += (floats + 15) / 16 * 16;
    return piece;
  }
  [[nodiscard]] index_t taken() const noexcept { return taken_; }

 private:
  float* memory_;
  index_t taken_ = 0;
};

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
  /// Parts of Epilogue::moments.
  [[nodiscard]] index_t parts() const noexcept;
  void run(const float* weights, const kernels::Epilogue& epilogue, float* workspace) noexcept;

 private:
  const kernels::Kernels* kernels_;
  Target target_;
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
