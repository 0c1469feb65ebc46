#include <cmath>

#include "kernels/norm/args.hpp"

namespace slimneck::kernels {

void bn_fold(index_t channels, const float* mean, const float* var, const float* gamma, const float* beta, double eps,
             float* scale, float* bias) noexcept {
  for (index_t c = 0; c < channels; ++c) {
    const double g = gamma ? static_cast<double>(gamma[c]) : 1;
    const double s = g / std::sqrt(static_cast<double>(var[c]) + eps);
    scale[c] = static_cast<float>(s);
    // From the rounded scale, so that its error does not meet the mean.
    bias[c] = static_cast<float>((beta ? static_cast<double>(beta[c]) : 0) -
                                 static_cast<double>(mean[c]) * static_cast<double>(scale[c]));
  }
}

}  // namespace slimneck::kernels
