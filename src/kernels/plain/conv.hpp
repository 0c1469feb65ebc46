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

/// Forward: y = epilogue(conv(x, w)). Backward: run(dy, w, dx) is the adjoint in x.
class DenseData {
 public:
  DenseData(const Machine& machine, const ConvShape& shape, bool backward, Algorithm algorithm, Workspace& workspace);
  void run(View<const float> x, View<const float> w, View<float> y, const Epilogue& epilogue) const noexcept;

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
  DenseWeights(const Machine& machine, const ConvShape& shape, Algorithm algorithm, Workspace& workspace);
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
  ConvData(const Machine& machine, const ConvShape& shape, bool depthwise, bool backward, Algorithm algorithm,
           Workspace& workspace) {
    if (depthwise)
      depthwise_.emplace(machine, shape, backward, workspace);
    else
      dense_.emplace(machine, shape, backward, algorithm, workspace);
  }
  void run(View<const float> x, View<const float> w, View<float> y, const Epilogue& epilogue) const noexcept {
    if (depthwise_)
      depthwise_->run(x, w, y, epilogue);
    else
      dense_->run(x, w, y, epilogue);
  }

 private:
  std::optional<DenseData> dense_;
  std::optional<DepthwiseData> depthwise_;
};

class ConvWeights {
 public:
  ConvWeights(const Machine& machine, const ConvShape& shape, bool depthwise, Algorithm algorithm,
              Workspace& workspace) {
    if (depthwise)
      depthwise_.emplace(machine, shape, workspace);
    else
      dense_.emplace(machine, shape, algorithm, workspace);
  }
  void run(View<const float> x, View<const float> dy, View<float> dw, Write write) const noexcept {
    if (depthwise_)
      depthwise_->run(x, dy, dw, write);
    else
      dense_->run(x, dy, dw, write);
  }

 private:
  std::optional<DenseWeights> dense_;
  std::optional<DepthwiseWeights> depthwise_;
};

}  // namespace slimneck::kernels::plain
