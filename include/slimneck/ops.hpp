// The ops of the library. Inputs, attributes (=default) and outputs:
//
//   conv2d(x, w[, bias])  stride=1 pad_h=0 pad_w=0 dilation=1 groups=1        -> y
//   batch_norm(x, gamma, beta, mean, var, tracked)  eps=1e-3 momentum=0.03    -> y   running statistics in inference,
//                                                                                  those of the batch in training
//   silu mish relu leaky_relu(slope=0.01) hardswish sigmoid gelu (x)          -> y
//   channel_shuffle(x)  source=[...]    y[j] = x[source[j]], a permutation    -> y
//   slice(x)  first count               channels first .. first+count-1       -> y
//   concat(x0, x1, ...)                 channels one after another            -> y
//   add(a, b)                                                                 -> y
//   max_pool(x)  kernel stride=1 pad=0                                        -> y
//   upsample(x)  factor=2               nearest                               -> y
//   detect_decode(anchors, x0, x1, ...)  na, strides=[...]                    -> n x 1 x rows x (5+nc)
//     anchors: state of dims {levels, na, 2} in grid units
//
// The others are what these become in training (bn_*, *_bwd, channel_sum, pad_channels) or by recognition
// (conv_bn_act, gs_pair); their files define them.
#pragma once

#include <span>
#include <string_view>

#include "slimneck/graph.hpp"
#include "slimneck/kernels.hpp"

namespace slimneck {

namespace ops {
#define SN_OP(name) extern SLIMNECK_EXPORT const OpDef name;
#include "slimneck/ops.inc"
#undef SN_OP
}  // namespace ops

SLIMNECK_EXPORT std::span<const OpDef* const> all_ops() noexcept;
/// nullptr when there is no such op.
SLIMNECK_EXPORT const OpDef* find_op(std::string_view name) noexcept;
/// The op of an activation; nullptr for Act::none.
SLIMNECK_EXPORT const OpDef* activation_op(kernels::Act act) noexcept;

/// The activation that an op computes, none where it is no activation.
SLIMNECK_EXPORT kernels::Act act_of(const OpDef* op) noexcept;

}  // namespace slimneck
