// A device whose memory lies between zones that kernels must not write, as that of the emulated one does.
#pragma once

#include <memory>
#include <string>

#include "kernels/cuda/runtime.hpp"

namespace slimneck::cuda_cases {

/// Around another table, which must outlive it. There is one at a time. Memory is NaN in the beginning.
class Guarded {
 public:
  explicit Guarded(const kernels::cuda::Runtime& inner);
  ~Guarded();
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  [[nodiscard]] const kernels::cuda::Runtime& table() const noexcept { return table_; }
  /// Which zones of memory that is still held are not what they were, or cannot be read; "" for none.
  [[nodiscard]] std::string damage() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
  kernels::cuda::Runtime table_;
};

}  // namespace slimneck::cuda_cases
