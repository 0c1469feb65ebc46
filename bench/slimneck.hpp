// The library's side: kernels called as a plan calls them, on blocked memory, weights packed beforehand.
#pragma once

#include <algorithm>

#include "kernels/conv2d/variants.hpp"
#include "kernels/depthwise/variants.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/norm/pair.hpp"
#include "side.hpp"

namespace slimneck::bench {

using kernels::blocks_of;
using kernels::MapAt;

/// Zeroed floats on a boundary of 64 bytes.
inline Tensor floats(index_t count) { return Tensor({1, 1, 1, std::max<index_t>(count, 1)}); }

/// One number per channel, zeros up to whole blocks.
Tensor channel_numbers(const Numbers& plain, index_t lanes);
/// The first of them.
inline Numbers plain_numbers(const Tensor& v, index_t count) { return {v.data<float>(), v.data<float>() + count}; }

/// Blocked memory of somebody else's: all of a map, or some of its channels.
struct MapRef {
  float* data = nullptr;
  Shape shape;
  index_t sn = 0, sb = 0, sh = 0;
};

inline MapAt at(const MapRef& m) { return {m.data, m.sn, m.sb, m.sh}; }

/// A map in blocks of V lanes, dense: what lies past its last channel is zero.
class BlockedMap {
 public:
  BlockedMap() = default;
  BlockedMap(const Shape& shape, index_t lanes);

  /// Takes plain numbers; `first` and `all` for a part of the channels of a larger plain map.
  void set(const Numbers& plain, index_t first = 0, index_t all = 0);
  [[nodiscard]] Numbers plain() const;

  [[nodiscard]] MapRef ref();
  /// Channels [first, first + count); first begins a block.
  [[nodiscard]] MapRef part(index_t first, index_t count);
  [[nodiscard]] const Shape& shape() const { return shape_; }
  [[nodiscard]] index_t blocks() const { return blocks_; }

 private:
  Shape shape_;
  index_t lanes_ = 1, blocks_ = 0;
  Tensor memory_;
};

/// The numbers of a blocked map of any kind.
Numbers plain_of(const MapRef& m, index_t lanes);

/// A plain picture where a kernel reads planes.
MapRef plain_picture(const Numbers& x, const Shape& shape);

/// Kernel, stride, padding and dilation; the extents follow from the maps of a call.
using Geometry = kernels::ConvGeometry;
inline Geometry geometry_of(const Layer& l) {
  return {.kh = l.kh, .kw = l.kw, .stride = l.stride, .pad_h = l.pad_h, .pad_w = l.pad_w, .dilation = l.dilation};
}

/// The settings that the calls of one side share.
struct Context {
  const kernels::Kernels& kernels;
  kernels::Algorithm algorithm;
  int threads;

  explicit Context(const Problem& p)
      : kernels(*kernels::kernels_of(p.isa)), algorithm(p.algorithm), threads(p.threads) {}
  [[nodiscard]] index_t lanes() const { return kernels.lanes; }
};

/// A dense convolution or its data gradient with a variant chosen and weights packed for it. What is called can still
/// be changed in `args`.
class ConvCall {
 public:
  enum class Direction : std::uint8_t { forward, backward };

  ConvCall() = default;
  /// read -> write: x -> y, or dy -> dx. plain: weights of the forward, OIHW. planes: read is a plain picture.
  ConvCall(const Context& context, const Geometry& geometry, Direction direction, const MapRef& read,
           const MapRef& write, const float* plain, const kernels::Epilogue& epilogue = {}, bool planes = false);

  void run(const kernels::Kernels& k) const { (k.*variant->run)(args); }

  kernels::ConvArgs args;
  const kernels::ConvVariant* variant = nullptr;

 private:
  Tensor weights_, workspace_;
};

/// The weight gradient of a dense convolution.
class ConvGradCall {
 public:
  ConvGradCall() = default;
  ConvGradCall(const Context& context, const Geometry& geometry, const MapRef& x, const MapRef& dy,
               bool planes = false);

  void run(const kernels::Kernels& k) const { (k.*variant->run)(args); }
  /// OIHW.
  [[nodiscard]] Numbers plain(const kernels::Kernels& k) const;

  kernels::ConvGradArgs args;
  const kernels::ConvGradVariant* variant = nullptr;

 private:
  index_t o_ = 0, c_ = 0;
  Tensor weights_, workspace_;
};

class DepthwiseCall {
 public:
  DepthwiseCall() = default;
  DepthwiseCall(const Context& context, const Geometry& geometry, ConvCall::Direction direction, const MapRef& read,
                const MapRef& write, const Numbers& plain, const kernels::Epilogue& epilogue = {});

  void run(const kernels::Kernels& k) const { (k.*variant->run)(args); }

  kernels::DepthwiseArgs args;
  const kernels::DepthwiseVariant* variant = nullptr;

 private:
  Tensor weights_;
};

class DepthwiseGradCall {
 public:
  DepthwiseGradCall() = default;
  DepthwiseGradCall(const Context& context, const Geometry& geometry, const MapRef& x, const MapRef& dy);

  void run(const kernels::Kernels& k) const { (k.*variant->run)(args); }
  [[nodiscard]] Numbers plain(const kernels::Kernels& k) const;

  kernels::DepthwiseGradArgs args;
  const kernels::DepthwiseGradVariant* variant = nullptr;

 private:
  index_t c_ = 0;
  Tensor weights_, workspace_;
};

/// Depthwise weights of c channels, WeightOrder::depthwise.
Tensor pack_depthwise(const kernels::Kernels& k, const Numbers& plain, index_t c, index_t kh, index_t kw);
Numbers unpack_depthwise(const kernels::Kernels& k, const Tensor& packed, index_t c, index_t kh, index_t kw);

/// Vectors of the two normalisations of a pair of convolutions.
class PairNumbers {
 public:
  PairNumbers() = default;
  PairNumbers(const Problem& p, index_t lanes);
  /// Mean, variance, dgamma, dbeta of both, for that many channels in whole blocks.
  void make(index_t channels1, index_t channels2);

  /// Folded norms, where the problem has an epilogue.
  [[nodiscard]] kernels::PairInference inference(const Problem& p) const;
  /// All but maps and workspace.
  [[nodiscard]] kernels::PairTraining training();
  /// Where a backward of GSConv or DSC leaves its gradients.
  template <class Grad>
  void set_gradients(Grad& g) {
    g.dgamma1 = made_[4].data<float>();
    g.dbeta1 = made_[5].data<float>();
    g.dgamma2 = made_[6].data<float>();
    g.dbeta2 = made_[7].data<float>();
  }
  [[nodiscard]] Numbers dgamma1(index_t count) const { return plain_numbers(made_[4], count); }
  [[nodiscard]] Numbers dbeta1(index_t count) const { return plain_numbers(made_[5], count); }
  [[nodiscard]] Numbers dgamma2(index_t count) const { return plain_numbers(made_[6], count); }
  [[nodiscard]] Numbers dbeta2(index_t count) const { return plain_numbers(made_[7], count); }

 private:
  std::vector<Tensor> given_;  ///< bias and bias, gamma, beta and gamma, beta
  std::vector<Tensor> made_;   ///< mean, var and mean, var, dgamma, dbeta and dgamma, dbeta
};

std::unique_ptr<Side> make_conv(const Problem& problem);
std::unique_ptr<Side> make_depthwise(const Problem& problem);
std::unique_ptr<Side> make_norm(const Problem& problem);
std::unique_ptr<Side> make_gsconv(const Problem& problem);
std::unique_ptr<Side> make_dsc(const Problem& problem);

}  // namespace slimneck::bench
