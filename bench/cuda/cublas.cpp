// cuBLAS: a convolution of 1x1 and stride 1 is one matrix product for each picture.
#include "gpu.hpp"

#if defined(SLIMNECK_WITH_CUBLAS)
#include <cublas_v2.h>
#endif

namespace slimneck::bench {

#if defined(SLIMNECK_WITH_CUBLAS)
namespace {

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw DeviceError(std::string("cuBLAS: ") + call + ": " + cublasGetStatusString(status));
}

class Handle {
 public:
  explicit Handle(cudaStream_t stream) {
    check(cublasCreate(&handle_), "cublasCreate");
    check(cublasSetStream(handle_, stream), "cublasSetStream");
  }
  ~Handle() { static_cast<void>(cublasDestroy(handle_)); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  [[nodiscard]] cublasHandle_t get() const { return handle_; }

 private:
  cublasHandle_t handle_ = nullptr;
};

class CublasConv : public Side {
 public:
  CublasConv(Gpu& gpu, const Problem& p)
      : handle_(gpu.handle()),
        memory_(gpu, p),
        n_(static_cast<int>(p.n)),
        c_(static_cast<int>(p.layer().c)),
        o_(static_cast<int>(p.layer().oc)),
        pixels_(static_cast<int>(p.layer().h * p.layer().w)) {}

  /// Matrices are column by column there: maps are pixels x channels, weights are inputs x outputs.
  void run() override {
    const float *x = memory_.x.data(), *w = memory_.w.data(), *y = memory_.y.data();
    const long long x_step = step(c_), y_step = step(o_);
    switch (memory_.pass) {
      case Pass::fwd:
        return product(CUBLAS_OP_N, CUBLAS_OP_N, {pixels_, o_, c_}, {x, pixels_, x_step}, {w, c_, 0}, memory_.y.data(),
                       pixels_, y_step);
      case Pass::bwd_x:
        return product(CUBLAS_OP_N, CUBLAS_OP_T, {pixels_, c_, o_}, {y, pixels_, y_step}, {w, c_, 0}, memory_.x.data(),
                       pixels_, x_step);
      default: break;
    }
    for (int i = 0; i < n_; ++i) {  // the pictures add up
      const float one = 1, more = i == 0 ? 0 : 1;
      check(cublasSgemm(handle_.get(), CUBLAS_OP_T, CUBLAS_OP_N, c_, o_, pixels_, &one, x + i * x_step, pixels_,
                        y + i * y_step, pixels_, &more, memory_.w.data(), c_),
            "cublasSgemm");
    }
  }

  std::vector<Numbers> results() override { return {memory_.result().values()}; }
  [[nodiscard]] std::string kernel() const override { return "sgemm"; }

 private:
  struct Extents {
    int m, n, k;
  };
  struct Factor {
    const float* data;
    int rows;
    long long step;
  };
  [[nodiscard]] long long step(int channels) const { return static_cast<long long>(channels) * pixels_; }
  void product(cublasOperation_t first, cublasOperation_t second, const Extents& e, const Factor& a, const Factor& b,
               float* to, int rows, long long to_step) {
    const float one = 1, zero = 0;
    check(cublasSgemmStridedBatched(handle_.get(), first, second, e.m, e.n, e.k, &one, a.data, a.rows, a.step, b.data,
                                    b.rows, b.step, &zero, to, rows, to_step, n_),
          "cublasSgemmStridedBatched");
  }

  Handle handle_;
  ConvMemory memory_;
  int n_, c_, o_, pixels_;
};

}  // namespace

std::unique_ptr<Side> make_cublas(Gpu& gpu, const Problem& problem) {
  const Layer& l = problem.layer();
  const bool product = l.op == Op::conv2d && l.kh == 1 && l.kw == 1 && l.stride == 1 && l.groups == 1 && l.pad_h == 0 &&
                       l.pad_w == 0 && !problem.epilogue;
  return product ? std::make_unique<CublasConv>(gpu, problem) : nullptr;
}

std::string cublas_version() {
  return std::to_string(CUBLAS_VER_MAJOR) + "." + std::to_string(CUBLAS_VER_MINOR) + "." +
         std::to_string(CUBLAS_VER_PATCH);
}
#else
std::unique_ptr<Side> make_cublas(Gpu& /*gpu*/, const Problem& /*problem*/) { return nullptr; }

std::string cublas_version() { return ""; }
#endif

}  // namespace slimneck::bench
