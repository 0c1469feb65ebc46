// A network from oneDNN's primitives: what both its peers, in inference and training, are made of.
#pragma once

#include <map>

#include "onednn_tape.hpp"
#include "onednn_wiring.hpp"

namespace slimneck::bench::onednn {

/// Numbers of a map, and a share of the memory that they lie in.
struct Map {
  Tape::Buffer data;
  Tape::Memory memory;
  [[nodiscard]] bool valid() const { return data != nullptr; }
  [[nodiscard]] void* at() const { return memory.get_data_handle(); }
  [[nodiscard]] Desc desc() const { return memory.get_desc(); }
};

/// The way forward, in inference. All maps have one format; a convolution that would like another takes this one.
class NetworkForward : public NetworkPeer {
 public:
  NetworkForward(const NetworkProblem& problem, Tag maps, bool general);

  /// Makes all steps. Throws dnnl::error where oneDNN has none for this format, Error where it has none at all.
  virtual void build();

  void run() final { tape_.run(); }
  std::vector<double> timed() final { return tape_.timed(); }
  [[nodiscard]] std::vector<Work> works() const final { return tape_.works(); }
  Numbers output(std::size_t i) final;
  Numbers gradient(const std::string&) override { return {}; }
  [[nodiscard]] std::string describe() const final;

 protected:
  using Memory = Tape::Memory;
  using Step = Tape::Step;
  using Steps = Tape::Steps;

  [[nodiscard]] const Node& node(int i) const { return graph_.node(i); }
  [[nodiscard]] const Map& in(int i, std::size_t k = 0) const { return values_[index(node(i).inputs[k].node)]; }
  [[nodiscard]] const std::vector<index_t>& order(int i) const { return wiring_.orders[index(i)]; }
  [[nodiscard]] Dims dims(int i) const;
  [[nodiscard]] Desc maps(const Dims& dims) const { return {dims, f32, tag_}; }
  [[nodiscard]] bool best() const { return !problem_.framework; }
  [[nodiscard]] prop_kind prop() const {
    return problem_.train ? prop_kind::forward_training : prop_kind::forward_inference;
  }
  static std::size_t index(int i) { return static_cast<std::size_t>(i); }

  Map fresh(const Desc& d);
  /// Memory for what node i computes.
  Map place(int i);
  /// Some of a map's `channels` as a map of its own, where they lie in one piece; else a copy, which is a step.
  Map part(const Map& whole, index_t channels, const Dims& dims, index_t first);
  void copy(const Map& from, const Map& to) { tape_.add(Tape::reorder(from.memory, to.memory)); }

  [[nodiscard]] Convolution convolution_of(int i) const;
  [[nodiscard]] bool winograd_fits(int i) const;
  [[nodiscard]] const std::string& parameter_name(int i, std::size_t operand) const;
  [[nodiscard]] const float* parameter(int i, std::size_t operand) const;
  /// OIHW in the orders of the maps; every output channel times its factor.
  [[nodiscard]] Numbers weights(int i, const Numbers& factors) const;
  /// A number per channel, in the order of the map.
  [[nodiscard]] Numbers vector(int i, std::size_t operand) const;
  Memory load(const Numbers& numbers);
  /// oneDNN's activation of a node; undef for none.
  [[nodiscard]] std::pair<algorithm, float> activation_of(int i) const;
  [[nodiscard]] Window window(int i) const;
  /// Size of oneDNN's shuffle that is this permutation.
  [[nodiscard]] int shuffle_group(int i) const;

  virtual Map convolve(int i);

  const NetworkProblem problem_;
  const Network& network_;
  const Graph& graph_;
  Tag tag_;
  index_t block_;  ///< channels in a block of the format; 0: it has none
  /// May blocks of channels be maps of their own? Of one picture they are pieces of memory; of several they are
  /// strided, which few primitives take.
  bool pieces_;
  Wiring wiring_;
  Tape tape_;
  std::vector<Map> values_;           ///< by node
  std::map<int, PoolFwd> pools_;      ///< by node, for their way back
  std::map<int, Memory> workspaces_;  ///< of pools, training

 private:
  struct Way {
    algorithm how = algorithm::convolution_direct;
    bool activate = true;  ///< at the convolution's end
    enum class Sum : std::uint8_t { none, apart, in_place, beside } sum = Sum::none;
    Desc source;
  };

  void compute(int i);
  Map concatenate(int i);
  Map shuffle(int i);
  Map slice(int i);
  Map add(int i);
  Map activate(int i);
  Map pool(int i);
  Map upsample(int i);
  void forget(int i);

  [[nodiscard]] std::vector<Way> ways(int i, bool sums, bool in_place) const;
  Steps steps(int i, const Way& way, const Map& y, const Map& other);
  void fold(int i, Numbers& factors, Numbers& bias) const;

  std::map<int, Tape::Buffer> roots_;  ///< memory that several maps lie in
  std::vector<Map> pictures_, results_;
};

}  // namespace slimneck::bench::onednn
