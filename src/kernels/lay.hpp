// From maps to argument structs: pointers, strides and extents. Not for kernel bodies.
#pragma once

#include "kernels/args.hpp"

namespace slimneck::kernels {

inline constexpr index_t blocks_of(index_t channels, index_t lanes) { return (channels + lanes - 1) / lanes; }

/// Pointer and strides of a map: lay(map, a.x, a.xn, a.xb, a.xh). A map is a view of floats, typed or erased, or a
/// MapAt.
template <class Map, class T>
void lay(const Map& map, T*& data, index_t& n, index_t& b, index_t& h) noexcept {
  data = static_cast<T*>(map.data);
  n = map.sn;
  if constexpr (requires { map.sb; })
    b = map.sb;
  else
    b = map.sc;
  h = map.sh;
}

/// The same for what a convolution reads, writes, or gets as the gradient of what it writes.
template <class Map, class Args>
void lay_x(const Map& map, Args& a) noexcept {
  lay(map, a.x, a.xn, a.xb, a.xh);
}
template <class Map, class Args>
void lay_y(const Map& map, Args& a) noexcept {
  lay(map, a.y, a.yn, a.yb, a.yh);
}
template <class Map, class Args>
void lay_dy(const Map& map, Args& a) noexcept {
  lay(map, a.dy, a.yn, a.yb, a.yh);
}

/// Extent of a blocked view.
template <class Args, class AnyView>
void set_extent(Args& a, const AnyView& v) noexcept {
  a.n = v.shape.n;
  a.blocks = blocks_of(v.shape.c, v.block);
  a.h = v.shape.h;
  a.w = v.shape.w;
}

/// Geometry of kernels that read maps of one shape and write maps of the other; w: shape of the weights.
inline ConvGeometry conv_geometry(const Conv2d& g, const Shape& w, const Shape& read, const Shape& written) noexcept {
  return {.n = read.n,
          .h = read.h,
          .w = read.w,
          .oh = written.h,
          .ow = written.w,
          .kh = w.h,
          .kw = w.w,
          .stride = g.stride,
          .pad_h = g.pad_h,
          .pad_w = g.pad_w,
          .dilation = g.dilation};
}

/// Pieces of scratch memory, each a multiple of 64 bytes. Without memory it only counts, so that the size that is asked
/// for and the pieces that are used come from the same lines.
class Pieces {
 public:
  explicit Pieces(void* memory = nullptr) noexcept : memory_(static_cast<float*>(memory)) {}
  float* take(index_t floats) noexcept {
    float* piece = memory_ ? memory_ + taken_ : nullptr;
    taken_ += (floats + 15) / 16 * 16;
    return piece;
  }
  [[nodiscard]] index_t taken() const noexcept { return taken_; }

 private:
  float* memory_;
  index_t taken_ = 0;
};

}  // namespace slimneck::kernels
