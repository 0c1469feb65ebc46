// Kernels: functions over views, no state, no allocation, no exceptions. These are the reference kernels: they state
// the mathematics, accumulate in double, and everything faster is tested against them.
//
// They take views of any block and any strides, so the same function serves NCHW and blocked memory. Inputs and outputs
// must not overlap unless a comment says that they may be the same view. Shapes are the caller's duty: the graph checks
// them while it is built. Every function is instantiated for float and double.
//
// Letters: x input, y output, w weights, d* gradients; n c h w input extents, oh ow output extents, k kernel, s stride,
// p padding, d dilation, g groups.
#pragma once

#include <span>

#include "slimneck/exec.hpp"
#include "slimneck/tensor.hpp"

namespace slimneck::kernels {

/// Geometry of a convolution; the kernel's extent is that of its weights.
struct Conv2d {
  index_t stride = 1;            ///< the same in both directions
  index_t pad_h = 0, pad_w = 0;  ///< zeros on each side, above and below; left and right
  index_t dilation = 1;          ///< distance of two taps
  index_t groups = 1;            ///< of channels that do not see each other; 1: dense, as many as channels: depthwise
};

/// How weights lie for a kernel, V channels to a block; o and c are the output and input channels of the forward
/// convolution.
enum class WeightOrder : std::uint8_t {
  plain,      ///< [o][c][kh][kw]
  forward,    ///< [o/V][c/V][kh][kw][V of c][V of o]
  backward,   ///< [c/V][o/V][kh][kw][V of o][V of c]
  turned,     ///< as backward, kh and kw counted from the end: the data gradient of stride 1 is then a forward
  depthwise,  ///< [c/V][kh][kw][V]
  planes,     ///< [o/V][c][kh][kw][V of o], c not in blocks: the stem
};

/// y[n,o,i,j] = bias[o] + sum over c, u, v of w[o,c,u,v] * x[n, g*C + c, i*s - ph + u*d, j*s - pw + v*d], C = c/groups,
/// g = o / (O/groups); taps outside the picture are zero. x: n x c x h x w, w: O x C x kh x kw,
/// bias: 1 x O x 1 x 1 or a view without data, y: n x O x oh x ow.
template <class T>
SLIMNECK_EXPORT void conv2d_fwd(View<const T> x, View<const T> w, View<const T> bias, View<T> y,
                                const Conv2d& geometry) noexcept;

/// Gradient with respect to the input: the adjoint of conv2d_fwd in x.
template <class T>
SLIMNECK_EXPORT void conv2d_bwd_x(View<const T> dy, View<const T> w, View<T> dx, const Conv2d& geometry) noexcept;

/// Gradient with respect to the weights: the adjoint of conv2d_fwd in w, summed over the batch.
template <class T>
SLIMNECK_EXPORT void conv2d_bwd_w(View<const T> x, View<const T> dy, View<T> dw, const Conv2d& geometry) noexcept;

/// y[0,c,0,0] = sum over n, h, w of x[n,c,h,w]: the gradient of a bias.
template <class T>
SLIMNECK_EXPORT void channel_sum(View<const T> x, View<T> y) noexcept;

enum class Act { none, silu, mish, relu, leaky_relu, hardswish, sigmoid, gelu };

/// An activation; slope is LeakyReLU's factor for negative arguments.
struct Activation {
  Act kind = Act::none;  ///< which function
  double slope = 0.01;   ///< of leaky_relu
};

/// The function and its derivative in double, finite for every finite argument; NaN in, NaN out.
SLIMNECK_EXPORT double act_value(const Activation& act, double x) noexcept;
SLIMNECK_EXPORT double act_slope(const Activation& act, double x) noexcept;

/// y = act(x). y may be x.
template <class T>
SLIMNECK_EXPORT void act_fwd(View<const T> x, View<T> y, const Activation& act) noexcept;

/// dx = dy * act'(x). dx may be dy or x.
template <class T>
SLIMNECK_EXPORT void act_bwd(View<const T> x, View<const T> dy, View<T> dx, const Activation& act) noexcept;

/// y = a + b. y may be a or b.
template <class T>
SLIMNECK_EXPORT void add(View<const T> a, View<const T> b, View<T> y) noexcept;

/// y = x, between any two layouts of one shape.
template <class T>
SLIMNECK_EXPORT void copy(View<const T> x, View<T> y) noexcept;

/// y = 0.
template <class T>
SLIMNECK_EXPORT void fill_zero(View<T> y) noexcept;

/// y[n,j] = x[n, source[j]] for every output channel j; source[j] < 0 gives zeros. A channel shuffle, its inverse, a
/// slice and a change of channel map are all this one gather.
template <class T>
SLIMNECK_EXPORT void gather_channels(View<const T> x, View<T> y, std::span<const index_t> source) noexcept;

/// Mean and biased variance of each channel over n, h, w; two passes in double, never negative.
template <class T>
SLIMNECK_EXPORT void bn_stats(View<const T> x, View<T> mean, View<T> var) noexcept;

/// y = gamma * (x - mean) / sqrt(var + eps) + beta, per channel. y may be x.
template <class T>
SLIMNECK_EXPORT void bn_apply(View<const T> x, View<const T> mean, View<const T> var, View<const T> gamma,
                              View<const T> beta, View<T> y, double eps) noexcept;

/// running = (1 - momentum) * running + momentum * batch, with the unbiased variance var * count / (count - 1);
/// tracked[0] += 1. The outputs may be (and in a plan are) the same memory as the inputs.
template <class T>
SLIMNECK_EXPORT void bn_running(View<const T> mean, View<const T> var, index_t count, double momentum,
                                View<const T> mean_in, View<const T> var_in, View<const T> tracked_in, View<T> mean_out,
                                View<T> var_out, View<T> tracked_out) noexcept;

/// Gradient of y = bn_apply(x, bn_stats(x), gamma, beta) when batch_stats, of bn_apply with constant mean and var
/// otherwise. With q = 1/sqrt(var + eps), xhat = (x - mean) q:
///   dgamma = sum dy xhat, dbeta = sum dy, dx = gamma q (dy - [dbeta + xhat dgamma] / N), brackets only for
///   batch_stats.
/// dx may be dy.
template <class T>
SLIMNECK_EXPORT void bn_bwd(View<const T> dy, View<const T> x, View<const T> mean, View<const T> var,
                            View<const T> gamma, View<T> dx, View<T> dgamma, View<T> dbeta, double eps,
                            bool batch_stats) noexcept;

/// A square pooling window.
struct Pool {
  index_t kernel = 2, stride = 2, pad = 0;  ///< extent of the window, its step, and cells of padding on each side
};

/// Maximum over the window; the padding is -infinity. NaN in the window gives NaN.
template <class T>
SLIMNECK_EXPORT void max_pool_fwd(View<const T> x, View<T> y, const Pool& pool) noexcept;

/// dx[first maximum of the window in row-major order] += dy, from dx = 0.
template <class T>
SLIMNECK_EXPORT void max_pool_bwd(View<const T> x, View<const T> dy, View<T> dx, const Pool& pool) noexcept;

/// y[n,c,i,j] = x[n,c,i/factor,j/factor].
template <class T>
SLIMNECK_EXPORT void upsample_nearest_fwd(View<const T> x, View<T> y, index_t factor) noexcept;

/// dx = the sum of dy over each factor x factor square.
template <class T>
SLIMNECK_EXPORT void upsample_nearest_bwd(View<const T> dy, View<T> dx, index_t factor) noexcept;

/// One level of YOLOv5's detection head. x: n x (na*no) x h x w raw logits, channel = anchor*no + k; anchors: na x 2 in
/// grid units (w, h). Rows [first, first + na*h*w) of y (n x 1 x rows x no), ordered anchor, y, x, become, with
/// s = sigmoid(x): ((2 s0 - 0.5 + column) stride, (2 s1 - 0.5 + row) stride, (2 s2)^2 aw stride, (2 s3)^2 ah stride,
/// s4, ...).
template <class T>
SLIMNECK_EXPORT void detect_decode_fwd(View<const T> x, const T* anchors, index_t na, double stride, index_t first,
                                       View<T> y) noexcept;

/// The adjoint in x: dx from the rows [first, first + na*h*w) of dy.
template <class T>
SLIMNECK_EXPORT void detect_decode_bwd(View<const T> x, const T* anchors, index_t na, double stride, index_t first,
                                       View<const T> dy, View<T> dx) noexcept;

/// May Winograd's algorithms be used? They round more (F(4x4) about ten times) and are no longer exact on integers.
enum class Algorithm : std::uint8_t { best, direct };

/// What happens to the memory of a result r: y = r, or y += r (gradients that are summed).
enum class Write : std::uint8_t { set, add };

// ---- Fast kernels
// ---------------------------------------------------------------------------------------------------- The mathematics
// above in single precision, by the kernels of an instruction set, for research code that wants one of them alone.
// (Plans call those kernels directly: they keep maps in blocks and weights packed, where these convert both ways in
// every call.)
//
// Views are plain: block 1, any strides, no overlap between inputs, outputs and workspace. Of `Exec` the instruction
// set and the number of threads count; results are the same bits for any number of threads. The workspace is the
// caller's: <name>_workspace(...) tells how many floats it must have for the same Exec, shapes and options. Nothing is
// allocated.
//
// These functions check their arguments first, and throw before they touch anything: ShapeError where shapes do not
// fit, a view is blocked or the workspace is too small, DeviceError where the instruction set is not there. Numbers per
// channel are views of shape 1 x c x 1 x 1, as above; a view without data stands for "none" where a comment allows it.
namespace fast {

/// How a result is written and how exact it must be.
struct Options {
  Write write = Write::set;               ///< of every output that is not said to be always set
  Algorithm algorithm = Algorithm::best;  ///< direct: no Winograd
};

/// Extent of a convolution's output; throws ShapeError for what does not fit.
SLIMNECK_EXPORT Shape conv2d_shape(const Shape& x, const Shape& w, const Conv2d& geometry);

/// What becomes of the sum s of an output element: act(s * scale + bias) + residual. Each part may be left out.
struct Finish {
  View<const float> scale, bias;  ///< per channel
  Activation act;                 ///< f
  View<const float> residual;     ///< the shape of y
};

/// y = finish(conv(x, w)). Any groups: depthwise ones by the depthwise kernels, others group by group.
SLIMNECK_EXPORT void conv2d_fwd(const Exec& exec, View<const float> x, View<const float> w, View<float> y,
                                const Conv2d& geometry, const Finish& finish, std::span<float> workspace,
                                const Options& options = {});
SLIMNECK_EXPORT index_t conv2d_fwd_workspace(const Exec& exec, const Shape& x, const Shape& w, const Conv2d& geometry,
                                             const Options& options = {});

/// dx = the adjoint in x.
SLIMNECK_EXPORT void conv2d_bwd_x(const Exec& exec, View<const float> dy, View<const float> w, View<float> dx,
                                  const Conv2d& geometry, std::span<float> workspace, const Options& options = {});
SLIMNECK_EXPORT index_t conv2d_bwd_x_workspace(const Exec& exec, const Shape& x, const Shape& w, const Conv2d& geometry,
                                               const Options& options = {});

/// dw = the adjoint in w, summed over the batch.
SLIMNECK_EXPORT void conv2d_bwd_w(const Exec& exec, View<const float> x, View<const float> dy, View<float> dw,
                                  const Conv2d& geometry, std::span<float> workspace, const Options& options = {});
SLIMNECK_EXPORT index_t conv2d_bwd_w_workspace(const Exec& exec, const Shape& x, const Shape& w, const Conv2d& geometry,
                                               const Options& options = {});

// ---- Two convolutions, each with batch norm and activation
//
//   gsconv:  z1 = conv(x, w1), a = act(norm1 z1), z2 = depthwise(a, w2), b = act(norm2 z2), y = a and b in some order
//   dsc:     z1 = depthwise(x, w1), a = act(norm1 z1), z2 = conv(a, w2), y = act(norm2 z2)
//
// The geometry is that of the first convolution. The second has stride 1 and padding k/2 for an odd k, and keeps the
// extent: in gsconv it is one filter for each channel of a, in dsc it is 1x1. gsconv takes groups 1 only; in dsc groups
// is ignored, each channel is one.

/// Batch norm's numbers per channel.
struct Norm {
  View<const float> gamma, beta;  ///< factor and summand per channel
  View<const float> mean, var;    ///< for inference; training computes its own
};

/// The parameters of two convolutions with their norms.
struct PairWeights {
  View<const float> w1;  ///< of the first convolution, O x C x k x k
  Norm norm1;            ///< behind it
  View<const float> w2;  ///< of the second convolution
  Norm norm2;            ///< behind it
};

/// Channels of [a | b] in y: as they are, a0 b0 a1 b1 ..., or even ones before odd ones (docs/gsconv.md).
enum class Halves : std::uint8_t { concat, interleave, deinterleave };

/// What is the same for both passes.
struct PairSettings {
  Conv2d geometry;                     ///< of the first convolution
  Activation act;                      ///< behind both norms
  double eps = 1e-3;                   ///< of both norms
  Halves halves = Halves::interleave;  ///< of gsconv
};

/// What training keeps for the backward: convolutions before the norm, and the statistics of the batch.
template <class T>
struct PairSaved {
  View<T> z1, mean1, var1, z2, mean2, var2;  ///< maps before the norms; mean and biased variance per channel
};

/// Each may be left out.
struct PairGradients {
  View<float> dx, dw1, dgamma1, dbeta1, dw2, dgamma2, dbeta2;  ///< shaped as what they are the gradients of
};

/// Inference.
SLIMNECK_EXPORT void gsconv(const Exec& exec, View<const float> x, const PairWeights& weights, View<float> y,
                            const PairSettings& settings, std::span<float> workspace, const Options& options = {});
SLIMNECK_EXPORT void dsc(const Exec& exec, View<const float> x, const PairWeights& weights, View<float> y,
                         const PairSettings& settings, std::span<float> workspace, const Options& options = {});

/// Training forward; y and `saved` are set.
SLIMNECK_EXPORT void gsconv_train(const Exec& exec, View<const float> x, const PairWeights& weights, View<float> y,
                                  const PairSaved<float>& saved, const PairSettings& settings,
                                  std::span<float> workspace, const Options& options = {});
SLIMNECK_EXPORT void dsc_train(const Exec& exec, View<const float> x, const PairWeights& weights, View<float> y,
                               const PairSaved<float>& saved, const PairSettings& settings, std::span<float> workspace,
                               const Options& options = {});

/// Gradients of the training forward; `saved` is what it made from the same x and weights.
SLIMNECK_EXPORT void gsconv_bwd(const Exec& exec, View<const float> dy, View<const float> x, const PairWeights& weights,
                                const PairSaved<const float>& saved, const PairGradients& gradients,
                                const PairSettings& settings, std::span<float> workspace, const Options& options = {});
SLIMNECK_EXPORT void dsc_bwd(const Exec& exec, View<const float> dy, View<const float> x, const PairWeights& weights,
                             const PairSaved<const float>& saved, const PairGradients& gradients,
                             const PairSettings& settings, std::span<float> workspace, const Options& options = {});

/// Floats for any of the three.
SLIMNECK_EXPORT index_t gsconv_workspace(const Exec& exec, const Shape& x, const Shape& w1, const Shape& w2,
                                         const PairSettings& settings, const Options& options = {});
SLIMNECK_EXPORT index_t dsc_workspace(const Exec& exec, const Shape& x, const Shape& w1, const Shape& w2,
                                      const PairSettings& settings, const Options& options = {});

// ---- Batch norm, activations, addition, shuffle

/// mean and var of each channel.
SLIMNECK_EXPORT void bn_stats(const Exec& exec, View<const float> x, View<float> mean, View<float> var,
                              std::span<float> workspace, const Options& options = {});

/// y = act(gamma * (x - mean) / sqrt(var + eps) + beta); gamma and beta may be left out.
SLIMNECK_EXPORT void bn_apply(const Exec& exec, View<const float> x, const Norm& norm, View<float> y, double eps,
                              const Activation& act, std::span<float> workspace, const Options& options = {});

/// The gradient of that, as kernels::bn_bwd; dx, dgamma and dbeta may be left out.
SLIMNECK_EXPORT void bn_bwd(const Exec& exec, View<const float> dy, View<const float> x, const Norm& norm,
                            View<float> dx, View<float> dgamma, View<float> dbeta, double eps, const Activation& act,
                            bool batch_stats, std::span<float> workspace, const Options& options = {});

/// Floats for any of the three, for x of this shape.
SLIMNECK_EXPORT index_t bn_workspace(const Exec& exec, const Shape& x);

/// y[c] = sum over n, h, w of x: the gradient of a bias.
SLIMNECK_EXPORT void channel_sum(const Exec& exec, View<const float> x, View<float> y, std::span<float> workspace,
                                 const Options& options = {});
SLIMNECK_EXPORT index_t channel_sum_workspace(const Exec& exec, const Shape& x);

/// y = act(x). Views that are dense NCHW are not copied; all kernels of this paragraph need the workspace for others.
SLIMNECK_EXPORT void act_fwd(const Exec& exec, View<const float> x, View<float> y, const Activation& act,
                             std::span<float> workspace, const Options& options = {});
/// dx = dy * act'(x).
SLIMNECK_EXPORT void act_bwd(const Exec& exec, View<const float> x, View<const float> dy, View<float> dx,
                             const Activation& act, std::span<float> workspace, const Options& options = {});
/// y = a + b.
SLIMNECK_EXPORT void add(const Exec& exec, View<const float> a, View<const float> b, View<float> y,
                         std::span<float> workspace, const Options& options = {});
/// Floats for any of the three, for maps of this shape.
SLIMNECK_EXPORT index_t pointwise_workspace(const Exec& exec, const Shape& x);

/// y[n,j] = x[n, source[j]] for every channel j of y; source[j] < 0 gives zeros. A shuffle, its inverse (its gradient),
/// a slice. Needs no workspace.
SLIMNECK_EXPORT void channel_shuffle(const Exec& exec, View<const float> x, View<float> y,
                                     std::span<const index_t> source, const Options& options = {});

// ---- Pooling, upsampling

SLIMNECK_EXPORT void max_pool_fwd(const Exec& exec, View<const float> x, View<float> y, const Pool& pool,
                                  std::span<float> workspace, const Options& options = {});
SLIMNECK_EXPORT void max_pool_bwd(const Exec& exec, View<const float> x, View<const float> dy, View<float> dx,
                                  const Pool& pool, std::span<float> workspace, const Options& options = {});
/// Floats for both, for x of this shape.
SLIMNECK_EXPORT index_t max_pool_workspace(const Exec& exec, const Shape& x, const Pool& pool);

SLIMNECK_EXPORT void upsample_nearest_fwd(const Exec& exec, View<const float> x, View<float> y, index_t factor,
                                          std::span<float> workspace, const Options& options = {});
SLIMNECK_EXPORT void upsample_nearest_bwd(const Exec& exec, View<const float> dy, View<float> dx, index_t factor,
                                          std::span<float> workspace, const Options& options = {});
/// Floats for both, for the small map of this shape.
SLIMNECK_EXPORT index_t upsample_nearest_workspace(const Exec& exec, const Shape& small, index_t factor);

}  // namespace fast

}  // namespace slimneck::kernels
