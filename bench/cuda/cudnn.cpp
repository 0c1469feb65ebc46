// cuDNN: the fastest of its algorithms, found by trial, without tensor cores; bias and activation are steps of their
// own.
#include "gpu.hpp"

#if defined(SLIMNECK_WITH_CUDNN)
#include <cudnn.h>

#include <array>
#endif

namespace slimneck::bench {

#if defined(SLIMNECK_WITH_CUDNN)
namespace {

void check(cudnnStatus_t status, const char* call) {
  if (status != CUDNN_STATUS_SUCCESS)
    throw DeviceError(std::string("cuDNN: ") + call + ": " + cudnnGetErrorString(status));
}

/// One of its objects.
template <class T, cudnnStatus_t (*create)(T*), cudnnStatus_t (*destroy)(T)>
class Object {
 public:
  Object() { check(create(&value_), "creating an object"); }
  ~Object() { static_cast<void>(destroy(value_)); }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  [[nodiscard]] T get() const { return value_; }

 private:
  T value_ = nullptr;
};

using Handle = Object<cudnnHandle_t, cudnnCreate, cudnnDestroy>;
using Convolution =
    Object<cudnnConvolutionDescriptor_t, cudnnCreateConvolutionDescriptor, cudnnDestroyConvolutionDescriptor>;
using Activation =
    Object<cudnnActivationDescriptor_t, cudnnCreateActivationDescriptor, cudnnDestroyActivationDescriptor>;

struct Map : Object<cudnnTensorDescriptor_t, cudnnCreateTensorDescriptor, cudnnDestroyTensorDescriptor> {
  explicit Map(const Shape& s) {
    check(cudnnSetTensor4dDescriptor(get(), CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, static_cast<int>(s.n),
                                     static_cast<int>(s.c), static_cast<int>(s.h), static_cast<int>(s.w)),
          "cudnnSetTensor4dDescriptor");
  }
};

struct Weights : Object<cudnnFilterDescriptor_t, cudnnCreateFilterDescriptor, cudnnDestroyFilterDescriptor> {
  explicit Weights(const Shape& s) {
    check(cudnnSetFilter4dDescriptor(get(), CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, static_cast<int>(s.n),
                                     static_cast<int>(s.c), static_cast<int>(s.h), static_cast<int>(s.w)),
          "cudnnSetFilter4dDescriptor");
  }
};

constexpr float one = 1, zero = 0;

class CudnnConv : public Side {
 public:
  CudnnConv(Gpu& gpu, const Problem& p)
      : memory_(gpu, p),
        x_(memory_.x_shape),
        y_(memory_.y_shape),
        bias_({1, p.layer().oc, 1, 1}),
        w_(memory_.w_shape),
        adds_bias_(p.epilogue),
        activates_(p.activates()) {
    const Layer& l = p.layer();
    const auto number = [](index_t i) { return static_cast<int>(i); };
    check(cudnnSetStream(handle_.get(), gpu.handle()), "cudnnSetStream");
    check(cudnnSetConvolution2dDescriptor(convolution_.get(), number(l.pad_h), number(l.pad_w), number(l.stride),
                                          number(l.stride), number(l.dilation), number(l.dilation),
                                          CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
          "cudnnSetConvolution2dDescriptor");
    check(cudnnSetConvolutionGroupCount(convolution_.get(), number(l.groups)), "cudnnSetConvolutionGroupCount");
    check(cudnnSetConvolutionMathType(convolution_.get(), CUDNN_FMA_MATH), "cudnnSetConvolutionMathType");
    // Its swish is x * sigmoid(1 * x).
    check(cudnnSetActivationDescriptor(activation_.get(), CUDNN_ACTIVATION_SWISH, CUDNN_PROPAGATE_NAN, 1),
          "cudnnSetActivationDescriptor");
    check(cudnnSetActivationDescriptorSwishBeta(activation_.get(), 1), "cudnnSetActivationDescriptorSwishBeta");
    find();
    workspace_ = std::make_unique<kernels::cuda::Memory>(gpu.context(), workspace_bytes_, "cuDNN's workspace");
  }

  void run() override {
    float *x = memory_.x.data(), *w = memory_.w.data(), *y = memory_.y.data();
    switch (memory_.pass) {
      case Pass::fwd: return forward(x, w, y);
      case Pass::bwd_x:
        return check(cudnnConvolutionBackwardData(handle_.get(), &one, w_.get(), w, y_.get(), y, convolution_.get(),
                                                  data_, workspace_->data(), workspace_bytes_, &zero, x_.get(), x),
                     "cudnnConvolutionBackwardData");
      default:
        return check(cudnnConvolutionBackwardFilter(handle_.get(), &one, x_.get(), x, y_.get(), y, convolution_.get(),
                                                    filter_, workspace_->data(), workspace_bytes_, &zero, w_.get(), w),
                     "cudnnConvolutionBackwardFilter");
    }
  }

  std::vector<Numbers> results() override { return {memory_.result().values()}; }
  [[nodiscard]] std::string kernel() const override { return "algorithm " + std::to_string(chosen_); }

 private:
  void forward(const float* x, const float* w, float* y) {
    check(cudnnConvolutionForward(handle_.get(), &one, x_.get(), x, w_.get(), w, convolution_.get(), forward_,
                                  workspace_->data(), workspace_bytes_, &zero, y_.get(), y),
          "cudnnConvolutionForward");
    if (adds_bias_)
      check(cudnnAddTensor(handle_.get(), &one, bias_.get(), memory_.bias.data(), &one, y_.get(), y), "cudnnAddTensor");
    if (activates_)
      check(cudnnActivationForward(handle_.get(), activation_.get(), &one, y_.get(), y, &zero, y_.get(), y),
            "cudnnActivationForward");
  }

  /// The first of a list, which begins with the fastest, that runs without tensor cores.
  template <class Result, class Algorithm>
  void choose(const std::array<Result, 16>& all, int count, Algorithm* algorithm) {
    for (int i = 0; i < count; ++i) {
      const Result& r = all[static_cast<std::size_t>(i)];
      if (r.status != CUDNN_STATUS_SUCCESS || (r.mathType != CUDNN_FMA_MATH && r.mathType != CUDNN_DEFAULT_MATH))
        continue;
      *algorithm = r.algo;
      chosen_ = static_cast<int>(r.algo);
      workspace_bytes_ = r.memory;
      return;
    }
    throw DeviceError("cuDNN: no algorithm without tensor cores");
  }

  void find() {
    int count = 0;
    if (memory_.pass == Pass::fwd) {
      std::array<cudnnConvolutionFwdAlgoPerf_t, 16> all{};
      check(cudnnFindConvolutionForwardAlgorithm(handle_.get(), x_.get(), w_.get(), convolution_.get(), y_.get(),
                                                 static_cast<int>(all.size()), &count, all.data()),
            "cudnnFindConvolutionForwardAlgorithm");
      choose(all, count, &forward_);
    } else if (memory_.pass == Pass::bwd_x) {
      std::array<cudnnConvolutionBwdDataAlgoPerf_t, 16> all{};
      check(cudnnFindConvolutionBackwardDataAlgorithm(handle_.get(), w_.get(), y_.get(), convolution_.get(), x_.get(),
                                                      static_cast<int>(all.size()), &count, all.data()),
            "cudnnFindConvolutionBackwardDataAlgorithm");
      choose(all, count, &data_);
    } else {
      std::array<cudnnConvolutionBwdFilterAlgoPerf_t, 16> all{};
      check(cudnnFindConvolutionBackwardFilterAlgorithm(handle_.get(), x_.get(), y_.get(), convolution_.get(), w_.get(),
                                                        static_cast<int>(all.size()), &count, all.data()),
            "cudnnFindConvolutionBackwardFilterAlgorithm");
      choose(all, count, &filter_);
    }
  }

  Handle handle_;
  Convolution convolution_;
  Activation activation_;
  ConvMemory memory_;
  Map x_, y_, bias_;
  Weights w_;
  bool adds_bias_, activates_;
  cudnnConvolutionFwdAlgo_t forward_{};
  cudnnConvolutionBwdDataAlgo_t data_{};
  cudnnConvolutionBwdFilterAlgo_t filter_{};
  int chosen_ = 0;
  std::size_t workspace_bytes_ = 0;
  std::unique_ptr<kernels::cuda::Memory> workspace_;
};

}  // namespace

std::unique_ptr<Side> make_cudnn(Gpu& gpu, const Problem& problem) {
  if (problem.activates() && problem.layer().act != kernels::Act::silu) return nullptr;
  return std::make_unique<CudnnConv>(gpu, problem);
}

std::string cudnn_version() {
  return std::to_string(CUDNN_MAJOR) + "." + std::to_string(CUDNN_MINOR) + "." + std::to_string(CUDNN_PATCHLEVEL);
}
#else
std::unique_ptr<Side> make_cudnn(Gpu& /*gpu*/, const Problem& /*problem*/) { return nullptr; }

std::string cudnn_version() { return ""; }
#endif

}  // namespace slimneck::bench
