// Sums over maps have two stages, so that they have one order: blocks leave parts, a second kernel adds the parts of a
// channel in order. For .cu files.
#pragma once

#include "kernels/cuda/reduce.hpp"

namespace slimneck::kernels::cuda {

/// `count` parts of `numbers` floats for each channel, those of a channel side by side; data null: nobody asks for
/// them.
template <int numbers_>
struct Parts {
  static constexpr int numbers = numbers_;
  float* data;
  int count;

  [[nodiscard]] __device__ __forceinline__ float* of(int channel, int part, Place place = Place::here()) const {
    check_index(part, count, place);
    return data + (static_cast<index_t>(channel) * count + part) * numbers;
  }
};

/// How many values, their mean, and the sum of the squares about it.
using Moments = Parts<3>;

__device__ __forceinline__ void set_moments(const Moments& parts, int channel, int part, float count, float mean,
                                            float squares) {
  float* to = parts.of(channel, part);
  to[0] = count;
  to[1] = mean;
  to[2] = squares;
}

}  // namespace slimneck::kernels::cuda
