// Shrinking of 8-bit pictures by OpenCV's INTER_AREA: a new pixel is the mean of the old ones below it, each weighted
// with the part of it that is covered. Weights and sums are float, as there: the rounding of them shows.
#include <algorithm>
#include <cmath>

#include "io/image_detail.hpp"

namespace slimneck {
namespace {

/// Old coordinate `from` counts with `weight` in the new coordinate `to`.
struct Share {
  index_t from, to;
  float weight;
};

/// Slivers below a thousandth of a pixel are not counted.
constexpr double sliver = 1e-3;

std::vector<Share> shares(index_t from, index_t to) {
  const double scale = 1.0 / (static_cast<double>(to) / static_cast<double>(from));
  std::vector<Share> result;
  for (index_t i = 0; i < to; ++i) {
    const double begin = static_cast<double>(i) * scale, end = begin + scale;
    const double cell = std::min(scale, static_cast<double>(from) - begin);
    const index_t last = std::min(static_cast<index_t>(std::floor(end)), from - 1);
    const index_t first = std::min(static_cast<index_t>(std::ceil(begin)), last);
    const double before = static_cast<double>(first) - begin, behind = end - static_cast<double>(last);
    if (before > sliver) result.push_back({first - 1, i, static_cast<float>(before / cell)});
    for (index_t whole = first; whole < last; ++whole) result.push_back({whole, i, static_cast<float>(1.0 / cell)});
    if (behind > sliver) result.push_back({last, i, static_cast<float>(std::min({behind, 1.0, cell}) / cell)});
  }
  return result;
}

std::uint8_t level(float value) noexcept {
  return static_cast<std::uint8_t>(std::clamp(std::nearbyint(value), 0.0F, 255.0F));
}

/// One old row along x.
void mean_along(const std::uint8_t* row, const std::vector<Share>& columns, std::vector<float>& out) {
  std::fill(out.begin(), out.end(), 0.0F);
  for (const Share& share : columns)
    for (index_t c = 0; c < 3; ++c)
      out[static_cast<std::size_t>(share.to * 3 + c)] += static_cast<float>(row[share.from * 3 + c]) * share.weight;
}

/// Both ratios are whole numbers: sums are exact.
void mean_of_blocks(const Image& image, Image& out) {
  const index_t columns = image.width / out.width, rows = image.height / out.height;
  const float scale = 1.0F / static_cast<float>(columns * rows);
  for (index_t y = 0; y < out.height; ++y)
    for (index_t x = 0; x < out.width; ++x)
      for (index_t c = 0; c < 3; ++c) {
        index_t sum = 0;
        for (index_t v = 0; v < rows; ++v) {
          const std::uint8_t* at = image.rgb.data() + ((y * rows + v) * image.width + x * columns) * 3 + c;
          for (index_t u = 0; u < columns; ++u) sum += at[u * 3];
        }
        // Halves of 2x2 pixels are rounded up, others to the even neighbour.
        out.rgb[static_cast<std::size_t>((y * out.width + x) * 3 + c)] = columns == 2 && rows == 2
                                                                             ? static_cast<std::uint8_t>((sum + 2) >> 2)
                                                                             : level(static_cast<float>(sum) * scale);
      }
}

}  // namespace

Image resize_area(const Image& image, index_t width, index_t height) {
  io::check_image(image, "resize_area");
  if (width > image.width || height > image.height) return resize_bilinear(image, width, height);
  Image out(width, height);
  if (image.width % width == 0 && image.height % height == 0) {
    mean_of_blocks(image, out);
    return out;
  }
  const std::vector<Share> columns = shares(image.width, width), rows = shares(image.height, height);
  std::vector<float> along(static_cast<std::size_t>(width) * 3), sum(along.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Share& share = rows[i];
    const bool first = i == 0 || rows[i - 1].to != share.to;
    mean_along(image.rgb.data() + share.from * image.width * 3, columns, along);
    for (std::size_t k = 0; k < sum.size(); ++k)
      sum[k] = first ? along[k] * share.weight : sum[k] + along[k] * share.weight;
    const bool last = i + 1 == rows.size() || rows[i + 1].to != share.to;
    if (last) std::transform(sum.begin(), sum.end(), out.rgb.begin() + share.to * width * 3, level);
  }
  return out;
}

}  // namespace slimneck
