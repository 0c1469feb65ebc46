// A step of training from oneDNN's primitives: the way forward with statistics of the batch, and the way back.
#pragma once

#include "onednn_network.hpp"
#include "slimneck/ops.hpp"

namespace slimneck::bench::onednn {

class NetworkTraining final : public NetworkForward {
 public:
  using NetworkForward::NetworkForward;

  void build() override;
  Numbers gradient(const std::string& parameter) override;

 private:
  /// A convolution with its batch norm and activation: what the way back reads, and the gradients that it makes.
  struct Layer {
    Map z, u;  ///< convolved, normalised
    Memory mean, variance, scale, shift;
    Memory dw, dbias, dscale, dshift;
  };
  /// A gradient of a map. Whoever is its last owner may write over it, unless it is a piece of what others own.
  struct Gradient {
    Map map;
    bool own = true;
    [[nodiscard]] bool writable() const { return own && map.data.use_count() == 1; }
  };

  Map convolve(int i) override;
  [[nodiscard]] std::vector<algorithm> algorithms(int i) const;
  [[nodiscard]] std::vector<Desc> sources(int i) const;
  [[nodiscard]] bool normalised(int i) const { return node(i).op == &ops::conv_bn_act; }
  [[nodiscard]] float eps(int i) const { return static_cast<float>(node(i).attributes.real("eps")); }
  [[nodiscard]] ConvFwd forward_of(int i, algorithm how, const Desc& x, const Desc& z) const;
  Steps convolved(int i, algorithm how, const Desc& source, const Memory& z);
  void normalise(int i, Layer& l, const Map& y);
  /// Weights in the format d. A framework has them plain, where its optimiser wants them, and brings them there in
  /// every step; and the gradients back.
  Memory weights_in(int i, const Desc& d, Steps& steps);
  /// x in the format d, and the step that brings it there where it is needed.
  Map taken(const Map& x, const Desc& d, Steps& steps);

  void back(int i, Gradient g);
  void convolution_back(int i, Gradient g);
  Gradient normalisation_back(int i, Layer& l, Gradient g);
  void weights_back(int i, Layer& l, const Map& dz);
  void data_back(int i, const Map& dz);
  Steps weights_step(int i, Layer& l, const Map& dz, algorithm how, const Desc& x, const Desc& dy, Memory& dw);
  void concat_back(int i, const Gradient& g);
  void shuffle_back(int i, Gradient g);
  void activation_back(int i, const Gradient& g);
  void pool_back(int i, const Gradient& g);
  void upsample_back(int i, const Gradient& g);
  /// g is (a part of) the gradient of operand k of node i.
  void contribute(int i, std::size_t k, Gradient g);
  void sum(const Map& into, const Map& other);

  [[nodiscard]] Memory channels(int i) { return tape_.memory({{node(i).shapes[0].c}, f32, Tag::x}); }
  /// What is done between the convolutions of a pair counts with it.
  [[nodiscard]] Work between(int i) const { return network_.paired(i) ? Work::gsconv : Work::norm_act; }
  [[nodiscard]] Work backward_work(int i) const {
    const Work shape = network_.shape_of(i);
    return network_.paired(i) && shape == Work::depthwise ? Work::gsconv : shape;
  }
  [[nodiscard]] Numbers weight_gradient(int i);
  [[nodiscard]] Numbers channel_gradient(int i, const Memory& placed);

  std::map<int, Layer> layers_;
  std::vector<Gradient> gradients_;  ///< by node
  std::vector<Map> given_;           ///< gradients of results
};

}  // namespace slimneck::bench::onednn
