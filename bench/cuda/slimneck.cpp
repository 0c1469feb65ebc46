// The library's side: weights of the forward are packed beforehand, as a plan does.
#include <optional>

#include "gpu.hpp"
#include "kernels/cuda/kernels.hpp"

namespace slimneck::bench {

namespace cuda = kernels::cuda;

namespace {

class CudaConv : public Side {
 public:
  CudaConv(Gpu& gpu, const Problem& p)
      : gpu_(gpu),
        memory_(gpu, p),
        geometry_{p.layer().stride, p.layer().pad_h, p.layer().pad_w, p.layer().dilation, p.layer().groups},
        depthwise_(p.layer().op == Op::depthwise),
        workspace_(gpu, workspace()) {
    if (p.epilogue) finish_.bias = View<const float>(memory_.bias.data(), {1, p.layer().oc, 1, 1});
    if (p.activates()) finish_.act = {p.layer().act, 0.1};
    if (depthwise_ || p.row.pass != Pass::fwd) return;
    packed_.emplace(gpu, cuda::conv2d_packed_size(memory_.w_shape, geometry_));
    cuda::conv2d_pack(gpu.stream(), x(), w(), geometry_, packed_->data());
    gpu.stream().wait();
  }

  void run() override {
    cuda::Stream& stream = gpu_.stream();
    switch (memory_.pass) {
      case Pass::fwd:
        if (depthwise_) return cuda::depthwise_fwd(stream, x(), w(), y(), geometry_, finish_);
        return cuda::conv2d_fwd_packed(stream, x(), w(), y(), geometry_, finish_, packed_->data(), workspace_.data());
      case Pass::bwd_x:
        if (depthwise_) return cuda::depthwise_bwd_x(stream, y(), w(), x(), geometry_);
        return cuda::conv2d_bwd_x(stream, y(), w(), x(), geometry_, workspace_.data());
      default:
        if (depthwise_) return cuda::depthwise_bwd_w(stream, x(), y(), w(), geometry_, workspace_.data());
        return cuda::conv2d_bwd_w(stream, x(), y(), w(), geometry_, workspace_.data());
    }
  }

  std::vector<Numbers> results() override { return {memory_.result().values()}; }
  [[nodiscard]] std::string kernel() const override { return depthwise_ ? "depthwise" : "product"; }

 private:
  [[nodiscard]] index_t workspace() const {
    return depthwise_ ? cuda::depthwise_workspace(memory_.w_shape, memory_.y_shape)
                      : cuda::conv2d_workspace(memory_.x_shape, memory_.w_shape, memory_.y_shape, geometry_);
  }
  [[nodiscard]] View<float> x() const { return {memory_.x.data(), memory_.x_shape}; }
  [[nodiscard]] View<float> w() const { return {memory_.w.data(), memory_.w_shape}; }
  [[nodiscard]] View<float> y() const { return {memory_.y.data(), memory_.y_shape}; }

  Gpu& gpu_;
  ConvMemory memory_;
  kernels::Conv2d geometry_;
  bool depthwise_;
  DeviceNumbers workspace_;
  kernels::fast::Finish finish_;
  std::optional<DeviceNumbers> packed_;
};

}  // namespace

std::unique_ptr<Side> make_cuda(Gpu& gpu, const Problem& problem) { return std::make_unique<CudaConv>(gpu, problem); }

}  // namespace slimneck::bench
