#include "layers/ops/cuda.hpp"

namespace slimneck::ops {

CudaConv::CudaConv(const Target& target, const Attributes& a, const Shape& x, const Shape& w, const Shape& y) noexcept
    : entries_(*target.cuda),
      x_(x),
      w_(w),
      y_(y),
      geometry_(geometry(a, x.c, w.c)),
      depthwise_(w.c == 1 && w.n == x.c && x.c > 1) {}

index_t CudaConv::workspace() const noexcept {
  return depthwise_ ? entries_.depthwise_workspace(w_, y_) : entries_.conv2d_workspace(x_, w_, y_, geometry_);
}

Lowering CudaConv::lowering(const LowerContext& c, KernelFunction run) const {
  Lowering l = lower_to_cuda(depthwise_ ? "depthwise_fwd" : "conv2d_fwd", run, workspace());
  if (depthwise_ || !c.fixed[1]) return l;
  l.workspace = 0;
  l.kept = entries_.conv2d_packed_size(w_, geometry_);
  l.prepare_kept = [](const KernelCall& k) {
    CudaConv(k.target, *k.attributes, k.inputs[0].shape, k.inputs[1].shape, k.outputs[0].shape).pack(k);
  };
  return l;
}

void CudaConv::pack(const KernelCall& k) const noexcept {
  entries_.conv2d_pack(*k.stream, k.in<float>(0), k.in<float>(1), geometry_, static_cast<float*>(k.kept));
}

void CudaConv::forward(const KernelCall& k, View<float> y, const kernels::fast::Finish& finish) const noexcept {
  const auto x = k.in<float>(0), w = k.in<float>(1);
  if (depthwise_)
    entries_.depthwise_fwd(*k.stream, x, w, y, geometry_, finish, kernels::Write::set);
  else if (k.kept)
    entries_.conv2d_fwd_packed(*k.stream, x, w, y, geometry_, finish, static_cast<const float*>(k.kept), nullptr,
                               kernels::Write::set);
  else
    entries_.conv2d_fwd(*k.stream, x, w, y, geometry_, finish, static_cast<float*>(k.workspace), kernels::Write::set);
}

void CudaConv::data(const KernelCall& k, kernels::Write write) const noexcept {
  const auto dy = k.in<float>(0), w = k.in<float>(1);
  if (depthwise_)
    entries_.depthwise_bwd_x(*k.stream, dy, w, k.out<float>(0), geometry_, write);
  else
    entries_.conv2d_bwd_x(*k.stream, dy, w, k.out<float>(0), geometry_, static_cast<float*>(k.workspace), write);
}

void CudaConv::weights(const KernelCall& k) const noexcept {
  const auto run = depthwise_ ? entries_.depthwise_bwd_w : entries_.conv2d_bwd_w;
  run(*k.stream, k.in<float>(0), k.in<float>(1), k.out<float>(0), geometry_, static_cast<float*>(k.workspace),
      kernels::Write::set);
}

void cuda_norm(const KernelCall& k, View<const float> z, View<const float> mean, View<const float> var,
               std::size_t gamma, View<float> y, const kernels::Activation& act) noexcept {
  cuda(k).bn_apply(*k.stream, z, {k.in<float>(gamma), k.in<float>(gamma + 1), mean, var}, y, k.attributes->real("eps"),
                   act, kernels::Write::set);
}

void cuda_norm_bwd(const KernelCall& k, const kernels::Activation& act, bool batch_stats) noexcept {
  kernels::fast::Norm norm{k.in<float>(4), {}, k.in<float>(2), k.in<float>(3)};
  if (k.inputs.size() > 5) norm.beta = k.in<float>(5);
  cuda(k).bn_bwd(*k.stream, k.in<float>(0), k.in<float>(1), norm, k.out<float>(0), k.out<float>(1), k.out<float>(2),
                 k.attributes->real("eps"), act, batch_stats, static_cast<float*>(k.workspace), kernels::Write::set);
}

}  // namespace slimneck::ops
