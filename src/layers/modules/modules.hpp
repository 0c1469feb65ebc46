// Modules as C++ functions, so that they compose without going through the arguments of a model file. Each adds its
// nodes under the builder's prefix, with PyTorch's parameter names, and returns its output. Letters: c1 channels of x,
// c2 of the result, k kernel, s stride, p padding, g groups, e ratio of hidden width, n repeats.
#pragma once

#include "slimneck/layers.hpp"

namespace slimneck::modules {

using kernels::Activation;
using ConvArgs = ModuleBuilder::ConvArgs;

/// int(c2 * e) as Python computes it. Throws ShapeError when that is no width.
index_t hidden_width(const ModuleBuilder& b, index_t c2, double e);

/// Convolution without bias, batch norm, activation.
Value conv(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act);
/// Conv with as many groups as divide both widths.
Value dwconv(const ModuleBuilder& b, Value x, index_t c2, ConvArgs args, const Activation& act);
/// Depthwise k x k, then pointwise to c2.
Value dsconv(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act);

/// Dense conv to c2/2, 5x5 depthwise of it, shuffle of both. Throws ShapeError when c2 is odd.
Value gsconv(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act);
/// GSConv whose shuffle is a learned 1x1 convolution and ReLU.
Value gsconvns(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act);
/// Quarter dense, then depthwise 9, 13 and 17 of it, interleaved. c2 is a multiple of 4.
Value gsconve_branches(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act);
/// Half dense, then conv 3x3, depthwise 3x3 and GELU of it, interleaved.
Value gsconve_gelu(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act);

/// Two GSConvs plus a 1x1 shortcut. `e` counts only in the dialects that know it; elsewhere it is 1/2.
Value gsbottleneck(const ModuleBuilder& b, Value x, index_t c2, double e = 0.5);
/// GSBottleneck whose shortcut is a depthwise convolution; its k and s count only in the dialects that heed them.
Value gsbottleneckc(const ModuleBuilder& b, Value x, index_t c2, index_t k = 3, index_t s = 1);

/// The three drawings of the one-shot aggregation: `res` unused (b), in the concat (c), added to the result (d).
enum class CspDesign { b, c, d };
Value vovgscsp(const ModuleBuilder& b, Value x, index_t c2, index_t n = 1, double e = 0.5,
               CspDesign design = CspDesign::b);
/// VoVGSCSP around one GSBottleneckC, always at half width.
Value vovgscspc(const ModuleBuilder& b, Value x, index_t c2);

/// 1x1 (or k1) to hidden, 3x3 to c2, plus x where shortcut and the widths agree.
Value bottleneck(const ModuleBuilder& b, Value x, index_t c2, bool shortcut = true, index_t g = 1, double e = 0.5,
                 index_t k1 = 1);
Value c3(const ModuleBuilder& b, Value x, index_t c2, index_t n = 1, bool shortcut = true, index_t g = 1,
         double e = 0.5);
Value c2f(const ModuleBuilder& b, Value x, index_t c2, index_t n = 1, bool shortcut = false, index_t g = 1,
          double e = 0.5);

/// Concat of max pools of three sizes (SPP) or of one pool chained three times (SPPF), between two 1x1 Convs.
Value spp(const ModuleBuilder& b, Value x, index_t c2, const std::vector<index_t>& kernels);
Value sppf(const ModuleBuilder& b, Value x, index_t c2, index_t k = 5);

/// GSConv without the shuffle.
Value ghostconv(const ModuleBuilder& b, Value x, index_t c2, const ConvArgs& args, const Activation& act);
Value ghostbottleneck(const ModuleBuilder& b, Value x, index_t c2, index_t k = 3, index_t s = 1);

/// YOLOv5's head.
struct Detection {
  std::vector<Value> heads;  ///< per level: raw NCHW logits, channel = anchor*(5+nc) + k
  Value decoded;             ///< n x 1 x rows x (5+nc)
};
/// One 1x1 convolution per input. anchors: per level w,h,w,h,... in pixels; strides: pixels per cell.
Detection detect(const ModuleBuilder& b, const std::vector<Value>& inputs, index_t nc,
                 const std::vector<std::vector<double>>& anchors, const std::vector<index_t>& strides);

#define SN_MODULE(name) extern const ModuleDef name;
#include "layers/modules/modules.inc"
#undef SN_MODULE

}  // namespace slimneck::modules
