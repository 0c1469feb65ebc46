// Kernels with more at their ends than kernels.hpp offers, for the two convolutions of GSConv and DSC. For .cu files.
#pragma once

#include "kernels/cuda/kernels.hpp"
#include "kernels/cuda/norm.hpp"

namespace slimneck::kernels::cuda {

/// conv2d_fwd whose blocks leave the moments of what they write; moments without data: none.
void conv2d_fwd_moments(Stream& stream, View<const float> x, View<const float> w, const Half<float>& y,
                        const Conv2d& geometry, const fast::Finish& finish, float* workspace, Write write,
                        const Moments& moments) noexcept;
/// How many parts of each channel those are.
int conv2d_moments(const Shape& w, const Shape& y, const Conv2d& geometry) noexcept;

/// Floats for conv2d_bwd_w alone.
index_t conv2d_bwd_w_workspace(const Shape& w, const Shape& y, const Conv2d& geometry) noexcept;

/// depthwise_fwd, which has such ends for few kernels only.
void depthwise_fwd_moments(Stream& stream, const Half<const float>& x, View<const float> w, const Half<float>& y,
                           const Conv2d& geometry, const fast::Finish& finish, const Moments& moments) noexcept;
/// 0 where it has none.
int depthwise_moments(const Shape& w, const Shape& y, const Conv2d& geometry) noexcept;

/// Mean and variance of each channel of its parts.
void merge_moments(Stream& stream, const char* name, const Moments& moments, View<float> mean,
                   View<float> var) noexcept;

/// g = dy act'(norm x), not kept: the sums of g and of g (x - mean), and what follows of them.
void norm_gradient_sums(Stream& stream, const char* name, const PlacedMap<const float>& dy, View<const float> x,
                        const DeviceNorm& norm, const Activation& act, const Parts<2>& sums) noexcept;
int norm_gradient_parts(const Shape& x) noexcept;
/// The gradients of gamma and beta, and two terms for each of the channels (norm.hpp), from such sums over `count`
/// elements.
void finish_norm_gradient(Stream& stream, const char* name, const Parts<2>& sums, index_t count, const DeviceNorm& norm,
                          Vector<float> terms, View<float> dgamma, View<float> dbeta, bool batch_stats,
                          Write write) noexcept;

/// dx = the gradient from terms so found.
void norm_apply_gradient(Stream& stream, const char* name, const PlacedMap<const float>& dy, View<const float> x,
                         const DeviceNorm& norm, const Activation& act, Vector<const float> terms, View<float> dx,
                         Write write) noexcept;

/// bn_apply to a half.
void norm_apply(Stream& stream, const char* name, View<const float> x, const DeviceNorm& norm, const Activation& act,
                const Half<float>& y) noexcept;

/// Extent of a convolution's output.
inline Shape convolved(const Shape& x, const Shape& w, const Conv2d& g) {
  const auto extent = [&](index_t from, index_t pad, index_t kernel) {
    return (from + 2 * pad - g.dilation * (kernel - 1) - 1) / g.stride + 1;
  };
  return {x.n, w.n, extent(x.h, g.pad_h, w.h), extent(x.w, g.pad_w, w.w)};
}

inline index_t larger(index_t a, index_t b) { return a > b ? a : b; }

/// Pieces of a workspace, all of them whole vectors; without memory it only counts.
class Pieces {
 public:
  explicit Pieces(float* data) : data_(data) {}
  float* take(index_t floats) {
    constexpr index_t vector = 4;
    float* piece = data_ ? data_ + taken_ : nullptr;
    taken_ += (floats + vector - 1) / vector * vector;
    return piece;
  }
  View<float> map(const Shape& s) { return {take(s.n * s.c * s.h * s.w), s}; }
  [[nodiscard]] index_t taken() const { return taken_; }

 private:
  float* data_;
  index_t taken_ = 0;
};

}  // namespace slimneck::kernels::cuda
