// The kernels for CUDA: the functions of slimneck/kernels.hpp for views, vectors and lists in device memory. Views are
// plain (block 1), of any strides, and have fewer than 2^31 pixels and rows of blocks; as there, shapes are the
// caller's duty and outputs overlap no inputs unless a comment allows it. A view without data stands for "none" where a
// comment allows that. Each function only queues work, allocates nothing, and never throws; sums have one order, so
// that results are the same bits in every run.
#pragma once

#include "kernels/args.hpp"
#include "kernels/cuda/half.hpp"
#include "kernels/cuda/host.hpp"

namespace slimneck::kernels::cuda {

// ---- Element by element (pointwise/cuda.cu). Outputs may be inputs.
SLIMNECK_EXPORT void act_fwd(Stream& stream, View<const float> x, View<float> y, const Activation& act,
                             Write write = Write::set) noexcept;
SLIMNECK_EXPORT void act_bwd(Stream& stream, View<const float> x, View<const float> dy, View<float> dx,
                             const Activation& act, Write write = Write::set) noexcept;
SLIMNECK_EXPORT void add(Stream& stream, View<const float> a, View<const float> b, View<float> y,
                         Write write = Write::set) noexcept;
SLIMNECK_EXPORT void copy(Stream& stream, View<const float> x, View<float> y, Write write = Write::set) noexcept;
SLIMNECK_EXPORT void fill_zero(Stream& stream, View<float> y) noexcept;

// ---- Channels (shuffle/cuda.cu). The list is in device memory and has an entry for each channel of y.
SLIMNECK_EXPORT void gather_channels(Stream& stream, View<const float> x, View<float> y, const int* source,
                                     Write write = Write::set) noexcept;

// ---- Upsampling (resize/cuda.cu)
SLIMNECK_EXPORT void upsample_nearest_fwd(Stream& stream, View<const float> x, View<float> y, index_t factor,
                                          Write write = Write::set) noexcept;
SLIMNECK_EXPORT void upsample_nearest_bwd(Stream& stream, View<const float> dy, View<float> dx, index_t factor,
                                          Write write = Write::set) noexcept;

// ---- Pooling (pool/cuda.cu). where has one number for each element of a dense y: u * kernel + v of the window's first
// maximum, or first NaN; -1 for a window wholly in the padding. The forward may leave it out.
SLIMNECK_EXPORT void max_pool_fwd(Stream& stream, View<const float> x, View<float> y, int* where, const Pool& pool,
                                  Write write = Write::set) noexcept;
SLIMNECK_EXPORT void max_pool_bwd(Stream& stream, const int* where, View<const float> dy, View<float> dx,
                                  const Pool& pool, Write write = Write::set) noexcept;

// ---- Batch norm and sums over channels (norm/cuda.cu). Workspaces are device memory of norm_workspace floats; gamma
// and beta may be left out.
SLIMNECK_EXPORT index_t norm_workspace(const Shape& x) noexcept;
SLIMNECK_EXPORT void channel_sum(Stream& stream, View<const float> x, View<float> y, float* workspace,
                                 Write write = Write::set) noexcept;
SLIMNECK_EXPORT void bn_stats(Stream& stream, View<const float> x, View<float> mean, View<float> var,
                              float* workspace) noexcept;
/// y may be x.
SLIMNECK_EXPORT void bn_apply(Stream& stream, View<const float> x, const fast::Norm& norm, View<float> y, double eps,
                              const Activation& act, Write write = Write::set) noexcept;
/// The outputs may be the inputs.
SLIMNECK_EXPORT void bn_running(Stream& stream, View<const float> mean, View<const float> var, index_t count,
                                double momentum, View<const float> mean_in, View<const float> var_in,
                                View<const float> tracked_in, View<float> mean_out, View<float> var_out,
                                View<float> tracked_out) noexcept;
/// scale and bias of y = x scale + bias, which batch norm with constant statistics is.
SLIMNECK_EXPORT void bn_fold(Stream& stream, const fast::Norm& norm, View<float> scale, View<float> bias,
                             double eps) noexcept;
/// dx may be dy; dx, dgamma and dbeta may be left out.
SLIMNECK_EXPORT void bn_bwd(Stream& stream, View<const float> dy, View<const float> x, const fast::Norm& norm,
                            View<float> dx, View<float> dgamma, View<float> dbeta, double eps, const Activation& act,
                            bool batch_stats, float* workspace, Write write = Write::set) noexcept;

// ---- Depthwise convolution (depthwise/cuda.cu): weights are c x 1 x kh x kw, the geometry's groups are not looked at.
SLIMNECK_EXPORT void depthwise_fwd(Stream& stream, View<const float> x, View<const float> w, View<float> y,
                                   const Conv2d& geometry, const fast::Finish& finish,
                                   Write write = Write::set) noexcept;
SLIMNECK_EXPORT void depthwise_bwd_x(Stream& stream, View<const float> dy, View<const float> w, View<float> dx,
                                     const Conv2d& geometry, Write write = Write::set) noexcept;
/// The workspace is device memory of depthwise_workspace floats.
SLIMNECK_EXPORT void depthwise_bwd_w(Stream& stream, View<const float> x, View<const float> dy, View<float> dw,
                                     const Conv2d& geometry, float* workspace, Write write = Write::set) noexcept;
SLIMNECK_EXPORT index_t depthwise_workspace(const Shape& w, const Shape& y) noexcept;

// ---- Convolution of any groups (conv2d/cuda.cu). Images and weights have fewer than 2^31 floats, strides counted. The
// workspace is device memory of conv2d_workspace floats, aligned to 16 bytes; that is enough for any of the three.
SLIMNECK_EXPORT void conv2d_fwd(Stream& stream, View<const float> x, View<const float> w, View<float> y,
                                const Conv2d& geometry, const fast::Finish& finish, float* workspace,
                                Write write = Write::set) noexcept;
SLIMNECK_EXPORT void conv2d_bwd_x(Stream& stream, View<const float> dy, View<const float> w, View<float> dx,
                                  const Conv2d& geometry, float* workspace, Write write = Write::set) noexcept;
SLIMNECK_EXPORT void conv2d_bwd_w(Stream& stream, View<const float> x, View<const float> dy, View<float> dw,
                                  const Conv2d& geometry, float* workspace, Write write = Write::set) noexcept;
SLIMNECK_EXPORT index_t conv2d_workspace(const Shape& x, const Shape& w, const Shape& y,
                                         const Conv2d& geometry) noexcept;

/// The forward in two steps, for weights that stay what they are: packed once, for views x of these strides and as the
/// stream is, into conv2d_packed_size floats aligned to 16 bytes; of w the second step reads the shape alone. It is one
/// launch, or for small maps of many channels two that are faster, where it has a workspace of conv2d_packed_workspace
/// floats.
SLIMNECK_EXPORT index_t conv2d_packed_size(const Shape& w, const Conv2d& geometry) noexcept;
SLIMNECK_EXPORT void conv2d_pack(Stream& stream, View<const float> x, View<const float> w, const Conv2d& geometry,
                                 float* packed) noexcept;
SLIMNECK_EXPORT void conv2d_fwd_packed(Stream& stream, View<const float> x, View<const float> w, View<float> y,
                                       const Conv2d& geometry, const fast::Finish& finish, const float* packed,
                                       float* workspace, Write write = Write::set) noexcept;
SLIMNECK_EXPORT index_t conv2d_packed_workspace(const Shape& w, const Shape& y, const Conv2d& geometry) noexcept;

// ---- GSConv (gsconv/cuda.cu), as fast::gsconv and gs_pair of the graph have it. Its second kernel is square and odd.
//
// The pair of convolutions with their halves wherever the caller wants them. Inference: scale and bias of the norms are
// folded (bn_fold). Training: pass 1 is the dense convolution, whose blocks leave the moments of z1; pass 2 reads z1,
// writes a and z2, and leaves the moments of z2; pass 3 writes b. The workspaces are device memory of gs_pair_workspace
// floats, aligned to 16 bytes.
SLIMNECK_EXPORT void gs_pair_infer(Stream& stream, View<const float> x, View<const float> w1,
                                   const fast::Finish& finish1, View<const float> w2, const fast::Finish& finish2,
                                   const Half<float>& a, const Half<float>& b, const Conv2d& geometry,
                                   float* workspace) noexcept;
/// a, b and saved are set; of the settings all but the halves count.
SLIMNECK_EXPORT void gs_pair_train(Stream& stream, View<const float> x, const fast::PairWeights& weights,
                                   const Half<float>& a, const Half<float>& b, const fast::PairSaved<float>& saved,
                                   const fast::PairSettings& settings, float* workspace) noexcept;
/// From da and db, either of which may be without data, dz1 (always set, overlaps no input) and, of the gradients, dw2
/// and those of the norms. The gradients of the dense convolution follow from dz1.
SLIMNECK_EXPORT void gs_pair_bwd(Stream& stream, const Half<const float>& da, const Half<const float>& db,
                                 const fast::PairWeights& weights, const fast::PairSaved<const float>& saved,
                                 View<float> dz1, const fast::PairGradients& gradients,
                                 const fast::PairSettings& settings, float* workspace,
                                 Write write = Write::set) noexcept;
SLIMNECK_EXPORT index_t gs_pair_workspace(const Shape& x, const Shape& w1, const Shape& w2,
                                          const Conv2d& geometry) noexcept;

/// The whole of fast::gsconv, gsconv_train and gsconv_bwd. The workspace, of gsconv_workspace floats, is enough for any
/// of the three; y is set.
SLIMNECK_EXPORT void gsconv(Stream& stream, View<const float> x, const fast::PairWeights& weights, View<float> y,
                            const fast::PairSettings& settings, float* workspace) noexcept;
SLIMNECK_EXPORT void gsconv_train(Stream& stream, View<const float> x, const fast::PairWeights& weights, View<float> y,
                                  const fast::PairSaved<float>& saved, const fast::PairSettings& settings,
                                  float* workspace) noexcept;
SLIMNECK_EXPORT void gsconv_bwd(Stream& stream, View<const float> dy, View<const float> x,
                                const fast::PairWeights& weights, const fast::PairSaved<const float>& saved,
                                const fast::PairGradients& gradients, const fast::PairSettings& settings,
                                float* workspace, Write write = Write::set) noexcept;
SLIMNECK_EXPORT index_t gsconv_workspace(const Shape& x, const Shape& w1, const Shape& w2,
                                         const Conv2d& geometry) noexcept;

// ---- Depthwise separable convolution (dsc/cuda.cu): fast::dsc, dsc_train and dsc_bwd
SLIMNECK_EXPORT void dsc(Stream& stream, View<const float> x, const fast::PairWeights& weights, View<float> y,
                         const fast::PairSettings& settings, float* workspace, Write write = Write::set) noexcept;
SLIMNECK_EXPORT void dsc_train(Stream& stream, View<const float> x, const fast::PairWeights& weights, View<float> y,
                               const fast::PairSaved<float>& saved, const fast::PairSettings& settings,
                               float* workspace) noexcept;
SLIMNECK_EXPORT void dsc_bwd(Stream& stream, View<const float> dy, View<const float> x,
                             const fast::PairWeights& weights, const fast::PairSaved<const float>& saved,
                             const fast::PairGradients& gradients, const fast::PairSettings& settings, float* workspace,
                             Write write = Write::set) noexcept;
SLIMNECK_EXPORT index_t dsc_workspace(const Shape& x, const Shape& w1, const Shape& w2,
                                      const Conv2d& geometry) noexcept;

// ---- Optimiser steps (optim/cuda.cu), as optim/args.hpp says; the pointers are device memory.
SLIMNECK_EXPORT void optim_sgd(Stream& stream, const OptimArgs& args) noexcept;
SLIMNECK_EXPORT void optim_adam(Stream& stream, const OptimArgs& args) noexcept;
SLIMNECK_EXPORT void optim_adamw(Stream& stream, const OptimArgs& args) noexcept;
SLIMNECK_EXPORT void optim_ema(Stream& stream, const OptimArgs& args) noexcept;
SLIMNECK_EXPORT void optim_scale(Stream& stream, const OptimArgs& args) noexcept;
SLIMNECK_EXPORT void sum_squares(Stream& stream, const SumSquaresArgs& args) noexcept;

// ---- The detection head (detect/cuda.cu). anchors is device memory.

/// All levels, at most detect_levels of them, in one launch: of level i the strides[i], its anchors behind those of the
/// levels before, its rows behind theirs.
inline constexpr std::size_t detect_levels = 8;
SLIMNECK_EXPORT void detect_decode_levels(Stream& stream, std::span<const View<const float>> levels,
                                          const float* anchors, index_t na, std::span<const index_t> strides,
                                          View<float> y) noexcept;
SLIMNECK_EXPORT void detect_decode_fwd(Stream& stream, View<const float> x, const float* anchors, index_t na,
                                       double stride, index_t first, View<float> y) noexcept;
SLIMNECK_EXPORT void detect_decode_bwd(Stream& stream, View<const float> x, const float* anchors, index_t na,
                                       double stride, index_t first, View<const float> dy, View<float> dx) noexcept;

}  // namespace slimneck::kernels::cuda
