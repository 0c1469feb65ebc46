// The shape table: every distinct layer of the library's models, and twenty awkward ones.
#pragma once

#include <string>
#include <vector>

#include "options.hpp"

namespace slimneck::bench {

enum class Op : std::uint8_t {
  conv2d,     ///< also grouped
  depthwise,  ///< one weight plane per channel
  gsconv,     ///< convolution, depthwise of it, both halves side by side
  dsc,        ///< depthwise, then 1x1
  bn_act      ///< batch norm and activation
};
enum class Pass : std::uint8_t { fwd, bwd_x, bwd_w, fwdbwd };

/// Geometry of a layer. The depthwise half of gsconv (k2 x k2, stride 1) and the 1x1 half of dsc follow from it.
struct Layer {
  std::string kind;  ///< class of the row
  Op op = Op::conv2d;
  index_t c = 0, oc = 0;  ///< channels in and out; gsconv: oc is both halves
  index_t h = 0, w = 0;   ///< extent of the input
  index_t kh = 1, kw = 1, stride = 1, pad_h = 0, pad_w = 0, dilation = 1, groups = 1;
  index_t k2 = 0;
  kernels::Act act = kernels::Act::silu;
  std::string origin;  ///< a model that has it

  [[nodiscard]] index_t oh() const { return (h + 2 * pad_h - dilation * (kh - 1) - 1) / stride + 1; }
  [[nodiscard]] index_t ow() const { return (w + 2 * pad_w - dilation * (kw - 1) - 1) / stride + 1; }
  [[nodiscard]] index_t half() const { return oc / 2; }
  [[nodiscard]] bool takes_winograd() const {
    return (op == Op::conv2d || op == Op::gsconv) && kh == 3 && kw == 3 && stride == 1 && dilation == 1 && groups == 1;
  }
  /// "c64x64_80x80_k3s1", with what else is unusual.
  [[nodiscard]] std::string shape() const;
};

/// One line of results: a layer in one direction against one peer.
struct Row {
  Layer layer;
  Pass pass = Pass::fwd;
  std::string peer = "onednn";
  bool weight_gradient = true;  ///< of the depthwise half: oneDNN's takes so long that it hides all else

  [[nodiscard]] std::string op() const;
  /// "conv2d/fwd/slimneck/c64x64_80x80_k3s1/t1".
  [[nodiscard]] std::string name(const std::string& implementation, int threads) const;
  [[nodiscard]] index_t batch(const Options& options) const;
  /// Multiply-adds for n pictures; batch norm and activations are none.
  [[nodiscard]] index_t macs(index_t n) const;
  /// What must be read and written at least: every input and output once.
  [[nodiscard]] index_t bytes(index_t n) const;
};

std::string_view name_of(Pass pass);

/// The classes in the order of the table.
const std::vector<std::string>& classes();

std::vector<Layer> layers();
/// Without Winograd peers where only direct algorithms are asked for.
std::vector<Row> rows(const Options& options);

/// Does the filter want this row of ratios? It may name either side, with or without the class.
bool wanted(const Row& row, const Filter& filter, int threads);

}  // namespace slimneck::bench
