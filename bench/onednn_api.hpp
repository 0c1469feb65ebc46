// What differs between oneDNN 2.6 and 3: 2.x makes a primitive from an operation descriptor, 3.x from the engine and
// the same arguments; activations in post-ops lost their scale.
#pragma once

#include <oneapi/dnnl/dnnl.hpp>

namespace slimneck::bench::onednn {

using Desc = dnnl::memory::desc;
using Dims = dnnl::memory::dims;
using Tag = dnnl::memory::format_tag;
using dnnl::algorithm;
using dnnl::engine;
using dnnl::primitive_attr;
using dnnl::prop_kind;

constexpr auto f32 = dnnl::memory::data_type::f32;

/// Dilation counts the gaps: 0 for none.
struct Geometry {
  Dims strides, dilates, before, after;
};

using ConvFwd = dnnl::convolution_forward::primitive_desc;
using ConvBwdX = dnnl::convolution_backward_data::primitive_desc;
using ConvBwdW = dnnl::convolution_backward_weights::primitive_desc;
using NormFwd = dnnl::batch_normalization_forward::primitive_desc;
using NormBwd = dnnl::batch_normalization_backward::primitive_desc;
using EltwiseFwd = dnnl::eltwise_forward::primitive_desc;
using EltwiseBwd = dnnl::eltwise_backward::primitive_desc;
using Binary = dnnl::binary::primitive_desc;
using Concat = dnnl::concat::primitive_desc;
using ShuffleFwd = dnnl::shuffle_forward::primitive_desc;
using ShuffleBwd = dnnl::shuffle_backward::primitive_desc;
using PoolFwd = dnnl::pooling_forward::primitive_desc;
using PoolBwd = dnnl::pooling_backward::primitive_desc;
using ResampleFwd = dnnl::resampling_forward::primitive_desc;
using ResampleBwd = dnnl::resampling_backward::primitive_desc;

/// A window of max pooling.
struct Window {
  Dims strides, kernel, before, after;
};

#if DNNL_VERSION_MAJOR >= 3

/// Does the backward of batch norm want the shift, which it has no use for?
constexpr bool norm_bwd_takes_shift = false;

inline bool empty(const Desc& d) { return d.get_ndims() == 0; }

inline void append_activation(dnnl::post_ops& ops, algorithm kind, float alpha, float beta) {
  ops.append_eltwise(kind, alpha, beta);
}

inline ConvFwd conv_fwd(const engine& e, prop_kind prop, algorithm kind, const Desc& x, const Desc& w, const Desc& bias,
                        const Desc& y, const Geometry& g, const primitive_attr& attr = {}) {
  if (empty(bias)) return {e, prop, kind, x, w, y, g.strides, g.dilates, g.before, g.after, attr};
  return {e, prop, kind, x, w, bias, y, g.strides, g.dilates, g.before, g.after, attr};
}
inline ConvBwdX conv_bwd_x(const engine& e, algorithm kind, const Desc& dx, const Desc& w, const Desc& dy,
                           const Geometry& g, const ConvFwd& hint, const primitive_attr& attr = {}) {
  return {e, kind, dx, w, dy, g.strides, g.dilates, g.before, g.after, hint, attr};
}
inline ConvBwdW conv_bwd_w(const engine& e, algorithm kind, const Desc& x, const Desc& dw, const Desc& dy,
                           const Geometry& g, const ConvFwd& hint, const primitive_attr& attr = {},
                           const Desc& dbias = {}) {
  if (empty(dbias)) return {e, kind, x, dw, dy, g.strides, g.dilates, g.before, g.after, hint, attr};
  return {e, kind, x, dw, dbias, dy, g.strides, g.dilates, g.before, g.after, hint, attr};
}
inline NormFwd norm_fwd(const engine& e, prop_kind prop, const Desc& x, float eps, dnnl::normalization_flags flags,
                        const primitive_attr& attr = {}) {
  return {e, prop, x, x, eps, flags, attr};
}
inline NormBwd norm_bwd(const engine& e, const Desc& x, float eps, dnnl::normalization_flags flags, const NormFwd& hint,
                        const primitive_attr& attr = {}) {
  return {e, prop_kind::backward, x, x, x, eps, flags, hint, attr};
}
inline EltwiseFwd eltwise_fwd(const engine& e, prop_kind prop, algorithm kind, const Desc& x, float alpha) {
  return {e, prop, kind, x, x, alpha, 0.F};
}
inline EltwiseBwd eltwise_bwd(const engine& e, algorithm kind, const Desc& x, float alpha, const EltwiseFwd& hint) {
  return {e, kind, x, x, x, alpha, 0.F, hint};
}
inline Binary binary(const engine& e, algorithm kind, const Desc& a, const Desc& b, const Desc& y,
                     const primitive_attr& attr = {}) {
  return {e, kind, a, b, y, attr};
}
inline Concat concat_channels(const engine& e, const Desc& y, const std::vector<Desc>& parts) {
  return {e, y, 1, parts};
}
inline ShuffleFwd shuffle_fwd(const engine& e, prop_kind prop, const Desc& x, int group) {
  return {e, prop, x, x, 1, group};
}
inline ShuffleBwd shuffle_bwd(const engine& e, const Desc& x, int group, const ShuffleFwd& hint) {
  return {e, x, x, 1, group, hint};
}
inline PoolFwd pool_fwd(const engine& e, prop_kind prop, const Desc& x, const Desc& y, const Window& w,
                        const primitive_attr& attr) {
  return {e, prop, algorithm::pooling_max, x, y, w.strides, w.kernel, {0, 0}, w.before, w.after, attr};
}
inline PoolBwd pool_bwd(const engine& e, const Desc& dx, const Desc& dy, const Window& w, const PoolFwd& hint,
                        const primitive_attr& attr) {
  return {e, algorithm::pooling_max, dx, dy, w.strides, w.kernel, {0, 0}, w.before, w.after, hint, attr};
}
inline ResampleFwd resample_fwd(const engine& e, prop_kind prop, const Desc& x, const Desc& y) {
  return {e, prop, algorithm::resampling_nearest, x, y};
}
inline ResampleBwd resample_bwd(const engine& e, const Desc& dx, const Desc& dy, const ResampleFwd& hint) {
  return {e, algorithm::resampling_nearest, dx, dy, hint};
}

#else

constexpr bool norm_bwd_takes_shift = true;

inline bool empty(const Desc& d) { return d.data.ndims == 0; }

inline void append_activation(dnnl::post_ops& ops, algorithm kind, float alpha, float beta) {
  ops.append_eltwise(1.F, kind, alpha, beta);
}

inline ConvFwd conv_fwd(const engine& e, prop_kind prop, algorithm kind, const Desc& x, const Desc& w, const Desc& bias,
                        const Desc& y, const Geometry& g, const primitive_attr& attr = {}) {
  if (empty(bias)) return {{prop, kind, x, w, y, g.strides, g.dilates, g.before, g.after}, attr, e};
  return {{prop, kind, x, w, bias, y, g.strides, g.dilates, g.before, g.after}, attr, e};
}
inline ConvBwdX conv_bwd_x(const engine& e, algorithm kind, const Desc& dx, const Desc& w, const Desc& dy,
                           const Geometry& g, const ConvFwd& hint, const primitive_attr& attr = {}) {
  return {{kind, dx, w, dy, g.strides, g.dilates, g.before, g.after}, attr, e, hint};
}
inline ConvBwdW conv_bwd_w(const engine& e, algorithm kind, const Desc& x, const Desc& dw, const Desc& dy,
                           const Geometry& g, const ConvFwd& hint, const primitive_attr& attr = {},
                           const Desc& dbias = {}) {
  if (empty(dbias)) return {{kind, x, dw, dy, g.strides, g.dilates, g.before, g.after}, attr, e, hint};
  return {{kind, x, dw, dbias, dy, g.strides, g.dilates, g.before, g.after}, attr, e, hint};
}
inline NormFwd norm_fwd(const engine& e, prop_kind prop, const Desc& x, float eps, dnnl::normalization_flags flags,
                        const primitive_attr& attr = {}) {
  return {{prop, x, eps, flags}, attr, e};
}
inline NormBwd norm_bwd(const engine& e, const Desc& x, float eps, dnnl::normalization_flags flags, const NormFwd& hint,
                        const primitive_attr& attr = {}) {
  return {{prop_kind::backward, x, x, eps, flags}, attr, e, hint};
}
inline EltwiseFwd eltwise_fwd(const engine& e, prop_kind prop, algorithm kind, const Desc& x, float alpha) {
  return {{prop, kind, x, alpha, 0.F}, e};
}
inline EltwiseBwd eltwise_bwd(const engine& e, algorithm kind, const Desc& x, float alpha, const EltwiseFwd& hint) {
  return {{kind, x, x, alpha, 0.F}, e, hint};
}
inline Binary binary(const engine& e, algorithm kind, const Desc& a, const Desc& b, const Desc& y,
                     const primitive_attr& attr = {}) {
  return {{kind, a, b, y}, attr, e};
}
inline Concat concat_channels(const engine& e, const Desc& y, const std::vector<Desc>& parts) {
  return {y, 1, parts, e};
}
inline ShuffleFwd shuffle_fwd(const engine& e, prop_kind prop, const Desc& x, int group) {
  return {{prop, x, 1, group}, e};
}
inline ShuffleBwd shuffle_bwd(const engine& e, const Desc& x, int group, const ShuffleFwd& hint) {
  return {{x, 1, group}, e, hint};
}
inline PoolFwd pool_fwd(const engine& e, prop_kind prop, const Desc& x, const Desc& y, const Window& w,
                        const primitive_attr& attr) {
  return {{prop, algorithm::pooling_max, x, y, w.strides, w.kernel, w.before, w.after}, attr, e};
}
inline PoolBwd pool_bwd(const engine& e, const Desc& dx, const Desc& dy, const Window& w, const PoolFwd& hint,
                        const primitive_attr& attr) {
  return {{algorithm::pooling_max, dx, dy, w.strides, w.kernel, w.before, w.after}, attr, e, hint};
}
inline ResampleFwd resample_fwd(const engine& e, prop_kind prop, const Desc& x, const Desc& y) {
  return {{prop, algorithm::resampling_nearest, x, y}, e};
}
inline ResampleBwd resample_bwd(const engine& e, const Desc& dx, const Desc& dy, const ResampleFwd& hint) {
  return {{algorithm::resampling_nearest, dx, dy}, e, hint};
}

#endif

}  // namespace slimneck::bench::onednn
