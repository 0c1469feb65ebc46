#include <algorithm>
#include <array>
#include <cmath>

#include "io/image_detail.hpp"

namespace slimneck {
namespace {

// Halves go to the even neighbour, as Python's round() does it.
index_t round_even(double value) { return static_cast<index_t>(std::nearbyint(value)); }

constexpr std::uint8_t ground = 114;

}  // namespace

Letterbox letterbox_geometry(index_t h, index_t w, index_t new_h, index_t new_w, bool minimum, bool scaleup,
                             index_t stride) {
  if (std::min({h, w, new_h, new_w, stride}) < 1) throw ShapeError("letterbox: extents and stride must be at least 1");
  Letterbox box;
  box.gain = std::min(static_cast<double>(new_h) / static_cast<double>(h),
                      static_cast<double>(new_w) / static_cast<double>(w));
  if (!scaleup) box.gain = std::min(box.gain, 1.0);
  // A strip of a picture may round to nothing; it keeps one pixel.
  box.resized_w = std::max<index_t>(round_even(static_cast<double>(w) * box.gain), 1);
  box.resized_h = std::max<index_t>(round_even(static_cast<double>(h) * box.gain), 1);
  const auto padding = [&](index_t all, index_t used) {
    return static_cast<double>(minimum ? (all - used) % stride : all - used) / 2;
  };
  box.pad_w = padding(new_w, box.resized_w);
  box.pad_h = padding(new_h, box.resized_h);
  box.top = round_even(box.pad_h - 0.1);
  box.bottom = round_even(box.pad_h + 0.1);
  box.left = round_even(box.pad_w - 0.1);
  box.right = round_even(box.pad_w + 0.1);
  return box;
}

Image letterbox(const Image& image, const Letterbox& geometry) {
  if (std::min({geometry.top, geometry.bottom, geometry.left, geometry.right}) < 0 ||
      std::min(geometry.resized_w, geometry.resized_h) < 1)
    throw ShapeError("letterbox: negative padding or empty picture");
  Image out(geometry.out_w(), geometry.out_h(), {ground, ground, ground});
  const index_t pitch = out.width * 3;
  io::resize_into(image, out.rgb.data() + geometry.top * pitch + geometry.left * 3, pitch, geometry.resized_w,
                  geometry.resized_h);
  return out;
}

void image_to_tensor(const Image& image, View<float> out) {
  io::check_image(image, "image_to_tensor");
  const Shape wanted{1, 3, image.height, image.width};
  if (out.shape != wanted)
    throw ShapeError("image_to_tensor: a tensor of " + to_string(out.shape) + ", wanted " + to_string(wanted));
  std::array<float, 256> levels{};
  for (std::size_t i = 0; i < levels.size(); ++i) levels[i] = static_cast<float>(i) / 255.0F;
#pragma omp parallel for schedule(static)
  for (index_t y = 0; y < image.height; ++y) {
    const std::uint8_t* row = image.rgb.data() + y * image.width * 3;
    for (index_t c = 0; c < 3; ++c)
      for (index_t x = 0; x < image.width; ++x) out.at(0, c, y, x) = levels[row[x * 3 + c]];
  }
}

Tensor image_to_tensor(const Image& image) {
  io::check_image(image, "image_to_tensor");
  Tensor tensor({1, 3, image.height, image.width});
  image_to_tensor(image, tensor.view<float>());
  return tensor;
}

}  // namespace slimneck
