// Convolutions between blocked maps with weights from plain views: what the fast kernels on plain views are made of.
//
// Each struct is one convolution that is ready to run. Its constructor chooses the variant and takes its pieces of the
// workspace (of a workspace without memory it only counts them); run() packs the weights and computes.
#pragma once

#include "kernels/conv2d/variants.hpp"
#include "kernels/depthwise/variants.hpp"
#include "kernels/plain/parts.hpp"

namespace slimneck::kernels::plain {

/// A convolution of maps of this extent; for depthwise ones w.c is 1 and w.n the channels.
struct ConvShape {
  Shape x, w, y;
  Conv2d geometry;
};

/// y = epilogue(conv(x, w)), one group.
class DenseForward {
 public:
  DenseForward(const Machine& machine, const ConvShape& shape, Algorithm algorithm, Workspace& workspace);
  void run(View<const float> x, View<const float> w, View<float> y, const Epilogue& epilogue) const noexcept;

 private:
  const Machine& machine_;
  ConvShape shape_;
  ConvArgs args_;
  const ConvVariant* variant_;
  float *plain_, *packed_, *prepared_, *scratch_;
  friend class DenseBackward;
};

/// dx = the adjoint in x, one group.
class DenseBackward {
 public:
  DenseBackward(const Machine& machine, const ConvShape& shape, Algorithm algorithm, Workspace& workspace);
  void run(View<const float> dy, View<const float> w, View<float> dx) const noexcept;

 private:
  const Machine& machine_;
  ConvShape shape_;
  ConvArgs args_;
  const ConvVariant* variant_;
  float *plain_, *packed_, *prepared_, *scratch_;
};

/// dw = the adjoint in w, one group.
class DenseWeights {
 public:
  DenseWeights(const Machine& machine, const ConvShape& shape, Algorithm algorithm, Workspace& workspace);
  void run(View<const float> x, View<const float> dy, View<float> dw, Write write) const noexcept;

 private:
  const Machine& machine_;
  ConvShape shape_;
  ConvGradArgs args_;
  const ConvGradVariant* variant_;
  float *plain_, *packed_, *scratch_;
};

class DepthwiseForward {
 public:
  DepthwiseForward(const Machine& machine, const ConvShape& shape, Workspace& workspace);
  void run(View<const float> x, View<const float> w, View<float> y, const Epilogue& epilogue) const noexcept;

 private:
  const Machine& machine_;
  ConvShape shape_;
  float *plain_, *packed_;
};

class DepthwiseBackward {
 public:
  DepthwiseBackward(const Machine& machine, const ConvShape& shape, Workspace& workspace);
  void run(View<const float> dy, View<const float> w, View<float> dx) const noexcept;

 private:
  const Machine& machine_;
  ConvShape shape_;
  float *plain_, *packed_;
};

class DepthwiseWeights {
 public:
  DepthwiseWeights(const Machine& machine, const ConvShape& shape, Workspace& workspace);
  void run(View<const float> x, View<const float> dy, View<float> dw, Write write) const noexcept;

 private:
  const Machine& machine_;
  ConvShape shape_;
  DepthwiseGradArgs args_;
  float *plain_, *packed_, *scratch_;
};

}  // namespace slimneck::kernels::plain
