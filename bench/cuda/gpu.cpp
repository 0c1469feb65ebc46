#include "gpu.hpp"

#include <utility>

#include "kernels/cuda/available.hpp"

namespace slimneck::bench {

namespace cuda = kernels::cuda;

namespace {

/// FP32 lanes of a multiprocessor.
int lanes_of(int architecture) { return architecture == 75 || architecture == 80 ? 64 : 128; }

cudaStream_t new_stream(const cuda::Context& context) {
  cudaStream_t stream = nullptr;
  context.check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  return stream;
}

Numbers nothing(index_t count) { return Numbers(static_cast<std::size_t>(count)); }

Shape weights_of(const Layer& l) { return {l.oc, l.c / l.groups, l.kh, l.kw}; }

}  // namespace

Gpu::Gpu() : context_(*cuda::backend().runtime), handle_(new_stream(context_)), stream_(context_, handle_) {
  check(cudaEventCreate(&begin_), "creating an event");
  check(cudaEventCreate(&end_), "creating an event");
}

Gpu::~Gpu() {
  static_cast<void>(cudaEventDestroy(begin_));
  static_cast<void>(cudaEventDestroy(end_));
  static_cast<void>(cudaStreamDestroy(handle_));
}

void Gpu::check(cudaError_t status, const char* call) const { context_.check(status, call); }

double Gpu::peak() const {
  int processors = 0, kilohertz = 0;
  check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, 0), "asking for multiprocessors");
  check(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, 0), "asking for the clock");
  return 2e-6 * processors * lanes_of(context_.info().architecture) * kilohertz;
}

std::string Gpu::name() const { return context_.info().name; }

double Gpu::seconds(Side& side, int calls) {
  check(cudaEventRecord(begin_, handle_), "recording an event");
  for (int i = 0; i < calls; ++i) side.run();
  check(cudaEventRecord(end_, handle_), "recording an event");
  stream_.wait();
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin_, end_), "reading events");
  return static_cast<double>(milliseconds) * 1e-3 / calls;
}

DeviceNumbers::DeviceNumbers(Gpu& gpu, const Numbers& values)
    : gpu_(&gpu), memory_(gpu.context(), values.size() * sizeof(float), "a map") {
  gpu.stream().copy(memory_.data(), values.data(), memory_.bytes(), cuda::Direction::to_device);
  gpu.stream().wait();
}

DeviceNumbers::DeviceNumbers(Gpu& gpu, index_t count) : DeviceNumbers(gpu, nothing(count)) {}

Numbers DeviceNumbers::values() const {
  Numbers values(memory_.bytes() / sizeof(float));
  gpu_->stream().copy(values.data(), memory_.data(), memory_.bytes(), cuda::Direction::to_host);
  gpu_->stream().wait();
  return values;
}

ConvMemory::ConvMemory(Gpu& gpu, const Problem& p)
    : pass(p.row.pass),
      x_shape{p.n, p.layer().c, p.layer().h, p.layer().w},
      w_shape(weights_of(p.layer())),
      y_shape{p.n, p.layer().oc, p.layer().oh(), p.layer().ow()},
      x(gpu, pass == Pass::bwd_x ? nothing(x_shape.numel()) : p.x),
      w(gpu, pass == Pass::bwd_w ? nothing(w_shape.numel()) : p.w1),
      y(gpu, pass == Pass::fwd ? nothing(y_shape.numel()) : p.dy),
      bias(gpu, p.bias1) {}

const DeviceNumbers& ConvMemory::result() const { return pass == Pass::fwd ? y : pass == Pass::bwd_x ? x : w; }

}  // namespace slimneck::bench
