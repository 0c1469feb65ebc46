// The names that a PyTorch file may mention: all that YOLOv5 and Slim-Neck checkpoints are made of, and no other.
#pragma once

#include <array>

#include "io/pickle.hpp"

namespace slimneck::io {

inline constexpr auto torch_names = [] {
  using enum PickleUse;
  return std::to_array<PickleName>({
      {"collections.OrderedDict", dict},
      {"__builtin__.set", call},
      {"torch._utils._rebuild_tensor_v2", call},
      {"torch._utils._rebuild_tensor", call},
      {"torch._utils._rebuild_parameter", call},
      {"torch.Size", call},
      {"torch.device", call},
      // What numpy's scalars and small arrays are made of: the fitness of a run that is under way.
      {"numpy.core.multiarray.scalar", call},
      {"numpy.core.multiarray._reconstruct", call},
      {"numpy._core.multiarray.scalar", call},
      {"numpy._core.multiarray._reconstruct", call},
      {"numpy.ndarray", mention},
      {"numpy.dtype", call},
      {"_codecs.encode", call},
      {"torch.DoubleStorage", mention},
      {"torch.FloatStorage", mention},
      {"torch.HalfStorage", mention},
      {"torch.BFloat16Storage", mention},
      {"torch.LongStorage", mention},
      {"torch.IntStorage", mention},
      {"torch.ByteStorage", mention},
      {"torch.BoolStorage", mention},
      {"torch.nn.modules.container.Sequential", object},
      {"torch.nn.modules.container.ModuleList", object},
      {"torch.nn.modules.conv.Conv2d", object},
      {"torch.nn.modules.batchnorm.BatchNorm2d", object},
      {"torch.nn.modules.pooling.MaxPool2d", object},
      {"torch.nn.modules.upsampling.Upsample", object},
      {"torch.nn.modules.linear.Identity", object},
      {"torch.nn.modules.activation.SiLU", object},
      {"torch.nn.modules.activation.Mish", object},
      {"torch.nn.modules.activation.ReLU", object},
      {"torch.nn.modules.activation.LeakyReLU", object},
      {"torch.nn.modules.activation.Hardswish", object},
      {"torch.nn.modules.activation.Sigmoid", object},
      {"torch.nn.modules.activation.GELU", object},
      {"models.yolo.Model", object},
      {"models.yolo.DetectionModel", object},
      {"models.yolo.Detect", object},
      {"models.common.Conv", object},
      {"models.common.DWConv", object},
      {"models.common.DSConv", object},
      {"models.common.Bottleneck", object},
      {"models.common.C3", object},
      {"models.common.C3Ghost", object},
      {"models.common.GhostConv", object},
      {"models.common.GhostBottleneck", object},
      {"models.common.SPP", object},
      {"models.common.SPPF", object},
      {"models.common.Concat", object},
      {"models.common.GSConv", object},
      {"models.common.GSConvns", object},
      {"models.common.GSConvE", object},
      {"models.common.GSBottleneck", object},
      {"models.common.GSBottleneckC", object},
      {"models.common.VoVGSCSP", object},
      {"models.common.VoVGSCSP2", object},
      {"models.common.VoVGSCSP3", object},
      {"models.common.VoVGSCSPC", object},
  });
}();

}  // namespace slimneck::io
