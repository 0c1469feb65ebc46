#include "kernels/norm/moments.hpp"

namespace slimneck::kernels {

void merge_moments(const float* moments, const MomentParts& parts, index_t channels, float* mean, float* var) noexcept {
  for (index_t c = 0; c < channels; ++c) {
    double count = 0, center = 0, squares = 0;  // of what was joined so far: mean, and sum of (y - mean)^2
    for (index_t part = 0; part < parts.parts(); ++part) {
      const float* m = moments + part * 3 * channels + c;
      const double n = static_cast<double>(parts.pixels(part)), s = m[channels], q = m[2 * channels];
      if (n == 0) continue;
      const double far = m[0] + s / n - center, total = count + n;
      squares += q - s * s / n + far * far * (count * n / total);
      center += far * (n / total);
      count = total;
    }
    const double v = count > 0 ? squares / count : 0;
    mean[c] = static_cast<float>(center);
    var[c] = static_cast<float>(v < 0 ? 0 : v);  // and not the other way round: a NaN stays one
  }
}

}  // namespace slimneck::kernels
