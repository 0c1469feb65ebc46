// What the kernel tests share: guarded buffers in every layout, reproducible numbers, error bounds, golden tensors.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "slimneck/tensor.hpp"
#include "slimneck/weights.hpp"

namespace slimneck::test {

/// Half the distance from 1 to the next number: the relative error of one rounding.
template <class T>
inline constexpr double roundoff = static_cast<double>(std::numeric_limits<T>::epsilon()) / 2;

/// Bound in units of roundoff * (sum of the absolute terms) for a sum of `terms` products in any order.
inline double sum_factor(index_t terms) { return 4 + 2 * std::sqrt(static_cast<double>(terms)); }

/// Bound for a result in T against golden numbers that were computed in double themselves; magnitude is the sum of the
/// absolute terms.
template <class T>
double sum_bound(index_t terms, double magnitude) {
  return (roundoff<T> + roundoff<double>)*sum_factor(terms) * magnitude;
}

/// A reproducible number in [0, 1).
inline double uniform(std::uint64_t seed, std::uint64_t i) {
  std::uint64_t z = (seed + 1) * 0x9e3779b97f4a7c15u + i * 0xd1342543de82ef95u;  // splitmix64 scrambling
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/// Plain NCHW numbers, the form in which tests compute what they expect.
struct Numbers {
  Shape shape;
  std::vector<double> values;

  explicit Numbers(const Shape& s) : shape(s), values(static_cast<std::size_t>(s.numel()), 0.0) {}
  [[nodiscard]] std::size_t index(index_t n, index_t c, index_t h, index_t w) const {
    return static_cast<std::size_t>(((n * shape.c + c) * shape.h + h) * shape.w + w);
  }
  [[nodiscard]] double& at(index_t n, index_t c, index_t h, index_t w) { return values[index(n, c, h, w)]; }
  [[nodiscard]] double at(index_t n, index_t c, index_t h, index_t w) const { return values[index(n, c, h, w)]; }
};

/// Integers in [-4, 4]: products and their sums are exact in float, so any difference is an error of indexing.
inline Numbers integers(const Shape& shape, std::uint64_t seed) {
  Numbers x(shape);
  for (std::size_t i = 0; i < x.values.size(); ++i) x.values[i] = std::floor(uniform(seed, i) * 9) - 4;
  return x;
}

/// Floats in [-1, 1).
inline Numbers reals(const Shape& shape, std::uint64_t seed) {
  Numbers x(shape);
  for (std::size_t i = 0; i < x.values.size(); ++i)
    x.values[i] = static_cast<double>(static_cast<float>(2 * uniform(seed, i) - 1));
  return x;
}

/// A way to lay out a tensor: blocked, a range of the channels of something larger, rows with a gap.
struct Layout {
  index_t block = 1, first = 0, step = 1, gap = 0;
};

inline constexpr Layout layouts[] = {{}, {8}, {16}, {1, 3, 2, 5}, {16, 16, 1, 0}, {8, 8, 1, 3}};

/// A tensor in a layout, inside memory that is NaN wherever the tensor is not: a kernel that reads too much gives NaN,
/// one that writes too much is seen by intact(). Its own elements start as NaN too.
template <class T>
class Guarded {
 public:
  Guarded(const Shape& shape, const Layout& layout)
      : memory_(static_cast<std::size_t>(2 * margin + elements(shape, layout)), nan()),
        view_(View<T>(memory_.data() + margin, whole(shape, layout), layout.block)
                  .channels(layout.first, shape.c, layout.step)) {
    view_.shape.w = shape.w;
  }
  Guarded(const Numbers& x, const Layout& layout) : Guarded(x.shape, layout) {
    for_each_element([&](std::size_t i, T& element) { element = static_cast<T>(x.values[i]); });
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  [[nodiscard]] View<T> view() { return view_; }
  [[nodiscard]] View<const T> read() const { return view_; }

  [[nodiscard]] Numbers numbers() const {
    Numbers x(view_.shape);
    for_each_element([&](std::size_t i, const T& element) { x.values[i] = static_cast<double>(element); });
    return x;
  }

  /// No element outside the tensor has been written.
  [[nodiscard]] bool intact() const {
    std::vector<char> own(memory_.size(), 0);
    for_each_element(
        [&](std::size_t, const T& element) { own[static_cast<std::size_t>(&element - memory_.data())] = 1; });
    for (std::size_t i = 0; i < memory_.size(); ++i)
      if (own[i] == 0 && !std::isnan(memory_[i])) return false;
    return true;
  }

 private:
  static constexpr index_t margin = 64;
  static T nan() { return std::numeric_limits<T>::quiet_NaN(); }
  static Shape whole(const Shape& s, const Layout& l) { return {s.n, l.first + s.c * l.step + 1, s.h, s.w + l.gap}; }
  static index_t elements(const Shape& shape, const Layout& layout) {
    const Shape s = whole(shape, layout);
    return s.n * View<T>(nullptr, s, layout.block).sn;
  }
  template <class F>
  void for_each_element(const F& f) const {
    std::size_t i = 0;
    for (index_t n = 0; n < view_.shape.n; ++n)
      for (index_t c = 0; c < view_.shape.c; ++c)
        for (index_t h = 0; h < view_.shape.h; ++h)
          for (index_t w = 0; w < view_.shape.w; ++w) f(i++, view_.at(n, c, h, w));
  }

  std::vector<T> memory_;
  View<T> view_;
};

/// Same numbers, bit for bit (NaN equals NaN, 0 does not equal -0).
inline bool same_bits(const Numbers& a, const Numbers& b) {
  return a.shape == b.shape &&
         (a.values.empty() || std::memcmp(a.values.data(), b.values.data(), a.values.size() * sizeof(double)) == 0);
}

/// Every element of `got` is within bound(i) of the expected one; the message names the worst.
template <class Bound>
void check_near(const Numbers& got, const Numbers& want, const Bound& bound) {
  REQUIRE(got.values.size() == want.values.size());
  double worst = 0;
  std::size_t where = 0;
  for (std::size_t i = 0; i < got.values.size(); ++i) {
    const double error = std::abs(got.values[i] - want.values[i]);
    const double ratio = error == 0 ? 0 : error / bound(i);
    if (ratio > worst || std::isnan(ratio)) {
      worst = ratio;
      where = i;
    }
    if (std::isnan(ratio)) break;
  }
  INFO("element ", where, ": error / bound = ", worst);
  CHECK(worst <= 1);
}

/// A tensor of a golden file; vectors become 1 x c x 1 x 1.
inline Numbers golden(const SafeTensors& file, const std::string& name) {
  const Tensor tensor = file.tensor(name, DType::f64);
  const bool is_vector = file.find(name)->dims.size() == 1;
  Numbers x(is_vector ? Shape{1, tensor.numel(), 1, 1} : tensor.shape());
  x.values.assign(tensor.data<double>(), tensor.data<double>() + tensor.numel());
  return x;
}

}  // namespace slimneck::test
