#include "train/warp.hpp"

#include <cmath>
#include <numbers>

#include "io/image_detail.hpp"

namespace slimneck::train {

namespace {

constexpr std::uint8_t ground = 114;
constexpr index_t steps = 32;  ///< of a pixel, to which places in the old picture are rounded

Matrix3 operator*(const Matrix3& a, const Matrix3& b) noexcept {
  Matrix3 product{};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j)
      for (std::size_t k = 0; k < 3; ++k) product[i][j] += a[i][k] * b[k][j];
  return product;
}

/// 0 for a matrix that has none: all of the new picture shows one place then.
Matrix3 inverse(const Matrix3& m) noexcept {
  const auto minor = [&](std::size_t i, std::size_t j) {
    const std::size_t a = (i + 1) % 3, b = (i + 2) % 3, c = (j + 1) % 3, d = (j + 2) % 3;
    return m[a][c] * m[b][d] - m[a][d] * m[b][c];
  };
  const double determinant = m[0][0] * minor(0, 0) + m[0][1] * minor(0, 1) + m[0][2] * minor(0, 2);
  Matrix3 result{};
  if (determinant == 0) return result;
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j) result[j][i] = minor(i, j) * (1 / determinant);
  return result;
}

bool affine(const Matrix3& m) noexcept { return m[2] == std::array<double, 3>{0, 0, 1}; }

/// To the nearest whole number, halves to the even one; what is far outside of every picture, or no number, stays
/// there.
index_t whole(double value) noexcept {
  constexpr double far = 1e12;
  if (!(value > -far)) return static_cast<index_t>(-far);
  return std::llrint(std::min(value, far));
}

/// Reads a picture between its pixels.
class Sampler {
 public:
  explicit Sampler(const Image& image) noexcept : image_(image) {}

  /// The pixel at (x, y), both in steps.
  void read(index_t x, index_t y, std::uint8_t* out) const noexcept {
    const index_t left = x >> 5, top = y >> 5;
    const auto fx = static_cast<int>(x & (steps - 1)), fy = static_cast<int>(y & (steps - 1));
    if (left < -1 || top < -1 || left >= image_.width || top >= image_.height) {
      out[0] = out[1] = out[2] = ground;
      return;
    }
    const std::uint8_t *a = at(left, top), *b = at(left + 1, top), *c = at(left, top + 1), *d = at(left + 1, top + 1);
    const int u = static_cast<int>(steps) - fx, v = static_cast<int>(steps) - fy;
    for (std::size_t k = 0; k < 3; ++k)
      out[k] = static_cast<std::uint8_t>(((a[k] * u + b[k] * fx) * v + (c[k] * u + d[k] * fx) * fy + 512) >> 10);
  }

 private:
  [[nodiscard]] const std::uint8_t* at(index_t x, index_t y) const noexcept {
    static constexpr std::array<std::uint8_t, 3> outside{ground, ground, ground};
    const bool inside = x >= 0 && y >= 0 && x < image_.width && y < image_.height;
    return inside ? image_.rgb.data() + (y * image_.width + x) * 3 : outside.data();
  }

  const Image& image_;
};

/// Places are sums of a part of x and a part of y, each rounded to 1/1024 pixel.
void warp_row(const Sampler& from, const Matrix3& back, index_t y, index_t width, std::uint8_t* out) noexcept {
  constexpr double unit = 1024;
  constexpr index_t half = 16;
  const auto v = static_cast<double>(y);
  const index_t x0 = whole((back[0][1] * v + back[0][2]) * unit) + half;
  const index_t y0 = whole((back[1][1] * v + back[1][2]) * unit) + half;
  for (index_t x = 0; x < width; ++x) {
    const auto u = static_cast<double>(x);
    from.read((x0 + whole(back[0][0] * u * unit)) >> 5, (y0 + whole(back[1][0] * u * unit)) >> 5, out + x * 3);
  }
}

void tilt_row(const Sampler& from, const Matrix3& back, index_t y, index_t width, std::uint8_t* out) noexcept {
  const auto v = static_cast<double>(y);
  for (index_t x = 0; x < width; ++x) {
    const auto u = static_cast<double>(x);
    const auto along = [&](std::size_t row) { return back[row][0] * u + back[row][1] * v + back[row][2]; };
    const double depth = along(2), unit = depth == 0 ? 0 : static_cast<double>(steps) / depth;
    from.read(whole(along(0) * unit), whole(along(1) * unit), out + x * 3);
  }
}

}  // namespace

Matrix3 warp_matrix(const WarpNumbers& numbers, const Extents& from, const Extents& to) noexcept {
  const auto radians = [](double degrees) { return degrees * (std::numbers::pi / 180); };
  const double c = numbers.scale * std::cos(radians(numbers.degrees));
  const double s = numbers.scale * std::sin(radians(numbers.degrees));
  const Matrix3 centre{
      {{1, 0, -static_cast<double>(from.width) / 2}, {0, 1, -static_cast<double>(from.height) / 2}, {0, 0, 1}}};
  const Matrix3 tilt{{{1, 0, 0}, {0, 1, 0}, {numbers.tilt_x, numbers.tilt_y, 1}}};
  const Matrix3 rotation{{{c, s, 0}, {-s, c, 0}, {0, 0, 1}}};
  const Matrix3 shear{
      {{1, std::tan(radians(numbers.shear_x)), 0}, {std::tan(radians(numbers.shear_y)), 1, 0}, {0, 0, 1}}};
  const Matrix3 shift{{{1, 0, numbers.x * static_cast<double>(to.width)},
                       {0, 1, numbers.y * static_cast<double>(to.height)},
                       {0, 0, 1}}};
  return shift * shear * rotation * tilt * centre;
}

Image warp(const Image& image, const Matrix3& matrix, const Extents& to) {
  io::check_image(image, "warp");
  Image out(to.width, to.height);
  const Matrix3 back = inverse(matrix);
  const Sampler from(image);
  const bool flat = affine(matrix);
#pragma omp parallel for schedule(static)
  for (index_t y = 0; y < to.height; ++y) {
    std::uint8_t* row = out.rgb.data() + y * to.width * 3;
    flat ? warp_row(from, back, y, to.width, row) : tilt_row(from, back, y, to.width, row);
  }
  return out;
}

WarpedBox warp_box(const PictureBox& box, const Matrix3& m, double scale, const Extents& to) noexcept {
  constexpr double tiny = 1e-16, least_side = 2, least_area = 0.1, most_aspect = 100;
  const std::array<std::array<double, 2>, 4> corners{
      {{box.x1, box.y1}, {box.x2, box.y2}, {box.x1, box.y2}, {box.x2, box.y1}}};
  std::array<double, 4> x{}, y{};
  for (std::size_t i = 0; i < 4; ++i) {
    const auto along = [&](std::size_t row) {
      return m[row][0] * corners[i][0] + m[row][1] * corners[i][1] + m[row][2];
    };
    const double depth = affine(m) ? 1 : along(2);
    x[i] = along(0) / depth;
    y[i] = along(1) / depth;
  }
  const auto w = static_cast<double>(to.width), h = static_cast<double>(to.height);
  WarpedBox result;
  result.box = {box.cls, std::clamp(*std::min_element(x.begin(), x.end()), 0.0, w),
                std::clamp(*std::min_element(y.begin(), y.end()), 0.0, h),
                std::clamp(*std::max_element(x.begin(), x.end()), 0.0, w),
                std::clamp(*std::max_element(y.begin(), y.end()), 0.0, h)};
  const double w1 = (box.x2 - box.x1) * scale, h1 = (box.y2 - box.y1) * scale;
  const double w2 = result.box.x2 - result.box.x1, h2 = result.box.y2 - result.box.y1;
  const double aspect = std::max(w2 / (h2 + tiny), h2 / (w2 + tiny));
  result.keep = w2 > least_side && h2 > least_side && w2 * h2 / (w1 * h1 + tiny) > least_area && aspect < most_aspect;
  return result;
}

}  // namespace slimneck::train
