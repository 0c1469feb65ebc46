// A GPU with both sides of a row on it: the library's kernels, and cuDNN or cuBLAS where they were found.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/host.hpp"
#include "side.hpp"

namespace slimneck::bench {

/// Device 0 with one stream for all. Throws DeviceError.
class Gpu {
 public:
  Gpu();
  ~Gpu();
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  [[nodiscard]] const kernels::cuda::Context& context() const { return context_; }
  [[nodiscard]] kernels::cuda::Stream& stream() { return stream_; }
  [[nodiscard]] cudaStream_t handle() const { return handle_; }
  /// GFLOP/s of its FP32 lanes at the highest clock.
  [[nodiscard]] double peak() const;
  [[nodiscard]] std::string name() const;
  /// Seconds on the device of a call, the mean of so many; throws what went wrong.
  double seconds(Side& side, int calls);
  void check(cudaError_t status, const char* call) const;

 private:
  kernels::cuda::Context context_;
  cudaStream_t handle_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
  kernels::cuda::Stream stream_;
};

/// Numbers in its memory.
class DeviceNumbers {
 public:
  DeviceNumbers(Gpu& gpu, const Numbers& values);
  DeviceNumbers(Gpu& gpu, index_t count);
  [[nodiscard]] float* data() const { return memory_.floats(); }
  /// After all work.
  [[nodiscard]] Numbers values() const;

 private:
  Gpu* gpu_;
  kernels::cuda::Memory memory_;
};

/// Arrays of a single convolution in one direction; what is not computed is given.
struct ConvMemory {
  ConvMemory(Gpu& gpu, const Problem& problem);
  [[nodiscard]] const DeviceNumbers& result() const;

  Pass pass;
  Shape x_shape, w_shape, y_shape;
  DeviceNumbers x, w, y, bias;
};

/// Convolutions alone, forward or one gradient; results: the one array that the pass computes. Null where a side has
/// nothing for the row, or was not found when this was built.
std::unique_ptr<Side> make_cuda(Gpu& gpu, const Problem& problem);
std::unique_ptr<Side> make_cudnn(Gpu& gpu, const Problem& problem);
std::unique_ptr<Side> make_cublas(Gpu& gpu, const Problem& problem);  ///< 1x1, stride 1, no bias and activation

/// "9.12.0"; empty when it was not found.
std::string cudnn_version();
std::string cublas_version();

}  // namespace slimneck::bench
