// What fast kernels are called with: plain structs of pointers and extents, so that code compiled for one ISA shares
// nothing inline with code compiled for another.
//
// Maps are blocked: channel block b of image n begins at data + n*sn + b*sb, row h at + h*sh, and pixel w at + w*V,
// where V is the lane count of the ISA. Channel counts are in blocks; the lanes past the last channel (and holes of a
// channel map) hold zeros or values that nobody reads. Strides count floats. No pointer needs an alignment beyond that
// of float, but 64 bytes are fastest. Outputs overlap no input unless a comment says so. Results never depend on the
// number of threads.
#pragma once

#include "slimneck/kernels.hpp"

namespace slimneck::kernels {

struct Epilogue {
  // y = act(sum * scale + bias) + residual; each part may be absent (null). scale and bias have one number per channel.
  const float* scale = nullptr;
  const float* bias = nullptr;
  Act act = Act::none;
  float slope = 0;
  const float* residual = nullptr;  ///< has the extent of y
  index_t rn = 0, rb = 0, rh = 0;   ///< its strides
  /// y += sum instead of y = sum; with nothing else of the above.
  bool add = false;
  /// Statistics of what is stored: for each part (image n, strip of rows; part = n * strips + strip) three rows of
  /// channels: an offset near the mean, the sum and the sum of squares of (y - offset). See norm/moments.hpp.
  float* moments = nullptr;
};

/// Somewhere in a larger tensor: a map whose extent is known.
struct MapAt {
  float* data = nullptr;
  index_t sn = 0, sb = 0, sh = 0;
};

/// Of a convolution whose kernels read maps of one extent and write maps of the other.
struct ConvGeometry {
  index_t n = 0;
  index_t h = 0, w = 0;    ///< of x
  index_t oh = 0, ow = 0;  ///< of y
  index_t kh = 1, kw = 1, stride = 1, pad_h = 0, pad_w = 0, dilation = 1;
};

/// A convolution between blocked maps, either direction of the data: x is what is read, y what is written.
/// Forward: y = conv(x, w). Backward of the data: x is dy, y is dx, and the geometry is that of the forward
/// convolution.
struct ConvArgs : ConvGeometry {
  index_t x_blocks = 0, y_blocks = 0;
  const float* x = nullptr;
  index_t xn = 0, xb = 0, xh = 0;
  const float* weights = nullptr;  ///< in the order that the variant wants, see WeightOrder
  float* y = nullptr;
  index_t yn = 0, yb = 0, yh = 0;
  Epilogue epilogue;
  index_t strip = 1;  ///< rows of y in one task
  float* workspace = nullptr;
  /// The stem: x is plain NCHW with this many channels; xb is then the stride of a channel and a pixel is one float.
  index_t planes = 0;
};

/// Gradient of the weights of the convolution x -> y; dw is set (not added to), in the order that the forward reads,
/// one stored number for every tap.
struct ConvGradArgs : ConvGeometry {
  index_t x_blocks = 0, y_blocks = 0;
  const float* x = nullptr;
  index_t xn = 0, xb = 0, xh = 0;
  const float* dy = nullptr;
  index_t yn = 0, yb = 0, yh = 0;
  float* dw = nullptr;
  float* workspace = nullptr;
  index_t planes = 0;  ///< as in ConvArgs
};

/// Weights between their logical order and that of a kernel, through channel maps: physical position -> logical
/// channel, -1 for a hole, whose weights are zero; null for the identity. Positions past the last channel count as
/// holes.
struct WeightArgs {
  const float* from = nullptr;
  float* to = nullptr;
  index_t o = 0, c = 0, kh = 1, kw = 1;    ///< logical extents
  index_t o_physical = 0, c_physical = 0;  ///< a multiple of V where the order has blocks of it
  const index_t *o_map = nullptr, *c_map = nullptr;
  WeightOrder order = WeightOrder::plain;
  bool add = false;  ///< unpacking only: to += from, for gradients
};

/// Channel by channel convolution: 1 weight of kh x kw for each channel, in WeightOrder::depthwise. As in ConvArgs x is
/// what is read; the backward of the data takes the forward's weights and geometry.
struct DepthwiseArgs : ConvGeometry {
  index_t blocks = 0;
  const float* x = nullptr;
  index_t xn = 0, xb = 0, xh = 0;
  const float* weights = nullptr;
  float* y = nullptr;
  index_t yn = 0, yb = 0, yh = 0;
  Epilogue epilogue;
  index_t strip = 1;
};

struct DepthwiseGradArgs : ConvGeometry {
  index_t blocks = 0;
  const float* x = nullptr;
  index_t xn = 0, xb = 0, xh = 0;
  const float* dy = nullptr;
  index_t yn = 0, yb = 0, yh = 0;
  float* dw = nullptr;  ///< set
  float* workspace = nullptr;
};

}  // namespace slimneck::kernels

#include "kernels/detect/args.hpp"     // IWYU pragma: export
#include "kernels/gsconv/args.hpp"     // IWYU pragma: export
#include "kernels/norm/args.hpp"       // IWYU pragma: export
#include "kernels/optim/args.hpp"      // IWYU pragma: export
#include "kernels/pointwise/args.hpp"  // IWYU pragma: export
#include "kernels/pool/args.hpp"       // IWYU pragma: export
#include "kernels/resize/args.hpp"     // IWYU pragma: export
#include "kernels/shuffle/args.hpp"    // IWYU pragma: export
