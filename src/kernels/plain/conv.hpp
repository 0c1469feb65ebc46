// Convolutions between blocked maps with weights from plain views: what the fast kernels on plain views are made of.
//
// Each object is one convolution, ready to run. Its constructor chooses the variant and takes its pieces of the
// workspace (of a workspace without memory it only counts them); run() packs the weights and computes.
#pragma once

#include <optional>

#include "kernels/conv2d/variants.hpp"
#include "kernels/depthwise/variants.hpp"
#include "kernels/plain/parts.hpp"

namespace slimneck::kernels::plain {

/// Extents of x, w and y = conv(x, w), one group; for a depthwise convolution w.n is the channels and w.c is 1.
struct ConvShape {
  Shape x, w, y;
  Conv2d geometry;
};

/// A convolution of so few channels can read them from plain memory: `planes` below. x is then a plain view whose
/// pixels lie side by side.
inline bool few_channels(const Shape& x) { return x.c <= 4; }

/// Forward: y = epilogue(conv(x, w)). Backward: run(dy, w, dx) is the adjoint in x.
class DenseData {
 public:
  DenseData(const Machine& machine, const ConvShape& shape, bool backward, bool planes, Algorithm algorithm,
            Workspace& workspace);
  void run(View<const float> x, View<const float> w, View<float> y, const Epilogue& epilogue) const noexcept;

  /// Packs the weights: everything of a call but its output.
  [[nodiscard]] ConvArgs prepare(View<const float> x, View<const float> w) const noexcept;
  [[nodiscard]] const ConvVariant& variant() const { return *variant_; }
  /// Geometry and workspace.
  [[nodiscard]] const ConvArgs& args() const { return args_; }

 private:
  Machine machine_;
  ConvArgs args_;
  const ConvVariant* variant_;
  WeightArgs weights_;
  float *plain_, *packed_, *prepared_ = nullptr;
};

/// dw = the adjoint in w.
class DenseWeights {
 public:
  DenseWeights(const Machine& machine, const ConvShape& shape, bool planes, Algorithm algorithm, Workspace& workspace);
  void run(View<const float> x, View<const float> dy, View<float> dw, Write write) const noexcept;

 private:
  Machine machine_;
  ConvGradArgs args_;
  const ConvGradVariant* variant_;
  WeightArgs weights_;
  float* plain_;
};

class DepthwiseData {
 public:
  DepthwiseData(const Machine& machine, const ConvShape& shape, bool backward, Workspace& workspace);
  void run(View<const float> x, View<const float> w, View<float> y, const Epilogue& epilogue) const noexcept;

  /// The weights, packed.
  [[nodiscard]] const float* prepare(View<const float> w) const noexcept;

 private:
  Machine machine_;
  WeightArgs weights_;
  DepthwiseArgs args_;
  const DepthwiseVariant* variant_;
  float *plain_, *packed_;
};

class DepthwiseWeights {
 public:
  DepthwiseWeights(const Machine& machine, const ConvShape& shape, Workspace& workspace);
  void run(View<const float> x, View<const float> dy, View<float> dw, Write write) const noexcept;

  /// For who fills packed() by another kernel.
  [[nodiscard]] float* packed() const { return args_.dw; }
  void unpack(View<float> dw, Write write) const noexcept;

 private:
  Machine machine_;
  WeightArgs weights_;
  DepthwiseGradArgs args_;
  const DepthwiseGradVariant* variant_;
  float* plain_;
};

/// Dense or depthwise.
class ConvData {
 public:
  ConvData(const Machine& machine, const ConvShape& shape, bool depthwise, bool backward, bool planes,
           Algorithm algorithm, Workspace& workspace) {
    if (depthwise)
      depthwise_.emplace(machine, shape, backward, workspace);
    else
      dense_.emplace(machine, shape, backward, planes, algorithm, workspace);
  }
  void run(View<const float> x, View<const float> w, View<float> y, const Epilogue& epilogue) const noexcept {
    if (depthwise_)
      depthwise_->run(x, w, y, epilogue);
    else
      dense_->run(x, w, y, epilogue);
  }

  [[nodiscard]] const DenseData& dense() const { return *dense_; }
  [[nodiscard]] const DepthwiseData& depthwise() const { return *depthwise_; }

 private:
  std::optional<DenseData> dense_;
  std::optional<DepthwiseData> depthwise_;
};

class ConvWeights {
 public:
  ConvWeights(const Machine& machine, const ConvShape& shape, bool depthwise, bool planes, Algorithm algorithm,
              Workspace& workspace) {
    if (depthwise)
      depthwise_.emplace(machine, shape, workspace);
    else
      dense_.emplace(machine, shape, planes, algorithm, workspace);
  }
  void run(View<const float> x, View<const float> dy, View<float> dw, Write write) const noexcept {
    if (depthwise_)
      depthwise_->run(x, dy, dw, write);
    else
      dense_->run(x, dy, dw, write);
  }

  [[nodiscard]] const DepthwiseWeights& depthwise() const { return *depthwise_; }

 private:
  std::optional<DenseWeights> dense_;
  std::optional<DepthwiseWeights> depthwise_;
};

}  // namespace slimneck::kernels::plain
