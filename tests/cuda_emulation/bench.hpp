// What tests of CUDA kernels share: a device with a stream, and maps and arrays in its memory.
#pragma once

#include <doctest/doctest.h>

#include <vector>

#include "cases.hpp"
#include "kernels/cuda/host.hpp"
#include "kernels/table.hpp"

namespace slimneck::cuda_cases {

/// A device as new and a stream of it.
struct Bench {
  kernels::cuda::Context context{fresh_runtime()};
  kernels::cuda::Stream stream{context};
};

/// Numbers in device memory.
template <class T>
class DeviceArray {
 public:
  DeviceArray(Bench& bench, std::vector<T> values)
      : bench_(&bench), values_(std::move(values)), memory_(bench.context, values_.size() * sizeof(T), "an array") {
    bench.stream.copy(memory_.data(), values_.data(), memory_.bytes(), kernels::cuda::Direction::to_device);
    bench.stream.wait();
  }
  /// That nobody has written.
  DeviceArray(Bench& bench, index_t count)
      : bench_(&bench),
        values_(static_cast<std::size_t>(count)),
        memory_(bench.context, values_.size() * sizeof(T), "an array") {}

  [[nodiscard]] T* data() const { return static_cast<T*>(memory_.data()); }
  /// After all work.
  [[nodiscard]] const std::vector<T>& values() {
    bench_->stream.copy(values_.data(), memory_.data(), memory_.bytes(), kernels::cuda::Direction::to_host);
    bench_->stream.wait();
    return values_;
  }

 private:
  Bench* bench_;
  std::vector<T> values_;
  kernels::cuda::Memory memory_;
};

inline Name name_of(const char* family, const char* pass, const table::ConvRow& row) {
  const Shape w = row.w();
  return {family, pass, table::to_text(row), row.y().numel() * w.c * w.h * w.w};
}
inline Name name_of(const char* family, const char* pass, const Shape& shape) {
  return {family, pass, to_string(shape), shape.numel()};
}

/// A row's place in memory: every row another one.
inline table::Placement place_of(std::size_t i) {
  constexpr index_t offsets[] = {0, 4, 8, 28};
  return {offsets[i % 4], false, static_cast<index_t>(i % 3)};
}

/// A plain view in device memory, `offset` bytes past an aligned address, with gaps.
class DeviceMap {
 public:
  DeviceMap(Bench& bench, const Shape& shape, const table::Placement& at)
      : DeviceMap(bench, std::make_unique<table::Map>(shape, 1, at), at) {}
  DeviceMap(Bench& bench, const Tensor& values, const table::Placement& at)
      : DeviceMap(bench, std::make_unique<table::Map>(values, 1, at), at) {}

  [[nodiscard]] const View<float>& view() const { return view_; }
  [[nodiscard]] View<const float> read() const { return view_; }
  /// After all work; gaps must be what they were.
  [[nodiscard]] Tensor finished() const {
    const std::span<float> all = host_->span();
    bench_->stream.copy(all.data(), view_.data, all.size_bytes(), kernels::cuda::Direction::to_host);
    bench_->stream.wait();
    CHECK(host_->intact());
    return host_->values();
  }

 private:
  DeviceMap(Bench& bench, std::unique_ptr<table::Map> host, const table::Placement& at)
      : bench_(&bench),
        host_(std::move(host)),
        memory_(bench.context, host_->span().size_bytes() + static_cast<std::size_t>(at.offset), "a map"),
        view_(host_->view()) {
    view_.data = memory_.floats() + static_cast<std::size_t>(at.offset) / sizeof(float);
    bench.stream.copy(view_.data, host_->span().data(), host_->span().size_bytes(),
                      kernels::cuda::Direction::to_device);
    bench.stream.wait();
  }

  Bench* bench_;
  std::unique_ptr<table::Map> host_;
  kernels::cuda::Memory memory_;
  View<float> view_;
};

}  // namespace slimneck::cuda_cases
